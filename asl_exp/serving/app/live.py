"""One frame of the live camera to what the camera's picture shows next: letter, word, how long."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

from asl_exp.config import readable
from asl_exp.model.recognizer import Recognizer
from asl_exp.serving.app.spelling import DELETE, SPACE, Speller

SURE: Final = 0.5
"""Probability under which a letter of the camera is not counted as seen."""

_LARGEST: Final = 1_000_000
"""Characters of a frame; 320 x 320 pixels are about 30,000."""


def answered(recognizer: Recognizer, speller: Speller, frame: Mapping[str, Any]) -> dict[str, Any]:
    """Recognise a frame, tell the speller, and return what camera/index.html shows.

    Args:
        recognizer: the model.
        speller: grows its word.
        frame: id, at_ms, jpeg (base64) and pressed (keys), as camera/index.html sends them.

    Raises:
        ValueError: the frame is none.
        UnreadableImageError: its image cannot be read.
    """
    jpeg = frame.get("jpeg")
    if not isinstance(jpeg, str) or len(jpeg) > _LARGEST:
        raise ValueError("the browser sent something that is no picture of a camera")
    at_s = float(frame["at_ms"]) / 1000
    try:
        image = base64.b64decode(jpeg, validate=True)
    except binascii.Error as error:
        raise ValueError("the browser sent a damaged picture") from error
    for key in frame.get("pressed", ()):
        _press(speller, str(key))
    row = recognizer.recognize([recognizer.look(image)]).iloc[0]
    letter, probability = str(row["letter"]), float(row["probability"])
    known = letter in recognizer.kept.classes
    speller.see(letter if known and probability >= SURE else None, at_s)
    sure = readable.percent(probability) if known else ""
    return shown(speller, frame["id"]) | {"letter": letter, "sure": sure}


def _press(speller: Speller, key: str) -> None:
    if key == "clear":
        speller.clear()
    elif key in (SPACE, DELETE):
        speller.type(key)


def shown(speller: Speller, frame_id: Any) -> dict[str, Any]:
    """Return what is shown of a word, beside the frame that was answered last."""
    return {"id": frame_id, "text": speller.text, "held": speller.held, "letter": "", "sure": ""}

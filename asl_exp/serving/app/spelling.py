"""Spells a word from the letters of a live camera: a letter that is held for a second is typed.

Frames come when they come, a few a second, and some of them are misread: a letter counts as held
while nearly all frames since its first one say so. A letter is typed once however long it is held;
to type it twice, show something else, or nothing, in between. Time is that of the frames.
`answered` takes one frame to what the camera's picture shows next: letter, word, how long.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from asl_exp.config import readable
from asl_exp.model.recognizer import Recognizer

HOLD_S: Final = 1.0
PAUSE_S: Final = 0.4
"""Without the letter, before it may be typed again."""
_AGREEING: Final = 0.8
"""Share of the frames since a letter's first one that must say it."""
_BLIND_S: Final = 1.5
"""Without any frame, after which nothing is known of what was held; camera/index.html says so."""

SPACE: Final = "space"
DELETE: Final = "del"
NOTHING: Final = "nothing"
"""The control signs of the Kaggle ASL Alphabet, and its class of pictures without a hand."""


@dataclass
class Speller:
    """A word that grows.

    Attributes:
        letter: what the last frame showed; None where it was no sign, or not sure.
        held: 0 to 1, how much of a second it has been held.
    """

    text: str = ""
    letter: str | None = None
    held: float = 0.0
    _frames: list[tuple[float, str | None]] = field(default_factory=list)
    _typed: str | None = None
    _last_typed_s: float = 0.0

    def see(self, letter: str | None, at_s: float) -> str | None:
        """Take what a frame shows; return the sign that was typed by it, if one was.

        Args:
            letter: a class of the model; None where no sign was seen, or none is sure.
            at_s: when the frame was taken, by any clock. A frame older than the last is passed by.
        """
        letter = None if letter == NOTHING else letter
        if self._frames and at_s <= self._frames[-1][0]:
            return None
        if self._frames and at_s - self._frames[-1][0] > _BLIND_S:
            self._frames.clear()
            self._typed = None
        self.letter = letter
        if self._still_the_typed(letter, at_s):
            self._frames = [(at_s, letter)]
            self.held = float(letter == self._typed)
            return None
        self._frames = [one for one in self._frames if at_s - one[0] <= 2 * HOLD_S]
        self._frames.append((at_s, letter))
        held_s = 0.0 if letter is None else self._held_s()
        self.held = min(held_s / HOLD_S, 1.0)
        if letter is None or held_s < HOLD_S:
            return None
        self._typed, self._last_typed_s = letter, at_s
        self._frames = [(at_s, letter)]
        self.type(letter)
        return letter

    def type(self, sign: str) -> None:
        """Add a letter or a space, or take the last one away."""
        if sign == DELETE:
            self.text = self.text[:-1]
        else:
            self.text += " " if sign == SPACE else sign

    def clear(self) -> None:
        """Begin anew; what is still held is not typed again."""
        self.text = ""

    def _still_the_typed(self, letter: str | None, at_s: float) -> bool:
        """Return whether the sign typed last has not been away for long enough."""
        if self._typed is None:
            return False
        if letter == self._typed:
            self._last_typed_s = at_s
            return True
        if at_s - self._last_typed_s < PAUSE_S:
            return True
        self._typed = None
        return False

    def _held_s(self) -> float:
        """Return for how long nearly all frames have said what the last one says."""
        now, letter = self._frames[-1]
        said = [one == letter for _, one in self._frames]
        for first, (at_s, _) in enumerate(self._frames):
            since = said[first:]
            if since[0] and sum(since) >= _AGREEING * len(since):
                return now - at_s
        return 0.0


SURE: Final = 0.5
"""Probability under which a letter of the camera is not counted as seen."""

_LARGEST: Final = 1_000_000
"""Characters of a frame; 320 x 320 pixels are about 30,000."""


def answered(recognizer: Recognizer, speller: Speller, frame: Mapping[str, Any]) -> dict[str, Any]:
    """Recognise a frame, tell the speller, and return what camera/index.html shows.

    Args:
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

"""The pictures that a run was scored on, and which letters it took for which others."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from pyarrow.parquet import read_schema

from asl_exp.config.errors import UserError, first_line
from asl_exp.data.decode import Pixels, UnreadableImageError, read_upright
from asl_exp.data.sources import synthetic
from asl_exp.serving.app.choices import Choice

_COLUMNS = ["path", "label", "predicted", "confidence"]
_OF_CLASS = "probability/"
_DRAWN = 320
"""Side in pixels of a picture of the embedded signer."""


def answers_of(choice: Choice, name: str) -> pd.DataFrame:
    """Return path, label, predicted and confidence of each picture of a scored set.

    Raises:
        UserError: the file of its predictions is damaged.
    """
    file = choice.evaluation / name / "predictions.parquet"
    try:
        return pd.read_parquet(file, columns=_COLUMNS)
    except (OSError, ValueError) as error:  # pyarrow's own errors are both
        raise UserError(
            f"{file}: cannot be read ({first_line(error)}); score the run again: "
            f"python -m asl_exp.evaluate {choice.path}"
        ) from error


def classes_of(choice: Choice, name: str) -> list[str]:
    """Return every answer that the model could give on a set whose `answers_of` could be read."""
    columns = read_schema(choice.evaluation / name / "predictions.parquet").names
    return [one.removeprefix(_OF_CLASS) for one in columns if one.startswith(_OF_CLASS)]


def confused_with(answers: pd.DataFrame, letter: str) -> list[tuple[str, int, int]]:
    """Return other letters with how often each was answered for it, and it for each; most first."""
    wrong = answers[answers["label"] != answers["predicted"]]
    taken = wrong.loc[wrong["label"] == letter, "predicted"].value_counts()
    given = wrong.loc[wrong["predicted"] == letter, "label"].value_counts()
    others = {str(name) for name in (*taken.index, *given.index)}
    counted = [(name, int(taken.get(name, 0)), int(given.get(name, 0))) for name in others]
    return sorted(counted, key=lambda one: (-(one[1] + one[2]), one[0]))


def encoded(path: str) -> bytes:
    """Return a picture of a set as the bytes of an image file.

    Raises:
        UnreadableImageError: its file is not there, or is no image.
    """
    if path.startswith(synthetic.PREFIX):
        drawn = io.BytesIO()
        Image.fromarray(synthetic.draw(path, _DRAWN)).save(drawn, "PNG")
        return drawn.getvalue()
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UnreadableImageError(path, (error.strerror or "cannot be read").lower()) from error


def thumbnail(path: str, side: int, max_megapixels: float) -> Pixels:
    """Return a picture of a set, small: (H, W, 3).

    Raises:
        UnreadableImageError: its file is not there, or is no image.
    """
    pixels, _ = read_upright(encoded(path), enough=side, max_megapixels=max_megapixels)
    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    return np.asarray(image)

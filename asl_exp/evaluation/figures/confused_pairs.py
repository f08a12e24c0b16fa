"""The pairs of classes that are confused most, with images of both side by side.

Drawn with Pillow: a picture of pictures needs no axes, and takes a tenth of the time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from asl_exp.data.fonts import DEFAULT, drawable
from asl_exp.evaluation.figures import canvas
from asl_exp.evaluation.figures.mistakes import Images
from asl_exp.evaluation.scores import Integers, Labels, Probabilities, predicted_classes

_PAIRS: Final = 8
_MISTAKES: Final = 4  # of a pair
_BESIDE: Final = 2  # images of each class
_SIDE: Final = 96
_GAP: Final = 6
_LINE: Final = 20
_MARGIN: Final = 14


@dataclass(frozen=True)
class ConfusedPair:
    """A pair of classes that is confused, by rows of images, the surest first.

    Attributes:
        true, predicted: classes.
        right: images of the true class that were recognised.
        wrong: images of the true class that were taken for the other.
        others: images of the other class that were recognised.
    """

    true: int
    predicted: int
    right: Integers
    wrong: Integers
    others: Integers

    @property
    def rows(self) -> Integers:
        """Return all of its images, from left to right."""
        return np.concatenate([self.right, self.wrong, self.others])


def confused_pairs(probabilities: Probabilities, labels: Labels) -> list[ConfusedPair]:
    """Return the pairs of which most images are confused, at most 8, with examples of each."""
    predicted = predicted_classes(probabilities)
    order = np.argsort(-probabilities.max(axis=1), kind="stable")
    wrong = np.flatnonzero(predicted != labels)
    cells, counts = np.unique(
        np.stack([labels[wrong], predicted[wrong]], axis=1), axis=0, return_counts=True
    )

    def surest(true: int, answered: int, most: int) -> Integers:
        chosen = order[(labels[order] == true) & (predicted[order] == answered)]
        return np.asarray(chosen[:most], dtype=np.int64)

    return [
        ConfusedPair(a, b, surest(a, a, _BESIDE), surest(a, b, _MISTAKES), surest(b, b, _BESIDE))
        for a, b in cells[np.argsort(-counts, kind="stable")[:_PAIRS]].tolist()
    ]


def pairs_figure(
    path: Path,
    pairs: Sequence[tuple[ConfusedPair, Images]],
    classes: Sequence[str],
    what: str,
    line: str,
) -> None:
    """Draw each pair's images in a row: of the true class, the mistakes, of the other class.

    Args:
        path: of the PNG.
        pairs: each with the images of its rows.
        classes: names.
        what: title.
        line: below it; may have several lines.
    """
    rows = [what, *line.split("\n")] + ([] if pairs else ["no mistakes"])
    top = _MARGIN + _LINE * len(rows) + _GAP
    columns = _MISTAKES + 2 * _BESIDE
    width = 2 * _MARGIN + columns * (_SIDE + _GAP) + 2 * _MARGIN
    sheet = Image.new("RGB", (width, top + len(pairs) * (_SIDE + _LINE + _GAP) + _MARGIN), "white")
    pen = ImageDraw.Draw(sheet)
    for place, told in enumerate(rows):
        _write(pen, (_MARGIN, _MARGIN + place * _LINE), told, canvas.BLACK)
    for row, (pair, images) in enumerate(pairs):
        _draw_pair(sheet, top + row * (_SIDE + _LINE + _GAP), pair, images, classes)
    described = PngInfo()
    described.add_text("Title", "\n".join(rows))
    sheet.save(path, "PNG", pnginfo=described)


def _draw_pair(
    sheet: Image.Image, top: int, pair: ConfusedPair, images: Images, classes: Sequence[str]
) -> None:
    true, predicted = (canvas.shortened(classes[i], 14) for i in (pair.true, pair.predicted))
    parts = (
        (pair.right, true, canvas.BLACK, _BESIDE),
        (pair.wrong, f"{true} \u2192 {predicted}", canvas.ORANGE, _MISTAKES),
        (pair.others, predicted, canvas.BLACK, _BESIDE),
    )
    pen, left, taken = ImageDraw.Draw(sheet), _MARGIN, iter(images)
    for rows, caption, colour, columns in parts:
        if len(rows):
            _write(pen, (left, top), caption, colour)
        for place in range(len(rows)):
            shown = Image.fromarray(next(taken)).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
            sheet.paste(shown, (left + place * (_SIDE + _GAP), top + _LINE))
        left += columns * (_SIDE + _GAP) + _MARGIN


def _write(pen: ImageDraw.ImageDraw, place: tuple[int, int], text: str, colour: str) -> None:
    font = ImageFont.truetype(DEFAULT, 14)
    pen.text(place, drawable(text, default_alone=True), fill=colour, font=font)

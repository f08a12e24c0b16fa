"""The pairs of classes that are confused most, with images of both side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from asl_exp.evaluation.figures import canvas
from asl_exp.evaluation.figures.mistakes import (
    LINE,
    MARGIN,
    Images,
    heading,
    new_sheet,
    paste,
    save_sheet,
    write,
)
from asl_exp.evaluation.scores import Integers, Labels, Probabilities, predicted_classes

_PAIRS: Final = 8
_MISTAKES: Final = 4  # of a pair
_BESIDE: Final = 2  # images of each class
_SIDE: Final = 96
_GAP: Final = 6


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
    top, columns = heading(rows), _MISTAKES + 2 * _BESIDE
    width = 2 * MARGIN + columns * (_SIDE + _GAP) + 2 * MARGIN
    sheet = new_sheet(rows, width, top + len(pairs) * (_SIDE + LINE + _GAP) + MARGIN)
    for row, (pair, images) in enumerate(pairs):
        _draw_pair(sheet, top + row * (_SIDE + LINE + _GAP), pair, images, classes)
    save_sheet(sheet, path, rows)


def _draw_pair(
    sheet: Image.Image, top: int, pair: ConfusedPair, images: Images, classes: Sequence[str]
) -> None:
    true, predicted = (canvas.shortened(classes[i], 14) for i in (pair.true, pair.predicted))
    parts = (
        (pair.right, true, canvas.BLACK, _BESIDE),
        (pair.wrong, f"{true} \u2192 {predicted}", canvas.ORANGE, _MISTAKES),
        (pair.others, predicted, canvas.BLACK, _BESIDE),
    )
    left, taken = MARGIN, iter(images)
    for rows, caption, colour, columns in parts:
        if len(rows):
            write(sheet, (left, top), caption, colour)
        for place in range(len(rows)):
            paste(sheet, (left + place * (_SIDE + _GAP), top + LINE), next(taken), _SIDE)
        left += columns * (_SIDE + _GAP) + MARGIN

"""Contact sheets: the mistakes that the model was surest of, and the pairs confused most.

Drawn with Pillow: a picture of pictures needs no axes, and takes a tenth of the time.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from asl_exp.config import readable
from asl_exp.data.fonts import write
from asl_exp.evaluation.figures import canvas
from asl_exp.evaluation.scores import Integers, Labels, Probabilities, predicted_classes

COLUMNS = 6
MOST = 24  # images on the sheet
LONGEST_NAME = 22  # characters of a file name that fit below an image
LONGEST_CLASS = 8  # characters of a class that fit twice above an image

_DRAWN = re.compile(r"^synthetic:.*/(\w+)/session(\d+)/[^/]+/(\d+)@seed\d+$")

SIDE = 156  # pixels of an image on the sheet
GAP = 10
LINE = 20  # pixels from one row of text to the next
MARGIN = 14

Images = npt.NDArray[np.uint8]


def most_confident_mistakes(probabilities: Probabilities, labels: Labels) -> Integers:
    """Return indices of wrongly classified images `(M,)`, the highest confidence first."""
    wrong = np.flatnonzero(predicted_classes(probabilities) != labels)
    confidence = probabilities[wrong].max(axis=1)
    return wrong[np.argsort(-confidence, kind="stable")]


def mistakes_figure(
    path: Path, images: Images, captions: Sequence[tuple[str, str]], what: str, line: str
) -> None:
    """Draw images `(M, S, S, 3)` with a caption and a file name each."""
    told = [what, *line.split("\n")] + ([] if captions else ["no mistakes"])
    columns, tall = max(3, min(COLUMNS, len(images))), SIDE + 2 * LINE + GAP
    n_rows = -(-len(images) // columns)
    sheet, top = _new_sheet(told, 2 * MARGIN + columns * (SIDE + GAP), n_rows * tall)
    for place, (image, caption) in enumerate(zip(images, captions, strict=True)):
        row, column = divmod(place, columns)
        left, above = MARGIN + column * (SIDE + GAP), top + row * tall
        write(sheet, (left, above), caption[0], canvas.BLACK)
        _paste(sheet, (left, above + LINE), image, SIDE)
        name = canvas.shortened(caption[1], LONGEST_NAME)
        write(sheet, (left, above + LINE + SIDE + 2), name, canvas.GREY, 11)
    canvas.save_picture(sheet, path, "\n".join(told))


def _new_sheet(told: Sequence[str], width: int, height: int) -> tuple[Image.Image, int]:
    """Return a white sheet with its title, no row of which is wider, and where the rest begins."""
    top = MARGIN + LINE * len(told) + GAP
    sheet = Image.new("RGB", (width, top + height + MARGIN), "white")
    for place, row in enumerate(told):
        shown = canvas.shortened(row, width // 7)
        write(sheet, (MARGIN, MARGIN + place * LINE), shown, canvas.BLACK)
    return sheet, top


def _paste(sheet: Image.Image, place: tuple[int, int], image: Images, side: int) -> None:
    """Put an image (S, S, 3) there, so many pixels wide and high."""
    sheet.paste(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR), place)


def captions(
    chosen: Integers,
    probabilities: Probabilities,
    labels: Labels,
    classes: Sequence[str],
    paths: Sequence[str],
) -> list[tuple[str, str]]:
    """Return ``A → S  0.98`` (true, predicted, its probability) and the file name of each."""
    predicted = predicted_classes(probabilities)
    names = [canvas.shortened(name, LONGEST_CLASS) for name in classes]
    return [
        (
            f"{names[labels[i]]} → {names[predicted[i]]}  {_sureness(probabilities[i].max())}",
            _image_name(paths[i]),
        )
        for i in chosen
    ]


def _sureness(probability: float) -> str:
    """Return it in two digits; that of a mistake is never written as 1."""
    return readable.score(min(float(probability), np.nextafter(1, 0)), 2)


def _image_name(path: str) -> str:
    """Return a file's name; of a drawn hand its signer, session and number."""
    drawn = _DRAWN.search(path)
    return Path(path).name if drawn is None else f"{drawn[1]}, take {drawn[2]}.{int(drawn[3])}"


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
        pairs: each with the images of its rows.
        line: below it; may have several lines.
    """
    rows = [what, *line.split("\n")] + ([] if pairs else ["no mistakes"])
    columns, tall = _MISTAKES + 2 * _BESIDE, _SIDE + LINE + _GAP
    sheet, top = _new_sheet(rows, 4 * MARGIN + columns * (_SIDE + _GAP), len(pairs) * tall)
    for row, (pair, images) in enumerate(pairs):
        _draw_pair(sheet, top + row * tall, pair, images, classes)
    canvas.save_picture(sheet, path, "\n".join(rows))


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
            _paste(sheet, (left + place * (_SIDE + _GAP), top + LINE), next(taken), _SIDE)
        left += columns * (_SIDE + _GAP) + MARGIN

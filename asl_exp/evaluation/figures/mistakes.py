"""A contact sheet of the mistakes that the model was most sure of, and what such sheets share.

Drawn with Pillow: a picture of pictures needs no axes, and takes a tenth of the time.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from asl_exp.config import readable
from asl_exp.data.fonts import DEFAULT, drawable
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
    top, columns = heading(told), max(3, min(COLUMNS, len(images)))
    tall = SIDE + 2 * LINE + GAP
    width = 2 * MARGIN + columns * (SIDE + GAP)
    sheet = new_sheet(told, width, top + -(-len(images) // columns) * tall + MARGIN)
    for place, (image, caption) in enumerate(zip(images, captions, strict=True)):
        row, column = divmod(place, columns)
        left, above = MARGIN + column * (SIDE + GAP), top + row * tall
        write(sheet, (left, above), caption[0])
        paste(sheet, (left, above + LINE), image, SIDE)
        name = canvas.shortened(caption[1], LONGEST_NAME)
        write(sheet, (left, above + LINE + SIDE + 2), name, canvas.GREY, 11)
    save_sheet(sheet, path, told)


def heading(told: Sequence[str]) -> int:
    """Return the pixels that a sheet's title takes, a row a line."""
    return MARGIN + LINE * len(told) + GAP


def new_sheet(told: Sequence[str], width: int, height: int) -> Image.Image:
    """Return a white sheet with its title, no row of which is wider."""
    sheet = Image.new("RGB", (width, height), "white")
    for place, row in enumerate(told):
        write(sheet, (MARGIN, MARGIN + place * LINE), canvas.shortened(row, width // 7))
    return sheet


def write(
    sheet: Image.Image,
    place: tuple[int, int],
    text: str,
    colour: str = canvas.BLACK,
    size: int = 14,
) -> None:
    """Write a line of text whose upper left corner is there."""
    font = ImageFont.truetype(DEFAULT, size)
    shown = drawable(text, default_alone=True)
    ImageDraw.Draw(sheet).text(place, shown, fill=colour, font=font)


def paste(sheet: Image.Image, place: tuple[int, int], image: Images, side: int) -> None:
    """Put an image (S, S, 3) there, so many pixels wide and high."""
    sheet.paste(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR), place)


def save_sheet(sheet: Image.Image, path: Path, told: Sequence[str]) -> None:
    """Write a PNG whose title is in its metadata as well."""
    described = PngInfo()
    described.add_text("Title", "\n".join(told))
    sheet.save(path, "PNG", pnginfo=described)


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

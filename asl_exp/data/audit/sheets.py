"""Sheets of small images to look at: by class, in pairs, and as the network sees them."""

from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from asl_exp.config.schema import AugmentationConfig
from asl_exp.data.audit.findings import Findings
from asl_exp.data.dataset import LetterData, Split
from asl_exp.data.decode import Pixels
from asl_exp.data.fonts import DEFAULT, drawable

_SIDE: Final = 72
_GAP: Final = 2
_LABEL_WIDTH: Final = 64
_A_CLASS: Final = 10
_AUGMENTED_ROWS: Final = 8
_AUGMENTED_COLUMNS: Final = 10
SHOWN_PAIRS: Final = 24


def contact_sheet(split: Split, classes: tuple[str, ...]) -> Image.Image:
    """Show ten images of each class, spread over the split, a row a class."""
    rows = []
    for index in range(len(classes)):
        found = np.flatnonzero(split.labels == index)
        n_shown = min(_A_CLASS, len(found))
        spread = found[np.linspace(0, len(found) - 1, n_shown).astype(np.int64)]
        rows.append([_small(image) for image in split.gather(spread)] if n_shown else [])
    return _grid(rows, list(classes))


def augmented_sheet(split: Split, config: AugmentationConfig, n_classes: int) -> Image.Image:
    """Show a few training images, each followed by nine random changes of it."""
    import torch

    from asl_exp.data.augmentation import Augmentation

    chosen = np.linspace(0, len(split) - 1, min(_AUGMENTED_ROWS, len(split))).astype(np.int64)
    pixels = split.gather(chosen)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    labels = torch.from_numpy(split.labels[chosen])
    augmentation = Augmentation(config, n_classes)
    columns = [pixels]
    for seed in range(_AUGMENTED_COLUMNS - 1):
        changed, _ = augmentation(images, labels, seed=seed)
        columns.append((changed.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8))
    rows = [[_small(column[row]) for column in columns] for row in range(len(chosen))]
    names = split.table["label"].iloc[chosen].tolist()
    return _grid(rows, [str(name) for name in names])


def pair_image(data: LetterData, findings: Findings, first: int, second: int) -> Image.Image:
    """Show two images of the audit side by side."""
    both = [_small(_pixels(data, findings, row), 2 * _SIDE) for row in (first, second)]
    return _grid([both], [""], side=2 * _SIDE, label_width=0)


def single_image(data: LetterData, split: str, row: int) -> Image.Image:
    """Show one image of a split."""
    return _small(data.splits[split].gather(np.array([row]))[0], 2 * _SIDE)


def _pixels(data: LetterData, findings: Findings, row: int) -> Pixels:
    """Return (S, S, 3) of a row of the audit's table, in which the splits follow each other."""
    name = str(findings.images["split"].iloc[row])
    first = int((findings.images["split"] == name).to_numpy().argmax())
    pixels: Pixels = data.splits[name].gather(np.array([row - first]))[0]
    return pixels


def _small(pixels: Pixels, side: int = _SIDE) -> Image.Image:
    return Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR)


def _grid(
    rows: list[list[Image.Image]],
    names: list[str],
    side: int = _SIDE,
    label_width: int = _LABEL_WIDTH,
) -> Image.Image:
    """Lay images out in rows, each with its name on the left."""
    step = side + _GAP
    width = label_width + step * max(len(row) for row in rows)
    sheet = Image.new("RGB", (width, step * len(rows)), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.truetype(DEFAULT, 14)
    for top, (name, row) in enumerate(zip(names, rows, strict=True)):
        draw.text(
            (4, top * step + side // 2 - 8),
            drawable(name, default_alone=True),
            fill=(40, 40, 40),
            font=font,
        )
        for left, image in enumerate(row):
            sheet.paste(image, (label_width + left * step, top * step))
    return sheet

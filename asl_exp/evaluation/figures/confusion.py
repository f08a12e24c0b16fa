"""The confusion matrix as a picture: colour is the share of the true class, numbers are images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from asl_exp.config import readable
from asl_exp.evaluation import scores
from asl_exp.evaluation.figures import canvas
from asl_exp.evaluation.scores import Floats, Integers

LONGEST_NAME = 14  # characters
SHARES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0)  # marked on the colour scale


@dataclass(frozen=True)
class _Layout:
    """Sizes in inches, but letters in points."""

    side: float
    letters: int
    below: float
    left: float
    numbers: bool

    top: float = 0.9
    right: float = 1.9


def confusion_figure(
    path: Path, confusion: Integers, classes: Sequence[str], what: str, line: str
) -> None:
    """Draw counts `(C, C)` with rows true and columns predicted."""
    names = [canvas.plain(canvas.shortened(name, LONGEST_NAME)) for name in classes]
    layout = _layout(names)
    figure, axes = _new(layout)
    image = _draw_shares(axes, confusion)
    if layout.numbers:
        _write_counts(axes, confusion, layout.letters)
    _name_classes(axes, confusion, names, layout)
    _draw_scale(figure, image, layout)
    canvas.title(figure, what, line)
    canvas.save(figure, path)


def _layout(names: Sequence[str]) -> _Layout:
    """Return sizes at which cells and names stay readable; from 40 classes on without numbers."""
    small, middle = len(names) <= 12, len(names) <= 40
    letters = 10 if small else 9 if middle else 7
    cell = 0.5 if small else 0.38 if middle else 0.14
    longest = max(map(len, names)) * letters * 0.009  # a letter is about 0.65 of its size wide
    return _Layout(
        side=min(max(4.0, cell * len(names)), 18.0),
        letters=letters,
        below=0.6 + (longest if longest > 0.25 else 0.1),
        left=0.5 + longest,
        numbers=middle,
    )


def _new(layout: _Layout) -> tuple[Figure, Axes]:
    width = layout.left + layout.side + layout.right
    height = layout.below + layout.side + layout.top
    figure = canvas.new_figure(width, height)
    figure.set_layout_engine("none")
    box = (layout.left / width, layout.below / height, layout.side / width, layout.side / height)
    return figure, figure.add_axes(box)


def _draw_shares(axes: Axes, confusion: Integers) -> AxesImage:
    # The square root makes a mistake of one in a hundred visible beside a full diagonal.
    norm = PowerNorm(0.5, 0, 1)
    image = axes.imshow(_row_shares(confusion), cmap="Blues", norm=norm, aspect="equal")
    for row in np.flatnonzero(confusion.sum(axis=1) == 0):
        axes.axhspan(row - 0.5, row + 0.5, color=canvas.PALE, linewidth=0)
    return image


def _row_shares(confusion: Integers) -> Floats:
    images = confusion.sum(axis=1, keepdims=True)
    return np.asarray(confusion / np.maximum(images, 1), dtype=np.float64)


def _write_counts(axes: Axes, confusion: Integers, letters: int) -> None:
    shares = _row_shares(confusion)
    for row, column in np.argwhere(confusion > 0):
        count = int(confusion[row, column])
        axes.text(
            column,
            row,
            str(count),
            ha="center",
            va="center",
            fontsize=letters - (0 if count < 1000 else 2),
            color="white" if shares[row, column] > 0.35 else canvas.BLACK,
        )


def _name_classes(axes: Axes, confusion: Integers, names: Sequence[str], layout: _Layout) -> None:
    every = int(np.ceil(len(names) * 0.11 / layout.side))  # a name needs 0.11 inches
    ticks = list(range(0, len(names), every))
    shown = [names[i] for i in ticks]
    axes.set_yticks(ticks, shown, fontsize=layout.letters)
    axes.set_xticks(ticks, shown, fontsize=layout.letters)
    for label, name in zip(axes.get_xticklabels(), shown, strict=True):
        label.set_rotation(90 if len(name) > 2 else 0)
    axes.tick_params(length=2)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    _write_recall(axes, confusion, ticks, layout.letters - 1)


def _write_recall(axes: Axes, confusion: Integers, ticks: Sequence[int], letters: int) -> None:
    """Write the recall of each true class beside its row."""
    recall = scores.recall_by_class(confusion)
    right = axes.secondary_yaxis("right")
    texts = ["no image" if np.isnan(recall[i]) else readable.percent(recall[i]) for i in ticks]
    right.set_yticks(ticks, texts, fontsize=letters, color="#666666")
    right.tick_params(length=0)
    axes.annotate(
        "recall",
        (1, 1),
        xycoords="axes fraction",
        xytext=(4, 5),
        textcoords="offset points",
        fontsize=letters,
        color="#666666",
    )


def _draw_scale(figure: Figure, image: AxesImage, layout: _Layout) -> None:
    width, height = figure.get_size_inches()
    left = (layout.left + layout.side + 0.8) / width
    tall = min(layout.side, 5.0)
    below = layout.below + (layout.side - tall) / 2
    scale = figure.add_axes((left, below / height, 0.18 / width, tall / height))
    bar = figure.colorbar(image, cax=scale, ticks=list(SHARES))
    bar.ax.set_yticklabels([f"{share:.0%}" for share in SHARES])
    bar.set_label("share of the true class's images")

"""The confusion matrix as a picture: colour is the share of the true class, numbers are images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm

from asl_exp.evaluation import canvas, scores
from asl_exp.evaluation.scores import Floats, Integers

NUMBERS_UP_TO = 40  # classes; more cells than that are too small for readable numbers
LONGEST_NAME = 14  # characters
SHARES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0)  # marked on the colour scale


def confusion_figure(path: Path, confusion: Integers, classes: Sequence[str], line: str) -> None:
    """Draw counts `(C, C)` with rows true and columns predicted; `line` describes the set."""
    side = _side(len(classes))
    figure = canvas.new_figure(side + 2.6, side + 1.8)
    axes = figure.add_subplot()
    shares = _row_shares(confusion)
    # The square root makes a mistake of one in a hundred visible beside a full diagonal.
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), aspect="equal")
    if len(classes) <= NUMBERS_UP_TO:
        _write_counts(axes, confusion, shares)
    _name_classes(axes, confusion, classes, side)
    bar = figure.colorbar(image, ax=axes, fraction=0.035, pad=0.02, ticks=list(SHARES))
    bar.ax.set_yticklabels([f"{share:.0%}" for share in SHARES])
    bar.set_label("share of the images of the true class")
    canvas.title(figure, "Confusion matrix", line)
    canvas.save(figure, path)


def _side(n_classes: int) -> float:
    """Return the side of the matrix in inches."""
    cell = 0.5 if n_classes <= 12 else 0.38 if n_classes <= NUMBERS_UP_TO else 0.14
    return min(max(4.0, cell * n_classes), 18.0)


def _row_shares(confusion: Integers) -> Floats:
    images = confusion.sum(axis=1, keepdims=True)
    return np.asarray(confusion / np.maximum(images, 1), dtype=np.float64)


def _write_counts(axes: Axes, confusion: Integers, shares: Floats) -> None:
    size = 10 if len(confusion) <= 12 else 8
    for row, column in np.argwhere(confusion > 0):
        count = int(confusion[row, column])
        axes.text(
            column,
            row,
            str(count),
            ha="center",
            va="center",
            fontsize=size if count < 1000 else size - 2,
            color="white" if shares[row, column] > 0.35 else canvas.BLACK,
        )


def _name_classes(axes: Axes, confusion: Integers, classes: Sequence[str], side: float) -> None:
    names = [canvas.plain(canvas.shortened(name, LONGEST_NAME)) for name in classes]
    size = 10 if len(classes) <= 12 else 9 if len(classes) <= NUMBERS_UP_TO else 7
    every = int(np.ceil(len(classes) * 0.11 / side))  # a label needs 0.11 inches
    ticks = np.arange(0, len(classes), every)
    turned = 90 if len(classes) > NUMBERS_UP_TO or max(map(len, names)) > 2 else 0
    axes.set_xticks(ticks, [names[i] for i in ticks], fontsize=size, rotation=turned)
    axes.set_yticks(ticks, [names[i] for i in ticks], fontsize=size)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.tick_params(length=2)
    _write_recall(axes, confusion, ticks, size)


def _write_recall(axes: Axes, confusion: Integers, ticks: Integers, size: int) -> None:
    """Label the right side with the recall of each true class."""
    recall = scores.recall_by_class(confusion)
    right = axes.secondary_yaxis("right")
    texts = ["no image" if np.isnan(recall[i]) else f"{recall[i]:.0%}" for i in ticks]
    right.set_yticks(ticks, texts, fontsize=size - 1, color=canvas.GREY)
    right.tick_params(length=0)
    right.set_ylabel("recall", color=canvas.GREY)

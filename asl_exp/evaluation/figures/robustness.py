"""Accuracy by strength of each disturbance, flips by letter, and the disturbed pictures."""

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from asl_exp.config import readable
from asl_exp.data.decode import Pixels
from asl_exp.evaluation.figures import canvas
from asl_exp.evaluation.robustness import Robustness

_COLUMNS = 3


def robustness_figure(path: Path, found: Robustness) -> None:
    """Draw accuracy and flipped answers by strength into a PNG, a panel a disturbance."""
    names = found.disturbances
    rows = ceil(len(names) / _COLUMNS)
    figure = canvas.new_figure(9.6, 1.2 + 2.5 * rows)
    line = f"{found.n_images:,} images, mean accuracy {readable.score(found.mean_accuracy)}"
    canvas.title(figure, f"Robustness: {found.name}", line)
    panels = list(figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False).flat)
    for axes, name in zip(panels, names, strict=False):
        _draw(axes, found, name)
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=9)
    canvas.save(figure, path)


def flips_figure(path: Path, found: Robustness) -> None:
    """Draw the share of answers that flip by letter into a PNG, the mean over three strengths."""
    letters = list(found.rows[0].flips_by_class)
    values = np.array([
        np.mean([[row.flips_by_class[letter] for letter in letters] for row in rows], axis=0)
        for rows in (found.of(name)[1:] for name in found.disturbances)
    ])  # fmt: skip
    figure = canvas.new_figure(max(6.0, 0.36 * len(letters) + 3), 1.6 + 0.4 * len(values))
    line = f"percent, mean over three strengths; {found.n_images:,} images"
    canvas.title(figure, f"Answers that flip, by letter: {found.name}", line)
    canvas.shares_map(figure.add_subplot(), values, found.disturbances, letters)
    canvas.save(figure, path)


def _draw(axes: Axes, found: Robustness, name: str) -> None:
    rows = found.of(name)
    strengths = [row.strength for row in rows]
    axes.plot(strengths, [row.accuracy for row in rows], "-o", color=canvas.BLUE, label="accuracy")
    if all(row.accuracy_interval for row in rows):
        low, high = zip(*(row.accuracy_interval or (0, 0) for row in rows), strict=True)
        axes.fill_between(strengths, low, high, color=canvas.SKY, alpha=0.3)
    axes.plot(
        strengths, [row.flips for row in rows], "--s", color=canvas.ORANGE, markersize=4,
        label="share of answers that flip",
    )  # fmt: skip
    axes.set_title(name, fontsize=10)
    axes.set(ylim=(-0.02, 1.02), xticks=strengths, xlabel="strength")
    axes.grid(color=canvas.PALE)


def examples_figure(path: Path, pictures: Mapping[str, Sequence[Pixels]], what: str) -> None:
    """Draw one image as it is and disturbed, a row a disturbance, into a PNG."""
    columns = max(len(row) for row in pictures.values())
    figure = canvas.new_figure(1.5 * columns + 1.2, 1.45 * len(pictures) + 0.7)
    canvas.title(figure, what, "as it is, then strength 1 to 3")
    panels = figure.subplots(len(pictures), columns, squeeze=False)
    for line, (name, row) in zip(panels, pictures.items(), strict=True):
        for axes, image in zip(line, row, strict=True):
            axes.imshow(image)
            axes.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, fontsize=9)
    canvas.save(figure, path)

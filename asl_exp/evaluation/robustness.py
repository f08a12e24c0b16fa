"""How a model stands up to disturbed pictures: accuracy, and the share of answers that flip.

Owns the table and its files, robustness.csv, .json and .png, and flips.png; disturbances.py makes
the pictures. Flips are counted against the answer to the undisturbed picture, right or wrong.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from asl_exp.config import readable
from asl_exp.config.redact import csv_cell
from asl_exp.data.decode import Pixels
from asl_exp.evaluation.figures import canvas
from asl_exp.evaluation.intervals import Interval, known_groups, mean_interval

Answers = NDArray[np.object_]
"""(N,) the letter answered to each image."""

NONE = "none"
"""Names the undisturbed pictures among the disturbances."""


@dataclass(frozen=True)
class Row:
    """One disturbance at one strength.

    Attributes:
        strength: 1 to 3; 0 for the undisturbed pictures.
        accuracy, flips: shares of 0 to 1.
        accuracy_interval, flips_interval: 95 %, by bootstrap over groups; None for one group.
        flips_by_class: true class to the share of its answers that flip.
    """

    disturbance: str
    strength: int
    accuracy: float
    accuracy_interval: Interval | None
    flips: float
    flips_interval: Interval | None
    flips_by_class: dict[str, float]


@dataclass(frozen=True)
class Robustness:
    """One model on the disturbed pictures of one set.

    Attributes:
        n_images: disturbed.
        rows: the undisturbed pictures first.
        left_out: disturbance to why it was not tried.
    """

    name: str
    n_images: int
    rows: Sequence[Row]
    left_out: dict[str, str]

    def of(self, disturbance: str) -> list[Row]:
        """Return a disturbance's rows, the undisturbed pictures first."""
        return [row for row in self.rows if row.disturbance in (NONE, disturbance)]

    @property
    def disturbances(self) -> list[str]:
        """Return those that were tried, in their order."""
        return [name for name in dict.fromkeys(r.disturbance for r in self.rows) if name != NONE]

    @property
    def mean_accuracy(self) -> float:
        """Return the mean over all disturbances and strengths."""
        return float(np.mean([row.accuracy for row in self.rows if row.disturbance != NONE]))


def scored_row(
    place: tuple[str, int], answers: Answers, undisturbed: Answers, table: pd.DataFrame
) -> Row:
    """Return what a disturbance at a strength does.

    Args:
        place: name and strength.
        answers: to the disturbed images.
        undisturbed: to the same images as they are.
        table: a row an image: label, group.
    """
    labels = table["label"].to_numpy(dtype=object)
    groups = known_groups(table)
    correct = (answers == labels).astype(np.float64)
    flips = (answers != undisturbed).astype(np.float64)
    by_class = pd.Series(flips).groupby(labels).mean()
    return Row(
        disturbance=place[0],
        strength=place[1],
        accuracy=float(correct.mean()),
        accuracy_interval=mean_interval(correct, groups, share=True),
        flips=float(flips.mean()),
        flips_interval=mean_interval(flips, groups, share=True),
        flips_by_class={str(name): float(share) for name, share in by_class.items()},
    )


def write_robustness(folder: Path, found: Robustness) -> None:
    """Write robustness.csv, .json and .png, and flips.png, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame([_flat(row) for row in found.rows])
    table.rename(columns=csv_cell).to_csv(
        folder / "robustness.csv", index=False, lineterminator="\n"
    )
    content: dict[str, Any] = {
        "set": found.name,
        "images": found.n_images,
        "mean_accuracy": found.mean_accuracy,
        "left_out": found.left_out,
        "rows": [row.__dict__ for row in found.rows],
    }
    text = json.dumps(content, indent=2, ensure_ascii=False)
    (folder / "robustness.json").write_text(text + "\n", encoding="utf-8")
    robustness_figure(folder / "robustness.png", found)
    flips_figure(folder / "flips.png", found)


def _flat(row: Row) -> dict[str, object]:
    accuracy, flips = (one or (None, None) for one in (row.accuracy_interval, row.flips_interval))
    return {
        "disturbance": row.disturbance,
        "strength": row.strength,
        "accuracy": row.accuracy,
        "accuracy_low": accuracy[0],
        "accuracy_high": accuracy[1],
        "flips": row.flips,
        "flips_low": flips[0],
        "flips_high": flips[1],
        **{f"flips/{name}": share for name, share in row.flips_by_class.items()},
    }


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

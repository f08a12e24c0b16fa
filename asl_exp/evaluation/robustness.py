"""How a model stands up to disturbed pictures: accuracy, and the share of answers that flip.

Owns the table and its files, robustness.csv, .json and .png, and flips.png; disturbances.py makes
the pictures. Flips are counted against the answer to the undisturbed picture, right or wrong.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from asl_exp.config.redact import csv_cell
from asl_exp.evaluation.intervals import Interval, known_groups, mean_interval

Answers = NDArray[np.object_]
"""(N,) the letter answered to each image."""

NONE = "none"
"""Names the undisturbed pictures among the disturbances."""


@dataclass(frozen=True)
class Row:
    """One disturbance at one strength.

    Attributes:
        disturbance: its name.
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
        name: of the set.
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
    groups = known_groups(table["group"].astype(str).tolist())
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
    from asl_exp.evaluation.figures.robustness import flips_figure, robustness_figure

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

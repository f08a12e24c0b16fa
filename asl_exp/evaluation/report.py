"""The classification report of one set: a table of classes, a summary, and both as JSON or text."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from asl_exp.config import readable
from asl_exp.evaluation import risk_coverage, scores
from asl_exp.evaluation.intervals import Interval, Intervals
from asl_exp.evaluation.one_vs_rest import OneVsRest
from asl_exp.evaluation.risk_coverage import RiskCoverage
from asl_exp.evaluation.scores import Integers, Labels, Probabilities

N_PAIRS = 10  # most frequent mistakes listed


def class_table(
    confusion: Integers, roc: OneVsRest, precision_recall: OneVsRest, classes: Sequence[str]
) -> pd.DataFrame:
    """Return a row a class: images, times predicted, and scores, NaN where it has no image.

    Args:
        confusion: `(C, C)`, the row is the true class.
        roc, precision_recall: of the same answers.
        classes: C names.
    """
    return pd.DataFrame(
        {
            "images": confusion.sum(axis=1),
            "predicted": confusion.sum(axis=0),
            "precision": scores.precision_by_class(confusion),
            "recall": scores.recall_by_class(confusion),
            "f1": scores.f1_by_class(confusion),
            "roc_auc": roc.areas(len(classes)),
            "average_precision": precision_recall.areas(len(classes)),
        },
        index=pd.Index(classes, name="class"),
    )


def summary(probabilities: Probabilities, labels: Labels) -> dict[str, float]:
    """Return the scores that a run is compared by: accuracy, f1_macro and ece."""
    return {
        "accuracy": scores.accuracy(probabilities, labels),
        "f1_macro": scores.f1_macro(probabilities, labels),
        "ece": scores.expected_calibration_error(probabilities, labels),
    }


@dataclass(frozen=True)
class Report:
    """What a model is worth on one set, to be written.

    Attributes:
        name: of the set.
        totals: scores of the whole set.
        table: a row a class, see `class_table`.
        confusion: `(C, C)`, the row is the true class.
        intervals: of the scores.
        curve: risk by coverage.
        caution: what must stand beside them.
    """

    name: str
    totals: dict[str, float]
    table: pd.DataFrame
    confusion: Integers
    intervals: Intervals
    curve: RiskCoverage
    caution: str = ""

    def as_json(self) -> str:
        """Return the report as JSON; what is not defined is null."""
        table, classes = self.table, list(self.table.index)
        content = {
            "set": self.name,
            **({"caution": self.caution} if self.caution else {}),
            "images": int(table["images"].sum()),
            "classes_with_images": int((table["images"] > 0).sum()),
            **self.totals,
            **macro_averages(table),
            "intervals": self.intervals.as_json(classes),
            "abstention": risk_coverage.as_json(self.curve),
            "classes": {label: _json_row(row) for label, row in table.iterrows()},
            "mistakes": [
                {"true": true, "predicted": predicted, "images": count}
                for true, predicted, count in frequent_mistakes(self.confusion, classes)
            ],
        }
        return json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n"

    def as_text(self) -> str:
        """Return the report for a reader; ``-`` stands for a score that is not defined."""
        table, of = self.table, self.intervals.of
        present = int((table["images"] > 0).sum())
        heading = f"{self.name}: {table['images'].sum()} images, {present} of {len(table)} classes"
        heading = "\n".join(filter(None, (heading, self.caution)))
        numbers = {**self.totals, **macro_averages(table)}
        lines = [f"{k:<26}{_number(v)}{_spread(of.get(k))}" for k, v in numbers.items()]
        rows = table.reset_index().to_string(index=False, na_rep="-", float_format=_number)
        told = self.intervals.described()
        told = f"In brackets: {told}." if of else f"{told[0].upper()}{told[1:]}."
        note = f"Macro averages are over the classes that have images.\n{told}"
        pairs = _pairs(table, self.confusion)
        asked = ["For a wanted accuracy", *risk_coverage.sentences(self.curve)]
        return "\n".join([heading, "", *lines, "", rows, "", note, "", *pairs, "", *asked, ""])


def macro_averages(table: pd.DataFrame) -> dict[str, float | None]:
    """Return means over the classes with images; None when no class has the score."""
    means = table[["precision", "recall", "roc_auc", "average_precision"]].mean()
    return {f"{key}_macro": _or_none(value) for key, value in means.items()}


def frequent_mistakes(confusion: Integers, classes: Sequence[str]) -> list[tuple[str, str, int]]:
    """Return (true, predicted, images) of the most frequent confusions, the most frequent first."""
    wrong = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-wrong, axis=None, kind="stable")[:N_PAIRS]
    cells = [divmod(int(cell), len(classes)) for cell in order]
    return [(classes[i], classes[j], int(wrong[i, j])) for i, j in cells if wrong[i, j]]


def _pairs(table: pd.DataFrame, confusion: Integers) -> list[str]:
    pairs = frequent_mistakes(confusion, list(table.index))
    if not pairs:
        return ["No mistakes."]
    images = table["images"]
    return ["Most frequent mistakes (true -> predicted, share of the true class)"] + [
        f"{true} -> {predicted}: {count} ({readable.percent(count / images[true])})"
        for true, predicted, count in pairs
    ]


def _json_row(row: "pd.Series[Any]") -> dict[str, int | float | None]:
    counts: dict[str, int | float | None] = {key: int(row[key]) for key in ("images", "predicted")}
    return counts | {key: _or_none(row[key]) for key in row.index if key not in counts}


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _spread(interval: Interval | None) -> str:
    return "" if interval is None else f"  [{interval[0]:.4f}, {interval[1]:.4f}]"


def _number(value: float | None) -> str:
    return readable.score(value, 4)

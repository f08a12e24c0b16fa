"""The classification report of one set: a table of classes, a summary, and both as JSON or text."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from asl_exp.config import readable
from asl_exp.config.redact import printable
from asl_exp.evaluation import risk_coverage, scores
from asl_exp.evaluation.intervals import Interval, Intervals, known_groups, mean_interval
from asl_exp.evaluation.one_vs_rest import OneVsRest
from asl_exp.evaluation.risk_coverage import RiskCoverage
from asl_exp.evaluation.scores import Integers, Labels, Probabilities

N_PAIRS = 10  # most frequent mistakes listed
_MOST_PARTS: Final = 20  # groups listed in the text


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
    """Return the scores that a run is compared by: those of names.SCORES."""
    return {
        "accuracy": scores.accuracy(probabilities, labels),
        "f1_macro": scores.f1_macro(probabilities, labels),
        "ece": scores.expected_calibration_error(probabilities, labels),
        "brier": scores.brier(probabilities, labels),
        "log_loss": scores.log_loss(probabilities, labels),
    }


@dataclass(frozen=True)
class Part:
    """One group or source of a set.

    Attributes:
        interval: of the accuracy; None where all its images are of one group.
    """

    images: int
    accuracy: float
    interval: Interval | None


def accuracy_by(column: str, table: pd.DataFrame, correct: NDArray[np.bool_]) -> dict[str, Part]:
    """Return the accuracy of each value of a column, the lowest first; none where there is one.

    Args:
        column: "group", none where they are not known, or "source".
        table: a row an image.
        correct: `(N,)`.
    """
    groups = known_groups(table)
    values = table[column].astype(str).to_numpy()
    names = np.unique(values)
    if len(names) < 2 or (column == "group" and groups is None):
        return {}
    parts = {}
    for name in names.tolist():
        rows = np.flatnonzero(values == name)
        right = correct[rows].astype(np.float64)
        of_rows = None if groups is None else np.asarray(groups)[rows].tolist()
        interval = mean_interval(right, of_rows, share=True)
        parts[printable(name)] = Part(len(rows), float(right.mean()), interval)
    return dict(sorted(parts.items(), key=lambda part: part[1].accuracy))


@dataclass(frozen=True)
class Report:
    """What a model is worth on one set, to be written.

    Attributes:
        table: a row a class, see `class_table`.
        confusion: `(C, C)`, the row is the true class.
        parts: "group" and "source" to the accuracy of each, the lowest first.
        caution: what must stand beside them.
    """

    name: str
    totals: dict[str, float]
    table: pd.DataFrame
    confusion: Integers
    intervals: Intervals
    curve: RiskCoverage
    parts: Mapping[str, Mapping[str, Part]]
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
            **{
                f"{kind}s": {k: asdict(v) for k, v in of.items()} for kind, of in self.parts.items()
            },
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
        rows = self._class_rows().to_string(index=False, na_rep="-", float_format=_number)
        told = self.intervals.described()
        told = f"In brackets: {told}." if of else f"{told[0].upper()}{told[1:]}."
        note = f"Macro averages are over the classes that have images.\n{told}"
        pairs = _pairs(table, self.confusion)
        asked = ["For a wanted accuracy", *risk_coverage.sentences(self.curve)]
        parts = [line for kind, of in self.parts.items() for line in _part_lines(kind, of)]
        told_rest = [*pairs, "", *parts, *asked, ""]
        return "\n".join([heading, "", *lines, "", rows, "", note, "", *told_rest])

    def _class_rows(self) -> pd.DataFrame:
        """Return the table with recall's and precision's intervals behind their values."""
        rows, of_classes = self.table.reset_index(), self.intervals.of_classes
        for column in ("precision", "recall"):
            if any(column in of for of in of_classes.values()):
                rows[column] = [
                    f"{_number(value)}{_spread(of_classes.get(index, {}).get(column), 2)}"
                    for index, value in enumerate(rows[column])
                ]
        return rows


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


def _part_lines(kind: str, parts: Mapping[str, Part]) -> Iterator[str]:
    """Yield a line for each group or source, the hardest first, and an empty one after them."""
    if not parts:
        return
    yield f"Accuracy by {kind}, the lowest first"
    for name, part in list(parts.items())[:_MOST_PARTS]:
        images = "1 image" if part.images == 1 else f"{part.images:,} images"
        yield f"{name}: {_number(part.accuracy)}{_spread(part.interval, 2)} of {images}"
    if (left := len(parts) - _MOST_PARTS) > 0:
        yield f"and {left:,} more, in classification_report.json"
    yield ""


def _spread(interval: Interval | None, digits: int = 4) -> str:
    return "" if interval is None else f"  ({readable.interval(interval, digits)})"


def _number(value: float | None) -> str:
    return readable.score(value, 4)

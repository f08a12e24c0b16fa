"""predictions.parquet of one set, scored anew: what anybody can check."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from asl_exp.config import names
from asl_exp.config.errors import UserError
from asl_exp.evaluation import scores
from asl_exp.evaluation.intervals import Interval, Intervals, known_groups, score_intervals
from asl_exp.evaluation.report import summary
from asl_exp.evaluation.risk_coverage import risk_coverage

PREDICTIONS: Final = "predictions.parquet"


@dataclass(frozen=True)
class Scored:
    """One run on one set, made anew from its predictions.

    Attributes:
        table: a row an image: key, label, group, predicted, correct, ...
        values: names.SCORES, and those of risk and coverage.
        intervals: of names.SCORES.
        recall: class to the share of its images that were recognised.
        recall_intervals: class to its interval, as far as there are any.
    """

    table: pd.DataFrame
    values: dict[str, float]
    intervals: Intervals
    recall: dict[str, float]
    recall_intervals: dict[str, Interval]


def score_file(file: Path) -> Scored:
    """Score the predictions of a file anew.

    Raises:
        UserError: it cannot be read, or holds no predictions.
    """
    try:
        table = pd.read_parquet(file)
        columns = [str(name) for name in table if str(name).startswith("probability/")]
        classes = [name.removeprefix("probability/") for name in columns]
        probabilities = table[columns].to_numpy(np.float64)
        labels = pd.Index(classes).get_indexer(pd.Index(table["label"])).astype(np.int64)
        scores.checked(probabilities, labels)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{file}: these are no predictions of asl_exp ({reason})") from error
    confusion = scores.confusion_matrix(probabilities, labels)
    recall = scores.recall_by_class(confusion)
    curve = risk_coverage(probabilities, labels)
    groups = known_groups(table["group"].astype(str).tolist())
    intervals = score_intervals(probabilities, labels, groups)
    return Scored(
        table=table.assign(correct=probabilities.argmax(1) == labels),
        values={
            **summary(probabilities, labels),
            names.RISK_COVERAGE_AREA: curve.area,
            names.ACCURACY_SUREST: curve.surest,
        },
        intervals=intervals,
        recall={
            name: float(share)
            for name, share in zip(classes, recall, strict=True)
            if not np.isnan(share)
        },
        recall_intervals={
            classes[index]: found["recall"]
            for index, found in intervals.of_classes.items()
            if "recall" in found
        },
    )

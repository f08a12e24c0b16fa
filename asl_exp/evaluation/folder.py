"""The folder `evaluation/<set>/`: every file that says what a kept model is worth on one set.

Equal arguments give equal files. Numbers are written before figures, so that a failing figure
loses none. matplotlib is loaded with the first figure, not before training. predictions.parquet is
also read here and scored anew, as anybody can.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from asl_exp.config import names
from asl_exp.config.errors import UserError
from asl_exp.config.redact import csv_cell, printable
from asl_exp.data.decode import Pixels
from asl_exp.data.letters import Split
from asl_exp.evaluation import one_vs_rest, report, scores
from asl_exp.evaluation.inference import with_no_hand
from asl_exp.evaluation.intervals import Interval, Intervals, known_groups, score_intervals
from asl_exp.evaluation.one_vs_rest import OneVsRest
from asl_exp.evaluation.risk_coverage import risk_coverage, risk_coverage_intervals
from asl_exp.evaluation.scores import Integers, Labels, Probabilities
from asl_exp.runs.writing import filled

PREDICTIONS: Final = "predictions.parquet"
HAND_FOUND: Final = "hand_found"
"""Its column, where hands are looked for."""


@dataclass(frozen=True)
class AnsweredSet:
    """One set of images and the model's answers.

    Attributes:
        name: how figures and reports call it, e.g. ``test`` or ``external/davidlee``.
        probabilities: `(N, C)`, rows summing to 1.
        labels: `(N,)`, indices into `classes`.
        classes: C different names.
        table: a row for each image in the same order: path, label (a class name), group, source.
        gather: returns the images of the given rows, `(B, S, S, 3)` uint8.
        caution: what must stand beside every score, in figures and reports.
        found: `(N,)`, in which images a hand was found; None where none was looked for.
    """

    name: str
    probabilities: Probabilities
    labels: Labels
    classes: Sequence[str]
    table: pd.DataFrame
    gather: Callable[[Integers], Pixels]
    caution: str = ""
    found: NDArray[np.bool_] | None = None

    @classmethod
    def of(
        cls, split: Split, probabilities: Probabilities, classes: Sequence[str]
    ) -> "AnsweredSet":
        """Return a split with probabilities `(N, C)`, and "no hand" where that is the answer."""
        answers, columns = with_no_hand(probabilities, classes, split.rejected)
        return cls(
            name=split.name,
            probabilities=answers,
            labels=split.labels,
            classes=columns,
            table=split.table,
            gather=split.gather,
            caution=split.caution,
            found=split.found,
        )

    def scores(self) -> dict[str, float]:
        """Return names.SCORES, those of risk and coverage, and how often a hand was found."""
        totals = _scores_of(self.probabilities, self.labels)
        if self.found is not None:
            totals[names.HANDS_FOUND] = float(self.found.mean())
        return totals

    def line(self, *told: str) -> str:
        """Return what stands below a figure's title; the caution in a line of its own."""
        from asl_exp.evaluation.figures.canvas import line

        return "\n".join(filter(None, (line(len(self.labels), *told), self.caution)))


def _scores_of(probabilities: Probabilities, labels: Labels) -> dict[str, float]:
    curve = risk_coverage(probabilities, labels)
    of_curve = {names.RISK_COVERAGE_AREA: curve.area, names.ACCURACY_SUREST: curve.surest}
    return report.summary(probabilities, labels) | of_curve


@dataclass(frozen=True)
class Evaluation:
    """What a model is worth on one set.

    Attributes:
        n_images: scored.
        scores: names.SCORES, those of risk and coverage, and hands_found where hands are looked
            for.
        intervals: how sure they are.
        caution: what must stand beside every score.
    """

    n_images: int
    scores: dict[str, float]
    intervals: Intervals
    caution: str = ""

    def told(self, name: str, score: str) -> str:
        """Return a score under a name, with its interval."""
        from asl_exp.evaluation.figures.canvas import number

        return number(name, self.scores[score], self.intervals.of.get(score))


def write_evaluation(folder: Path, answered: AnsweredSet) -> Evaluation:
    """Score one set and fill its folder; what an earlier call left there is replaced.

    The predictions, by which readers know an evaluation, come last: where a figure fails, the
    folder stays as it was.

    Raises:
        ValueError: parts of the set do not fit each other, or are no probabilities.
    """
    _check(answered)
    totals = answered.scores()
    groups = known_groups(answered.table)
    intervals = score_intervals(answered.probabilities, answered.labels, groups)
    ranked = risk_coverage_intervals(answered.probabilities, answered.labels, groups)
    intervals = replace(intervals, of={**intervals.of, **ranked})
    evaluation = Evaluation(len(answered.labels), totals, intervals, answered.caution)
    curves = _Curves.of(answered)
    with filled(folder, last=PREDICTIONS) as part:
        _write_reports(part, answered, evaluation, curves)
        _draw_scores(part, answered, evaluation)
        _draw_rankings(part, answered, curves)
        _draw_mistakes(part, answered)
        write_answers(part, answered)
    return evaluation


def predictions_table(
    probabilities: Probabilities, classes: Sequence[str], table: pd.DataFrame
) -> pd.DataFrame:
    """Return the table's columns and predicted, confidence, correct, `probability/<class>`."""
    # Parquet readers often lack half precision.
    kept = probabilities.astype(np.result_type(probabilities.dtype, np.float32))
    answers = pd.DataFrame(kept, columns=[f"probability/{label}" for label in classes])
    predicted = np.asarray(classes, dtype=object)[scores.predicted_classes(kept)]
    answers.insert(0, "predicted", predicted)
    answers.insert(1, "confidence", kept.max(axis=1))
    answers.insert(2, "correct", predicted == table["label"].to_numpy(dtype=object))
    rows = table.reset_index(drop=True).drop(columns=answers.columns, errors="ignore")
    return pd.concat([rows, answers], axis=1)


def write_answers(folder: Path, answered: AnsweredSet) -> None:
    """Write predictions.parquet alone: every answer, with no figure made of them."""
    folder.mkdir(parents=True, exist_ok=True)
    table = answered.table
    if answered.found is not None:
        table = table.assign(**{HAND_FOUND: answered.found})
    predictions = predictions_table(answered.probabilities, answered.classes, table)
    predictions.to_parquet(folder / PREDICTIONS, index=False)


@dataclass(frozen=True)
class _Curves:
    """What takes long to make and is used twice: the curves of each class against the rest."""

    roc: OneVsRest
    precision_recall: OneVsRest

    @classmethod
    def of(cls, answered: AnsweredSet) -> "_Curves":
        answers = (answered.probabilities, answered.labels)
        return cls(one_vs_rest.roc(*answers), one_vs_rest.precision_recall(*answers))


def _write_reports(
    folder: Path, answered: AnsweredSet, evaluation: Evaluation, curves: _Curves
) -> None:
    confusion = scores.confusion_matrix(answered.probabilities, answered.labels)
    index = pd.Index(answered.classes, name="true\\predicted")
    counts = pd.DataFrame(confusion, index=index, columns=list(answered.classes))
    counts.rename(index=csv_cell, columns=csv_cell).to_csv(
        folder / "confusion_matrix.csv", lineterminator="\n"
    )
    table = report.class_table(confusion, curves.roc, curves.precision_recall, answered.classes)
    curve = risk_coverage(answered.probabilities, answered.labels)
    right = scores.predicted_classes(answered.probabilities) == answered.labels
    parts = {name: report.accuracy_by(name, answered.table, right) for name in ("source", "group")}
    totals, intervals = evaluation.scores, evaluation.intervals
    written = report.Report(
        answered.name, totals, table, confusion, intervals, curve, parts, answered.caution
    )
    (folder / "classification_report.json").write_text(written.as_json(), encoding="utf-8")
    told = printable(written.as_text(), lines=True)
    (folder / "classification_report.txt").write_text(told, encoding="utf-8")


def _draw_scores(folder: Path, answered: AnsweredSet, evaluation: Evaluation) -> None:
    from asl_exp.evaluation.figures.confusion import confusion_figure
    from asl_exp.evaluation.figures.probabilities import reliability_figure, risk_coverage_figure

    answers, told = (answered.probabilities, answered.labels), evaluation.told
    accuracy = told("accuracy", "accuracy")
    confusion_figure(
        folder / "confusion_matrix.png",
        scores.confusion_matrix(*answers),
        answered.classes,
        f"Confusion matrix: {answered.name}",
        answered.line(accuracy, told("macro F1", "f1_macro")),
    )
    reliability_figure(
        folder / "reliability.png",
        scores.reliability(*answers),
        f"Reliability: {answered.name}",
        answered.line(accuracy, told("expected calibration error", "ece")),
    )
    risk_coverage_figure(
        folder / "risk_coverage.png",
        risk_coverage(*answers),
        f"Risk and coverage: {answered.name}",
        answered.line(
            told("area", names.RISK_COVERAGE_AREA),
            told("accuracy of the surest 80 percent", names.ACCURACY_SUREST),
        ),
    )


def _draw_rankings(folder: Path, answered: AnsweredSet, curves: _Curves) -> None:
    from asl_exp.evaluation.figures.canvas import number
    from asl_exp.evaluation.figures.probabilities import precision_recall_figure, roc_figure

    roc_figure(
        folder / "roc.png",
        curves.roc,
        answered.classes,
        f"ROC, each class against the rest: {answered.name}",
        answered.line(number("macro area", curves.roc.macro_area)),
    )
    precision_recall_figure(
        folder / "precision_recall.png",
        curves.precision_recall,
        answered.classes,
        f"Precision and recall: {answered.name}",
        answered.line(number("macro average precision", curves.precision_recall.macro_area)),
    )


def _draw_mistakes(folder: Path, answered: AnsweredSet) -> None:
    from asl_exp.evaluation.figures import mistakes

    wrong = mistakes.most_confident_mistakes(answered.probabilities, answered.labels)
    shown = wrong[: mistakes.MOST]
    captions = mistakes.captions(
        shown,
        answered.probabilities,
        answered.labels,
        answered.classes,
        answered.table["path"].astype(str).tolist(),
    )
    images = answered.gather(shown) if shown.size else np.zeros((0, 1, 1, 3), dtype=np.uint8)
    mistakes.mistakes_figure(
        folder / "misclassified.png",
        images,
        captions,
        f"Most confident mistakes: {answered.name}",
        answered.line(_shown(shown, wrong)),
    )
    pairs = mistakes.confused_pairs(answered.probabilities, answered.labels)
    mistakes.pairs_figure(
        folder / "confused_pairs.png",
        [(pair, answered.gather(pair.rows)) for pair in pairs],
        answered.classes,
        f"Most confused pairs: {answered.name}",
        answered.line("in orange the mistakes, beside them both classes"),
    )


def _shown(shown: Integers, mistakes: Integers) -> str:
    if len(shown) == len(mistakes):
        return "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
    return f"{len(shown)} of {len(mistakes):,} mistakes"


def _check(answered: AnsweredSet) -> None:
    scores.checked(answered.probabilities, answered.labels)
    n_classes, classes = answered.probabilities.shape[1], answered.classes
    if len(classes) != n_classes or len(set(classes)) != n_classes:
        raise ValueError(
            f"{n_classes} columns of probabilities need as many different names; got {classes}"
        )
    given, labels = answered.table["label"].tolist(), answered.labels
    if len(given) != len(labels):
        raise ValueError(f"the table has {len(given)} rows for {len(labels)} images")
    for row, label in enumerate(labels):
        if given[row] != answered.classes[label]:
            raise ValueError(
                f"row {row} is {given[row]!r} in the table and {answered.classes[label]!r} in "
                "the labels: their orders differ"
            )


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
    groups = known_groups(table)
    intervals = score_intervals(probabilities, labels, groups)
    return Scored(
        table=table.assign(correct=probabilities.argmax(1) == labels),
        values=_scores_of(probabilities, labels),
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

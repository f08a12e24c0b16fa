"""One-vs-rest ROC and precision-recall curves with their areas.

A class has a curve when it has images and others have too. Averages are over these classes:
*macro* is the mean of their curves, and its area the mean of their areas; *micro* treats every
(image, class) pair as one yes-or-no question.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from asl_exp.evaluation.scores import Floats, Integers, Labels, Probabilities, checked

GRID = np.linspace(0, 1, 1001)  # where curves are averaged; finer than a figure's pixels


@dataclass(frozen=True)
class Curve:
    """Points `(P,)` with ascending x, and the area below, 0 to 1."""

    x: Floats
    y: Floats
    area: float


@dataclass(frozen=True)
class OneVsRest:
    """The curves of one set.

    Attributes:
        classes: class index to its curve; a class without one is left out.
        macro: the mean curve; None when no class has a curve.
        micro: the curve of all pairs; None when no class has a curve.
    """

    classes: dict[int, Curve]
    macro: Curve | None
    micro: Curve | None

    @property
    def macro_area(self) -> float:
        """The mean area of the classes; NaN when no class has a curve."""
        return self.macro.area if self.macro else float("nan")

    def areas(self, n_classes: int) -> Floats:
        """Return the area of each class, `(n_classes,)`; NaN for a class without a curve."""
        known = self.classes
        return np.array([known[i].area if i in known else np.nan for i in range(n_classes)])


def roc(probabilities: Probabilities, labels: Labels) -> OneVsRest:
    """Return true positive rate (y) against false positive rate (x)."""
    return _one_vs_rest(probabilities, labels, _roc_curve, _roc_at_grid)


def precision_recall(probabilities: Probabilities, labels: Labels) -> OneVsRest:
    """Return precision (y) against recall (x).

    The area is average precision, the sum of (R_n - R_n-1) P_n, without interpolation.
    """
    return _one_vs_rest(probabilities, labels, _precision_recall_curve, _precision_at_grid)


def _one_vs_rest(
    probabilities: Probabilities,
    labels: Labels,
    curve: Callable[[Integers, Floats], Curve],
    at_grid: Callable[[Curve], Floats],
) -> OneVsRest:
    probabilities, labels = checked(probabilities, labels)
    images = np.bincount(labels, minlength=probabilities.shape[1])
    scored = np.flatnonzero((images > 0) & (images < len(labels)))
    if not scored.size:
        return OneVsRest({}, None, None)
    is_true = (labels[:, None] == scored).astype(np.int64)  # (N, scored)
    columns = probabilities[:, scored]
    curves = [curve(is_true[:, i], columns[:, i]) for i in range(scored.size)]
    return OneVsRest(
        classes=dict(zip(scored.tolist(), curves, strict=True)),
        macro=Curve(
            x=GRID,
            y=np.mean([at_grid(each) for each in curves], axis=0),
            area=float(np.mean([each.area for each in curves])),
        ),
        micro=curve(is_true.ravel(), columns.ravel()),
    )


def _positives(is_true: Integers, score: Floats) -> tuple[Floats, Floats]:
    """Return how many true and how many false ones lie at or above each score, the highest first.

    Both are `(1 + T,)` for T different scores, and begin with 0: above all of them.
    """
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)  # of equal scores
    true = np.append(0, np.cumsum(is_true[order], dtype=np.float64)[last])
    return true, np.append(0, last + 1) - true


def _roc_curve(is_true: Integers, score: Floats) -> Curve:
    true, false = _positives(is_true, score)
    x, y = false / false[-1], true / true[-1]
    return Curve(x, y, float(np.trapezoid(y, x)))


def _roc_at_grid(curve: Curve) -> Floats:
    rates = np.interp(GRID, curve.x, curve.y)
    rates[0] = 0.0  # interpolation takes the upper end of a curve's rise at 0
    return rates


def _precision_recall_curve(is_true: Integers, score: Floats) -> Curve:
    true, false = _positives(is_true, score)
    precision = np.append(1.0, true[1:] / (true + false)[1:])
    # Of the points of one recall the one with the highest score counts, which is the first.
    recall, first = np.unique(true / true[-1], return_index=True)
    precision = precision[first]
    return Curve(recall, precision, float(np.sum(np.diff(recall) * precision[1:])))


def _precision_at_grid(curve: Curve) -> Floats:
    return curve.y[np.searchsorted(curve.x, GRID)]

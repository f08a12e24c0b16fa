"""Risk and coverage: how good the answers are where the model may also say that it is not sure.

Images are ranked by the probability of the predicted class, the surest first; coverage is the share
that is answered, risk the share of errors among them (El-Yaniv and Wiener, JMLR 2010). The area
below the curve is the mean risk over all coverages: 0 is perfect, the error rate means that
confidence tells nothing. Images of equal confidence are answered together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from asl_exp.config import names, readable
from asl_exp.evaluation import scores
from asl_exp.evaluation.intervals import Interval, drawn_units, interval_of
from asl_exp.evaluation.scores import Floats, Integers, Labels, Probabilities

WANTED: Final = (0.90, 0.95, 0.99)
"""Accuracies for which the report names a threshold."""

_SHARE: Final = 0.8
_DRAWS_TOGETHER: Final = 1_000_000  # draws times images in memory at once

Drawn = npt.NDArray[np.float32]


@dataclass(frozen=True)
class RiskCoverage:
    """The curve of one set, a point an answered image, the surest first; each `(N,)`.

    Attributes:
        confidence: of the image; answering down to it gives the point.
        coverage: share of images answered, rising to 1.
        risk: share of errors among them.
    """

    confidence: Floats
    coverage: Floats
    risk: Floats

    @property
    def area(self) -> float:
        """Return the mean risk over all coverages."""
        return float(self.risk.mean())

    @property
    def surest(self) -> float:
        """Return the accuracy of the 80 % surest answers."""
        return float(1 - self.risk[np.searchsorted(self.coverage, _SHARE - 1e-12)])

    def threshold(self, accuracy: float) -> tuple[float, float] | None:
        """Return the lowest confidence from which on answers are so accurate, and the coverage.

        None where not even the surest answers are.
        """
        # within equal confidences the curve is level, so any of them is the whole tie
        good = np.flatnonzero(self.risk <= 1 - accuracy + 1e-12)
        if not good.size:
            return None
        return float(self.confidence[good[-1]]), float(self.coverage[good[-1]])


def risk_coverage(probabilities: Probabilities, labels: Labels) -> RiskCoverage:
    """Return the curve of probabilities `(N, C)` and labels `(N,)`."""
    confidence, wrong = _ranked(*scores.checked(probabilities, labels))
    last = _last_of_tie(confidence)
    coverage = np.arange(1, len(wrong) + 1) / len(wrong)
    risk = np.cumsum(wrong) / np.arange(1, len(wrong) + 1)
    return RiskCoverage(confidence, coverage[last], risk[last])


def risk_coverage_intervals(
    probabilities: Probabilities, labels: Labels, groups: Sequence[str] | None
) -> dict[str, Interval]:
    """Return the 95 % intervals of both scores by bootstrap over groups; none where there is one.

    Args:
        probabilities: `(N, C)`.
        labels: `(N,)`.
        groups: `(N,)`; None where they are not known, and images are drawn.
    """
    probabilities, labels = scores.checked(probabilities, labels)
    order = np.argsort(-probabilities.max(axis=1), kind="stable")
    confidence, wrong = _ranked(probabilities, labels)
    last = _last_of_tie(confidence)
    ordered = None if groups is None else np.asarray(groups, dtype=str)[order].tolist()
    n_units = len(wrong) if groups is None else len(set(groups))
    if n_units < 2:
        return {}
    errors = wrong.astype(np.float32)
    drawn = drawn_units(len(wrong), ordered, _DRAWS_TOGETHER)
    areas, surest = zip(*(_of_draws(weights, errors, last) for weights in drawn), strict=True)
    curve = risk_coverage(probabilities, labels)
    both = {
        names.RISK_COVERAGE_AREA: (np.concatenate(areas), curve.area),
        names.ACCURACY_SUREST: (np.concatenate(surest), curve.surest),
    }
    return {name: interval_of(*one, n_units, bounded=True) for name, one in both.items()}


def _of_draws(weights: Drawn, wrong: Drawn, last: Integers) -> tuple[Floats, Floats]:
    """Return both scores of drawn samples whose images count `(D, N)` times, each `(D,)`."""
    answered = np.cumsum(weights, axis=1)
    risk = np.cumsum(weights * wrong, axis=1)
    risk /= np.maximum(answered, 1)
    if (np.diff(last) != 1).any():  # copies of all of it, which most sets do without
        answered, risk = answered[:, last], risk[:, last]
    total = answered[:, -1]
    area = np.einsum("dn,dn->d", risk, weights) / total
    reached = (answered < (_SHARE - 1e-6) * total[:, None]).sum(axis=1)
    surest = 1 - risk[np.arange(len(weights)), reached]
    return area.astype(np.float64), surest.astype(np.float64)


def _ranked(probabilities: Floats, labels: Integers) -> tuple[Floats, Floats]:
    """Return confidence and error (0 or 1) of each image, the surest first."""
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    wrong = scores.predicted_classes(probabilities) != labels
    return confidence[order], wrong[order].astype(np.float64)


def _last_of_tie(confidence: Floats) -> Integers:
    """Return for each rank the last rank of equal confidence."""
    ends = np.flatnonzero(np.append(confidence[1:] != confidence[:-1], True))
    places = np.searchsorted(ends, np.arange(len(confidence)))
    return np.asarray(ends[places], dtype=np.int64)


def as_json(curve: RiskCoverage) -> list[dict[str, Any]]:
    """Return the threshold and coverage of each wanted accuracy; None where none reaches it."""
    found = [(wanted, curve.threshold(wanted)) for wanted in WANTED]
    return [
        {"accuracy": wanted, "threshold": at and at[0], "coverage": at[1] if at else 0.0}
        for wanted, at in found
    ]


def sentences(curve: RiskCoverage) -> Iterator[str]:
    """Yield what each wanted accuracy costs, for a reader."""
    for wanted in WANTED:
        told = "not even the surest answers reach it on this set"
        if at := curve.threshold(wanted):
            told = f"answer from confidence {at[0]:.4f} on, {readable.percent(at[1])} of the images"
        yield f"accuracy {wanted:.0%}: {told}"

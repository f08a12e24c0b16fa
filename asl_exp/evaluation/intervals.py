"""How sure a score is: 95 % intervals by bootstrap over groups.

The images of one signer or one recording resemble each other, so that the group is what is drawn
again, not the image; where no groups are known, images are drawn, and `Intervals.unit` says so.

An interval is Student's, from the drawn samples' spread, for shares on the logit scale. Where the
groups' scores are skewed, which is so where nearly all is right and one signer is not, the mean of
a few of them flatters: the bound on that side is Hall's (On the Removal of Skewness by
Transformation, J. R. Stat. Soc. B 1992) if that lies further out. One group alone has no interval.
A share without spread, such as a perfect score, gets Wilson's, with the groups as trials.

Simulated, a mean accuracy of 0.9 to 0.995, 3 to 25 signers of 20 to 100 images whose accuracies
spread by up to 1 on the logit scale: the interval held the true accuracy 0.93 to 1.00 times, above
0.97 mostly for 3 to 8 signers. Spread by 2, some signers at half and most at all, 0.90 or more.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit, logit, ndtri, stdtrit

from asl_exp.evaluation import scores
from asl_exp.evaluation.scores import Floats, Integers, Labels, Probabilities

LEVEL: Final = 0.95
METHOD: Final = "bootstrap of 2,000 draws, Student and Hall, Wilson"
"""Named in certificates; another one as soon as equal answers would get other intervals."""

N_DRAWS: Final = 2000

_SEED: Final = 0
_SKEWED: Final = 0.2  # skewness of 2,000 drawn samples, above which it is no accident
_UNITS_TOGETHER: Final = 4096  # draws times this many counts are in memory at once

Interval = tuple[float, float]


@dataclass(frozen=True)
class Intervals:
    """The 95 % intervals of one set's scores.

    Attributes:
        unit: what was drawn again: "group", or "image" where no groups are known.
        n_units: how many there are.
        of: score to (low, high); empty where one group holds every image.
        of_classes: class index to its recall's and precision's interval, where it has images.
    """

    unit: Literal["group", "image"]
    n_units: int
    of: Mapping[str, Interval]
    of_classes: Mapping[int, Mapping[str, Interval]]

    def described(self) -> str:
        """Return what the intervals are over, for a reader."""
        if not self.of:
            return f"no interval: all images are of one {self.unit}"
        known = "" if self.unit == "group" else ", for no groups are known"
        return f"95 % intervals by bootstrap over {self.n_units:,} {self.unit}s{known}"

    def as_json(self, classes: Sequence[str]) -> dict[str, Any]:
        """Return plain values: score to [low, high], and the same by class."""
        return {
            "level": LEVEL,
            "drawn": self.unit,
            "n_drawn": self.n_units,
            "scores": {name: list(interval) for name, interval in self.of.items()},
            "classes": {
                classes[index]: {name: list(interval) for name, interval in found.items()}
                for index, found in self.of_classes.items()
            },
        }


def known_groups(table: pd.DataFrame) -> list[str] | None:
    """Return the groups of a table's images, or None where they are not known of every image."""
    groups = table["group"].astype(str).tolist()
    return groups if all(group and not group.startswith("near:") for group in groups) else None


def score_intervals(
    probabilities: Probabilities, labels: Labels, groups: Sequence[str] | None
) -> Intervals:
    """Return intervals of accuracy, f1_macro, ece, brier and log_loss, and by class.

    Args:
        probabilities: `(N, C)`, rows summing to 1.
        labels: `(N,)`, indices of classes.
        groups: `(N,)` names, of which none is cut by a split; None where they are not known.

    Raises:
        ValueError: the arguments do not fit each other.
    """
    probabilities, labels = scores.checked(probabilities, labels)
    if groups is not None and len(groups) != len(labels):
        raise ValueError(f"{len(groups)} groups for {len(labels)} images")
    units, n_units = _units(len(labels), groups)
    unit: Literal["group", "image"] = "image" if groups is None else "group"
    if n_units < 2:
        return Intervals(unit, n_units, {}, {})
    counts = _counts(probabilities, labels)
    draws = _drawn_sums(counts, units, n_units)
    n_classes = probabilities.shape[1]
    total = counts.sum(axis=0)[None]
    of: dict[str, Interval] = {}
    for name, statistic in _STATISTICS.items():
        value = float(statistic(total, n_classes)[0])
        low, high = interval_of(
            statistic(draws, n_classes), value, n_units, bounded=name in _SHARES
        )
        of[name] = max(0.0, low), high
    return Intervals(unit, n_units, of, _class_intervals(draws, total, n_classes, n_units))


def mean_interval(
    values: Floats, groups: Sequence[str] | None, *, share: bool = False
) -> Interval | None:
    """Return the interval of the mean of `(N,)` values of -1 to 1; None where there is one unit.

    Args:
        values: differences of two answers, or with `share` whether something holds, 0 or 1.
        groups: `(N,)`; None: images are the units.
        share: the mean is one of 0 to 1.
    """
    units, n_units = _units(len(values), groups)
    if n_units < 2:
        return None
    counts = np.stack([values, np.ones(len(values))], axis=1)
    sums = _drawn_sums(counts, units, n_units)
    drawn, mean = sums[:, 0] / sums[:, 1], float(values.mean())
    low, high = interval_of(drawn, mean, n_units, bounded=share)
    return max(low, -1.0), min(high, 1.0)


def interval_of_mean(values: Sequence[float], intervals: Sequence[Interval]) -> Interval:
    """Return the interval of the mean of scores of sets that have nothing in common.

    Distances to the bounds are added as variances are (Zou and Donner, Statist. Med. 2008).
    """
    mean = sum(values) / len(values)
    below = [value - low for value, (low, _) in zip(values, intervals, strict=True)]
    above = [high - value for value, (_, high) in zip(values, intervals, strict=True)]
    return mean - math.hypot(*below) / len(values), mean + math.hypot(*above) / len(values)


def drawn_units(
    n_images: int, groups: Sequence[str] | None, together: int
) -> Iterator[npt.NDArray[np.float32]]:
    """Yield how often each image counts in drawn samples of units `(D, n_images)`.

    Args:
        n_images: in their order.
        groups: `(N,)`; None: images are the units.
        together: draws times images that may be in memory at once.
    """
    units, n_units = _units(n_images, groups)
    generator = np.random.default_rng(_SEED)
    step = max(1, together // n_images)
    for start in range(0, N_DRAWS, step):
        n_draws = min(step, N_DRAWS - start)
        drawn = generator.integers(0, n_units, (n_draws, n_units))
        rows = np.arange(n_draws)[:, None] * n_units
        counts = np.bincount((drawn + rows).ravel(), minlength=n_draws * n_units)
        yield counts.astype(np.float32).reshape(n_draws, n_units)[:, units]


def wilson(successes: float, trials: int) -> Interval:
    """Return the interval of a share by Wilson, JASA 1927."""
    z = float(ndtri(0.5 + LEVEL / 2))
    share = successes / trials
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = (
        z
        / (1 + z * z / trials)
        * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    )
    return max(0.0, middle - half), min(1.0, middle + half)


def _units(n_images: int, groups: Sequence[str] | None) -> tuple[Integers, int]:
    if groups is None:
        return np.arange(n_images), n_images
    names, units = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    return units.astype(np.int64), len(names)


def _counts(probabilities: Floats, labels: Integers) -> Floats:
    """Return what every score is a function of, `(N, C * C + 3 * bins + 2)`, to be summed.

    The cell of the confusion matrix; images, confidence and correct answers by bin of confidence;
    the Brier score and the logarithmic loss.
    """
    n_images, n_classes = probabilities.shape
    rows = np.arange(n_images)
    counts = np.zeros((n_images, n_classes**2 + 3 * scores.N_BINS + 2), dtype=np.float32)
    predicted = scores.predicted_classes(probabilities)
    counts[rows, labels * n_classes + predicted] = 1
    confidence = probabilities.max(axis=1)
    edges = np.linspace(0, 1, scores.N_BINS + 1)[1:-1]
    bins = n_classes**2 + np.digitize(confidence, edges, right=True)
    counts[rows, bins] = 1
    counts[rows, bins + scores.N_BINS] = confidence
    counts[rows, bins + 2 * scores.N_BINS] = predicted == labels
    counts[:, -2] = scores.squared_distances(probabilities, labels)
    counts[:, -1] = scores.surprises(probabilities, labels)
    return counts.astype(np.float64)


def _drawn_sums(counts: Floats, units: Integers, n_units: int) -> Floats:
    """Return the sums of N_DRAWS drawn samples of units, `(N_DRAWS, K)`."""
    by_unit = np.zeros((n_units, counts.shape[1]))
    np.add.at(by_unit, units, counts)
    generator = np.random.default_rng(_SEED)
    sums = np.zeros((N_DRAWS, counts.shape[1]))
    left, remaining = np.full(N_DRAWS, n_units), n_units
    for start in range(0, n_units, _UNITS_TOGETHER):
        part = by_unit[start : start + _UNITS_TOGETHER]
        # how many of a draw's units fall into this part, then which ones
        inside = generator.binomial(left, len(part) / remaining)
        left, remaining = left - inside, remaining - len(part)
        weights = generator.multinomial(inside, np.full(len(part), 1 / len(part)))
        sums += weights @ part
    return sums


def _confusion(sums: Floats, n_classes: int) -> Floats:
    return sums[:, : n_classes**2].reshape(-1, n_classes, n_classes)


def _accuracy(sums: Floats, n_classes: int) -> Floats:
    confusion = _confusion(sums, n_classes)
    right: Floats = np.trace(confusion, axis1=1, axis2=2)
    share: Floats = right / confusion.sum(axis=(1, 2))
    return share


def _f1_macro(sums: Floats, n_classes: int) -> Floats:
    confusion = _confusion(sums, n_classes)
    images, predicted = confusion.sum(axis=2), confusion.sum(axis=1)
    right = np.diagonal(confusion, axis1=1, axis2=2)
    means: Floats = np.nanmean(scores.share(2 * right, images + predicted, images > 0), axis=1)
    return means


def _ece(sums: Floats, n_classes: int) -> Floats:
    bins = sums[:, n_classes**2 : -2].reshape(-1, 3, scores.N_BINS)
    gaps: Floats = np.abs(bins[:, 1] - bins[:, 2]).sum(axis=1) / bins[:, 0].sum(axis=1)
    return gaps


def _mean_of(column: int) -> Callable[[Floats, int], Floats]:
    return lambda sums, n_classes: sums[:, column] / sums[:, : n_classes**2].sum(axis=1)


_STATISTICS: Final[dict[str, Callable[[Floats, int], Floats]]] = {
    "accuracy": _accuracy,
    "f1_macro": _f1_macro,
    "ece": _ece,
    "brier": _mean_of(-2),
    "log_loss": _mean_of(-1),
}


_SHARES: Final = ("accuracy", "f1_macro", "ece")
"""Scores of 0 to 1."""


def _class_intervals(
    draws: Floats, total: Floats, n_classes: int, n_units: int
) -> dict[int, dict[str, Interval]]:
    drawn, whole = _confusion(draws, n_classes), _confusion(total, n_classes)[0]
    found: dict[int, dict[str, Interval]] = {}
    for index in np.flatnonzero(whole.sum(axis=1)):
        shares = {"recall": 2, "precision": 1}
        found[int(index)] = {}
        for name, axis in shares.items():
            images = drawn.sum(axis=axis)[:, index]
            values = scores.share(drawn[:, index, index], images, images > 0)
            of = whole.sum(axis=axis - 1)[index]
            if of and np.isfinite(values).any():
                value = whole[index, index] / of
                found[int(index)][name] = interval_of(values, value, n_units, bounded=True)
    return found


def interval_of(values: Floats, value: float, n_units: int, *, bounded: bool) -> Interval:
    """Return the interval of a score from its drawn values; see the module.

    Args:
        values: of the drawn samples; NaN where one has no score.
        value: of the whole set.
        n_units: drawn each time.
        bounded: it is a share of 0 to 1.
    """
    values = values[np.isfinite(values)]
    if bounded and np.ptp(values) == 0:
        return wilson(value * n_units, n_units)
    quantile = float(stdtrit(n_units - 1, 0.5 + LEVEL / 2))
    spread = float(values.std())
    skewness = float(np.mean((values - values.mean()) ** 3)) / spread**3 if spread else 0.0
    spread *= math.sqrt(n_units / (n_units - 1))
    low, high = _student(value, quantile * spread, bounded=bounded)
    if abs(skewness) > _SKEWED:
        further = value - spread * _hall(math.copysign(quantile, -skewness), skewness)
        if not bounded or 0 < further < 1:
            low, high = min(low, further), max(high, further)
    return low, high


def _hall(quantile: float, skewness: float) -> float:
    """Return Hall's quantile of a mean whose drawn samples have a skewness."""
    return 3 / skewness * (float(np.cbrt(1 + skewness * quantile - skewness**2 / 6)) - 1)


def _student(value: float, reach: float, *, bounded: bool) -> Interval:
    """Return the value and so much on both sides; of a share on the logit scale, by its slope."""
    if not bounded:
        return value - reach, value + reach
    value = min(max(value, 1e-9), 1 - 1e-9)
    reach /= value * (1 - value)
    return float(expit(logit(value) - reach)), float(expit(logit(value) + reach))

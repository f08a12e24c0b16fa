"""Whether one model is better than another: both tested on the same images.

McNemar's exact test counts the images on which they differ (McNemar, Psychometrika 1947); where an
answer is a share of repeated runs, it is the sign test of those shares. The interval of the
difference draws groups again, as intervals.py does, for images of one signer are no independent
trials. A difference is called shown where both agree, after Holm's correction for the number of
comparisons (Scandinavian Journal of Statistics 1979).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from asl_exp.config import readable
from asl_exp.evaluation.intervals import Interval, mean_interval

Correct = npt.NDArray[np.bool_] | npt.NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """The accuracy of a first model less that of a second, on the same images.

    Attributes:
        value: -1 to 1.
        interval: 95 %, by bootstrap over units; None where there is one unit.
        unit: group, or image where no groups are known.
        only_first, only_second: images that one of them alone, or oftener, got right.
        p: of McNemar's exact test, before any correction.
        n_images: compared.
    """

    value: float
    interval: Interval | None
    unit: str
    only_first: int
    only_second: int
    p: float
    n_images: int


def difference(first: Correct, second: Correct, groups: Sequence[str] | None) -> Difference:
    """Compare two models image by image.

    Args:
        first, second: `(N,)`, whether each image was recognised, or by what share of repeated runs,
            in one order.
        groups: `(N,)`; None where they are not known.

    Raises:
        ValueError: their lengths differ, or there is no image.
    """
    if len(first) != len(second) or not len(first):
        raise ValueError(f"{len(first)} and {len(second)} answers cannot be paired")
    gaps = first.astype(np.float64) - second.astype(np.float64)
    only_first, only_second = int((gaps > 0).sum()), int((gaps < 0).sum())
    apart = only_first + only_second
    return Difference(
        value=float(gaps.mean()),
        interval=mean_interval(gaps, groups),
        unit="image" if groups is None else "group",
        only_first=only_first,
        only_second=only_second,
        p=float(binomtest(only_first, apart).pvalue) if apart else 1.0,
        n_images=len(first),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number, in the given order."""
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[int(index)] = largest
    return corrected


def is_shown(found: Difference, p: float) -> bool:
    """Return whether the difference is more than chance: a corrected p below 0.05, and 0 outside.

    One group alone shows nothing of others.
    """
    if found.interval is None:
        return False
    low, high = found.interval
    return p < 0.05 and not low <= 0.0 <= high


def sentence(first: str, second: str, where: str, found: Difference, p: float) -> str:
    """Return ``B7 is better than V2-B1 on test by 1.2 points, 95 % -0.4 to 2.8: not shown``."""
    if not found.only_first and not found.only_second:
        return (
            f"{first} and {second} are right on the same images of {where} "
            f"({found.n_images:,} images)"
        )
    better, worse, sign = (first, second, 1) if found.value >= 0 else (second, first, -1)
    if found.value == 0:
        told = f"{first} and {second} are equally good on {where}"
    else:
        told = f"{better} is better than {worse} on {where} by {100 * abs(found.value):.1f} points"
    if found.interval is None:
        counted = "the 1 image is" if found.n_images == 1 else f"all {found.n_images:,} images are"
        return f"{told}; {counted} of one {found.unit}, which says nothing of others"
    bounds = sorted(sign * bound for bound in found.interval)
    verdict = "shown" if is_shown(found, p) else "not shown"
    between = f"{readable.points(bounds)}, p {_p(p)}"
    return f"{told}, {between}: {verdict} ({found.n_images:,} images)"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"

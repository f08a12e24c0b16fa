"""Whether one configuration is better than another on one set, and what forbids to compare them.

Two are compared on the images that both were tested on. A configuration of several runs counts by
the share of its runs that recognise an image. McNemar's exact test counts the images on which they
differ (McNemar, Psychometrika 1947); where an answer is a share of repeated runs, it is the sign
test of those shares. The interval of the difference draws groups again, as intervals.py does, for
images of one signer are no independent trials. A difference is called shown where both agree, after
Holm's correction for the number of comparisons (Scandinavian Journal of Statistics 1979): of many
configurations those that were best in validation are compared in pairs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import binomtest

from asl_exp.config import readable
from asl_exp.evaluation.comparison import (
    Compared,
    Configuration,
    best_by_validation,
    run_as_json,
    set_names,
)
from asl_exp.evaluation.intervals import Interval, known_groups, mean_interval
from asl_exp.runs.result import spelled_cautions

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


MOST_PAIRED: Final = 12
"""Configurations of which every two are compared."""


@dataclass(frozen=True)
class Pair:
    """Two configurations on one set. `p` is corrected for all pairs of that set."""

    where: str
    first: str
    second: str
    found: Difference
    p: float


def pairs(compared: Sequence[Configuration]) -> list[Pair]:
    """Compare every two configurations on the images that both were tested on, set by set."""
    found = []
    chosen = best_by_validation(compared, MOST_PAIRED)
    for where in set_names([one.first for one in chosen]):
        tested = [one for one in chosen if one.scored(where)]
        differences = [
            (first.label, second.label, one)
            for first, second in combinations(tested, 2)
            if (one := _paired(first.answers(where), second.answers(where))) is not None
        ]
        corrected = holm([one.p for _, _, one in differences])
        found += [
            Pair(where, first, second, one, p)
            for (first, second, one), p in zip(differences, corrected, strict=True)
        ]
    return found


def _paired(first: pd.DataFrame, second: pd.DataFrame) -> Difference | None:
    """Compare on the images that both have; None where they have none in common."""
    both = first.join(second["correct"].rename("correct_second"), how="inner")
    if both.empty:
        return None
    groups = known_groups(both)
    return difference(both["correct"].to_numpy(), both["correct_second"].to_numpy(), groups)


@dataclass(frozen=True)
class Common:
    """The images of one set that all configurations were tested on, where these are not all.

    Attributes:
        images: their identities; empty where there are none, and nothing can be compared.
    """

    where: str
    images: pd.Index

    def accuracy(self, one: Configuration) -> tuple[float, Interval | None]:
        """Return the accuracy on the common images and its interval."""
        rows = one.answers(self.where).loc[self.images]
        groups = known_groups(rows)
        correct = rows["correct"].to_numpy(np.float64)
        return float(correct.mean()), mean_interval(correct, groups, share=True)


def common_images(compared: Sequence[Configuration]) -> list[Common]:
    """Return, for each set on which different images were tested, those that all have."""
    found = []
    for where in set_names([one.first for one in compared]):
        indices = [one.answers(where).index for one in compared if one.scored(where)]
        shared = indices[0]
        for index in indices[1:]:
            shared = shared.intersection(index, sort=False)
        if any(len(index) != len(shared) for index in indices):
            found.append(Common(where, shared))
    return found


def warnings(runs: Sequence[Compared], compared: Sequence[Configuration]) -> Iterator[str]:
    """Yield what a reader must know before believing the table."""
    told: dict[str, list[str]] = {}
    for run in runs:
        for what in _warnings_of(run):
            told.setdefault(what, []).append(run.label)
    for what, labels in told.items():
        more = f" and {len(labels) - 3} more" if len(labels) > 3 else ""
        yield f"{', '.join(labels[:3])}{more}: {what}"
    for common in common_images(compared):
        if len(common.images):
            yield (
                f"{common.where}: the runs were tested on different images ({len(common.images):,} "
                "are common); pairs are compared on what both have"
            )
        else:
            yield (
                f"{common.where}: the runs have no tested image in common, so that their scores "
                "there cannot be compared"
            )
    if len({run.result.start.get("data") for run in runs}) > 1:
        yield "the runs did not have the same data: their data digests differ"
    if len(compared) > MOST_PAIRED:
        yield (
            f"of {len(compared):,} configurations the {MOST_PAIRED} with the highest val/accuracy "
            "are drawn and compared in pairs"
        )


def _warnings_of(run: Compared) -> Iterator[str]:
    if run.result.cautions:
        yield spelled_cautions(run.result.cautions)
    if not run.config.backbone.pretrained and run.published:
        yield "started from random weights, the published system did not"


def as_json(runs: Sequence[Compared], found: Sequence[Pair]) -> dict[str, Any]:
    """Return plain values of each run, by its label, and of each pair, for other programs."""
    return {
        "runs": {run.label: run_as_json(run) for run in runs},
        "pairs": [
            {"set": p.where, "first": p.first, "second": p.second, "p_corrected": p.p,
             "shown": is_shown(p.found, p.p), **asdict(p.found)}
            for p in found
        ],
    }  # fmt: skip

"""Differences between configurations on one set, and what forbids to compare them.

Two are compared on the images that both were tested on. A configuration of several runs counts by
the share of its runs that recognise an image. With many of them, those that were best in validation
are compared in pairs: the number of comparisons is what Holm's correction is for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
import pandas as pd

from asl_exp.evaluation.comparison import (
    Compared,
    Configuration,
    best_by_validation,
    run_as_json,
    set_names,
)
from asl_exp.evaluation.intervals import Interval, known_groups, mean_interval
from asl_exp.evaluation.paired import Difference, difference, holm, is_shown
from asl_exp.runs.result import spelled_cautions

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
    groups = known_groups(both["group"].astype(str).tolist())
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
        groups = known_groups(rows["group"].astype(str).tolist())
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

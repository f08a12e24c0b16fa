"""How many points of a score were memory: a head trained without copies of the test images.

Fewer training images cost accuracy as well, so the price is what copies cost beyond as many other
images of the same classes. All heads are linear, on the same stored features.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from asl_exp.config import readable
from asl_exp.evaluation.intervals import Interval, known_groups, mean_interval
from asl_exp.evaluation.linear_head import Labelled, correct, reduced

_CONTROLS: Final = 5
"""Random removals of other images, over which their cost is averaged."""


@dataclass(frozen=True)
class LeakPrice:
    """What near-duplicates of test images among the training images were worth.

    Attributes:
        n_train, n_removed: training images, and those of them that have a near-duplicate in test.
        n_test, n_copied: test images, and those that have a near-duplicate in train.
        accuracy: of a head trained on all.
        without: of one trained without the removed.
        control: of heads trained without as many others, their mean.
        intervals: of these three, by their names; None where all test images are of one group.
        interval: of control - without, by bootstrap over groups; None for one group.
        lost: classes of which no training image is left.
    """

    n_train: int
    n_removed: int
    n_test: int
    n_copied: int
    accuracy: float
    without: float
    control: float
    intervals: Mapping[str, Interval | None]
    interval: Interval | None
    lost: tuple[str, ...]

    @property
    def unchanged(self) -> bool:
        """Say whether all heads are right on the same images, which has no spread to draw."""
        return self.interval is not None and self.interval[0] == self.interval[1]

    @property
    def points(self) -> float:
        """Return the price in points of accuracy."""
        return 100 * (self.control - self.without)

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**self.__dict__, "lost": list(self.lost), "points": self.points}

    def sentence(self) -> str:
        """Return what was found, for a reader."""
        if not self.n_removed:
            return (
                f"none of {self.n_test:,} test images has a near-duplicate among "
                f"{self.n_train:,} training images: no point of the score is theirs"
            )
        interval = readable.points(self.interval)
        if self.unchanged:
            interval = "no interval: not one answer changed"
        lost = f"; no training image of {', '.join(self.lost)} is left" if self.lost else ""
        have = "has" if self.n_copied == 1 else "have"
        these = "this 1" if self.n_removed == 1 else f"these {self.n_removed:,}"
        return (
            f"{self.n_copied:,} of {self.n_test:,} test images {have} a "
            f"near-duplicate among the training images; without {these} of "
            f"{self.n_train:,} a linear head gets {self._told('without')} instead of "
            f"{self._told('accuracy')}, and {self._told('control')} "
            f"without as many others: they are worth {self.points:.1f} points ({interval}){lost}"
        )

    def _told(self, name: str) -> str:
        bounds = self.intervals[name]
        spread = f" ({readable.interval(bounds)})" if bounds else ""
        return f"{readable.score(getattr(self, name))}{spread}"


def leak_price(
    train: Labelled, test: Labelled, pairs: NDArray[np.int64], classes: tuple[str, ...]
) -> LeakPrice:
    """Train heads with and without the near-duplicates.

    Args:
        train, test: with their features.
        pairs: `(P, 2)` rows of train and of test that are near-duplicates.
        classes: names of the labels.
    """
    train, test = reduced(train, test)
    near = np.unique(pairs[:, 0])
    kept = np.setdiff1d(np.arange(len(train)), near)
    [whole] = correct(train, test)
    if not len(near) or not len(kept):
        without = control = whole if not len(near) else np.zeros(len(test))
    else:
        [without] = correct(train.take(kept), test)
        others = [_other_rows(train, near, seed) for seed in range(_CONTROLS)]
        control = np.mean([correct(train.take(rows), test)[0] for rows in others], axis=0)
    left = set(train.labels[kept].tolist())
    groups = known_groups(test.table)
    rights = {"accuracy": whole, "without": without, "control": control}
    return LeakPrice(
        n_train=len(train),
        n_removed=len(near),
        n_test=len(test),
        n_copied=len(np.unique(pairs[:, 1])),
        accuracy=float(whole.mean()),
        without=float(without.mean()),
        control=float(control.mean()),
        intervals={
            name: mean_interval(right, groups, share=True) for name, right in rights.items()
        },
        interval=mean_interval(control - without, groups),
        lost=tuple(classes[one] for one in np.unique(train.labels) if int(one) not in left),
    )


def _other_rows(train: Labelled, near: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return the rows that stay where, class by class, as many random images go as are near."""
    generator = np.random.default_rng(seed)
    gone = [
        generator.choice(
            np.flatnonzero(train.labels == label), int((train.labels[near] == label).sum()), False
        )
        for label in np.unique(train.labels[near])
    ]
    return np.setdiff1d(np.arange(len(train)), np.concatenate(gone))

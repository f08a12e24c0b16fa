"""What the data of an experiment are once they are loaded: splits, each with labels and pixels."""

from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from asl_exp.data.decode import Pixels
from asl_exp.data.hands.hand import Floats
from asl_exp.data.recordings import Grouping

TABLE: Final = ["path", "key", "label", "group", "source", "width", "height", "sha256"]


class PixelSource(Protocol):
    """Gives the pixels of rows of one set.

    Attributes:
        digest: of all of them; "" where they are not stored.
    """

    digest: str

    def gather(self, rows: NDArray[np.int64]) -> Pixels:
        """Return (B, S, S, 3)."""
        ...


@dataclass(frozen=True)
class Split:
    """One part of the data: train, val, test, or an external set.

    Attributes:
        name: "train", "val", "test" or "external/<set>".
        labels: (N,) indices into the classes.
        table: N rows: path, key, label, group, source, width, height, sha256.
        pixels: what its rows are gathered from.
        rows: (N,) the rows there; -1 for a hand without an image.
        caution: what must stand wherever its score is shown; "" where all is well.
        joints: (N, 21 K, 3) of K looks in shares of the square round the hand, NaN where none was
            found; None where no hand is looked for.
        sees_pixels: whether a network of this experiment looks at the pixels.
        rejected: (N,) bool: images that are answered "no hand".
        balance: what an epoch shows equally often: none, label or source.
        at_most: of each of those; None: an epoch has N rows.
    """

    name: str
    labels: NDArray[np.int64]
    table: pd.DataFrame
    pixels: PixelSource
    rows: NDArray[np.int64]
    caution: str = ""
    joints: Floats | None = None
    sees_pixels: bool = True
    rejected: NDArray[np.bool_] | None = None
    balance: str = "none"
    at_most: int | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def gather(self, indices: NDArray[np.int64]) -> Pixels:
        """Return (B, S, S, 3) RGB of positions within this split; black where there is no image."""
        rows = self.rows[indices]
        if (rows >= 0).all():
            return self.pixels.gather(rows)
        there = self.pixels.gather(np.maximum(rows, 0))
        there[rows < 0] = 0
        return there

    def take(self, chosen: NDArray[np.int64]) -> "Split":
        """Return some of its images as a split of the same name."""
        return replace(
            self,
            labels=self.labels[chosen],
            table=self.table.iloc[chosen].reset_index(drop=True),
            rows=self.rows[chosen],
            joints=None if self.joints is None else self.joints[chosen],
            rejected=None if self.rejected is None else self.rejected[chosen],
        )

    @property
    def cells(self) -> NDArray[np.int64] | None:
        """(N,): the class of each row, or its class and source, as `balance` says."""
        if self.balance == "none":
            return None
        if self.balance == "label":
            return self.labels
        sources, names = pd.factorize(self.table["source"])
        return self.labels * len(names) + sources

    @property
    def n_epoch(self) -> int:
        """Return how many rows an epoch of training has."""
        if (cells := self.cells) is None or self.at_most is None:
            return len(self)
        return int(np.minimum(np.unique(cells, return_counts=True)[1], self.at_most).sum())

    @property
    def found(self) -> NDArray[np.bool_] | None:
        """(N,): on which images a hand was found; None where none was looked for."""
        return None if self.joints is None else np.isfinite(self.joints[:, 0, 0])


@dataclass(frozen=True)
class LetterData:
    """Everything that training and evaluation read.

    Attributes:
        classes: in the order of their indices.
        digest: of the images, what is said of them, and who is in which split.
        splits: "train", "val", "test", then "external/<set>".
        split_rule: group, random, leave_out or column.
        leaks: near-copies of training images may be in val or test.
        caution: what must stand wherever a score of val or test is shown; "" where the groups are
            given and none is cut.
        grouping: where the groups come from.
        notes: how a layout was read and what was passed over, in words.
        unreadable: "path: reason" of each image left out.
        store_digest: of the pixels of the main set; "" where they are not stored.
    """

    classes: tuple[str, ...]
    digest: str
    splits: dict[str, Split]
    split_rule: str
    leaks: bool
    caution: str
    grouping: Grouping
    notes: tuple[str, ...]
    unreadable: tuple[str, ...]
    store_digest: str

    @property
    def cautions(self) -> dict[str, str]:
        """Split or external set to what must stand beside its score, where there is anything."""
        return {name: split.caution for name, split in self.splits.items() if split.caution}

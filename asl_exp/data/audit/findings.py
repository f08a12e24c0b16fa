"""What is wrong with a split: pairs of images that are too much alike, and what images look like.

Files are hashed as for the split, from the file and not from the stored pixels, so that what the
split kept together is what the audit calls alike.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from asl_exp.config.schema import DataConfig
from asl_exp.data.file_facts import gather_facts
from asl_exp.data.letters import LetterData, Split
from asl_exp.data.near_duplicates import THRESHOLD, Hashes, hash_of_pixels, hashes_of, near_pairs
from asl_exp.data.recordings import Kind
from asl_exp.data.sources.listing import is_file_key

_BATCH: Final = 256


@dataclass(frozen=True)
class Looks:
    """What N images look like.

    Attributes:
        hashes: (N, 4) perceptual hashes.
        brightness: (N,) mean of all channels, 0..255.
    """

    hashes: Hashes
    brightness: NDArray[np.float32]


def look_at(splits: dict[str, Split], config: DataConfig, advance: Callable[[int], None]) -> Looks:
    """Read every image of every split, in their order; `advance` hears how many were read."""
    drawn: dict[str, bytes] = {}
    brightness: list[NDArray[np.float32]] = []
    n_read = 0
    for split in splits.values():
        for start in range(0, len(split), _BATCH):
            rows = np.arange(start, min(start + _BATCH, len(split)))
            pixels = split.gather(rows)
            brightness.append(pixels.mean((1, 2, 3), dtype=np.float32))
            named = zip(split.table["path"].iloc[rows], pixels, strict=True)
            drawn |= {path: hash_of_pixels(one) for path, one in named if not is_file_key(path)}
            n_read += len(rows)
            advance(n_read)
    paths = [str(path) for split in splits.values() for path in split.table["path"]]
    return Looks(_hashes(paths, drawn, config), np.concatenate(brightness))


def _hashes(paths: list[str], drawn: dict[str, bytes], config: DataConfig) -> Hashes:
    files = [path for path in paths if path not in drawn]
    facts = gather_facts(files, config, decoded=True)
    known = dict(zip(files, facts.phash, strict=True))
    listed = [drawn[path] if path in drawn else known[path].tobytes() for path in paths]
    return hashes_of(listed)


TRAIN: Final = "train"
DOUBT: Final[dict[Kind, str]] = {
    "given": "",
    "inferred": "the groups were recognised, not given: look at the sheets whether they are right.",
    "unknown": "whether other frames of the same recording or person are there is not known: give "
    "a column group (data=manifest) or a folder for each person.",
}
"""What an audit cannot know, by where the groups come from."""

_LISTED: Final = 1_000
"""Pairs that the JSON lists; all of them are counted."""


@dataclass(frozen=True)
class Findings:
    """The result of an audit.

    Attributes:
        data: what was audited.
        images: one row an image: split, path, label, group, source, width, height, brightness.
        pairs: one row for each two images of different splits that are alike: first, second (rows
            of images), kind ("exact" or "near"), bits (by which their hashes differ).
        cut_groups: groups that are in more than one of train, val and test.
        suspects: images whose label is likely wrong; None where no answers to them are known.
    """

    data: LetterData
    images: pd.DataFrame
    pairs: pd.DataFrame
    cut_groups: tuple[str, ...]
    suspects: pd.DataFrame | None = None

    @property
    def with_train(self) -> pd.DataFrame:
        """The pairs that have one image in train: those make a score too good."""
        splits = self.images["split"].to_numpy(str)
        first, second = splits[self.pairs["first"]], splits[self.pairs["second"]]
        with_train: pd.DataFrame = self.pairs[(first == TRAIN) | (second == TRAIN)]
        return with_train

    @property
    def leaks(self) -> bool:
        """Whether anything that is scored has a copy, near-copy or group-mate in train."""
        return len(self.with_train) > 0 or len(self.cut_groups) > 0

    def leaked(self, split: str) -> tuple[int, int]:
        """Return how many images of a split have an exact, and how many only a near copy in train.

        Exact means the same bytes.
        """
        pairs = self.with_train
        splits = self.images["split"].to_numpy(str)
        held_out = np.where(splits[pairs["first"]] == TRAIN, pairs["second"], pairs["first"])
        here = splits[held_out] == split
        exact = set(held_out[here & (pairs["kind"] == "exact").to_numpy()].tolist())
        return len(exact), len(set(held_out[here].tolist()) - exact)

    def group_mates(self, split: str) -> int:
        """Return how many images of a split are of a group that train has as well."""
        here = self.images["group"][self.images["split"] == split]
        trained = self.images["group"][self.images["split"] == TRAIN]
        return int(here.isin(set(trained) & set(self.cut_groups)).sum())

    def to_dict(self) -> dict[str, Any]:
        """Return what the JSON file holds."""
        names = dict.fromkeys(self.images["split"])
        return {
            "leaks": self.leaks,
            "groups": self.data.grouping.kind,
            "caution": self.data.caution,
            "cautions": self.data.cautions,
            "split_rule": self.data.split_rule,
            "data_digest": self.data.digest,
            "near_threshold_bits": THRESHOLD,
            "splits": {name: self._split(name) for name in names},
            "cut_groups": list(self.cut_groups),
            "n_pairs": {
                kind: int((self.pairs["kind"] == kind).sum()) for kind in ("exact", "near")
            },
            "pairs": [self._pair(row) for row in self.pairs.head(_LISTED).itertuples()],
            "unreadable": list(self.data.unreadable),
            **({} if self.suspects is None else self._suspects(self.suspects)),
        }

    @staticmethod
    def _suspects(found: pd.DataFrame) -> dict[str, Any]:
        rows = found[["path", "label", "predicted", "probability", "own"]].to_dict("records")
        return {"likely_wrong_labels": rows}

    def _split(self, name: str) -> dict[str, Any]:
        rows = self.images[self.images["split"] == name]
        exact, near = self.leaked(name)
        return {
            "n_images": len(rows),
            "classes": _counts(rows["label"]),
            "groups": _counts(rows["group"]),
            "sources": _counts(rows["source"]),
            "brightness": _range(rows["brightness"]),
            "width": _range(rows["width"]),
            "height": _range(rows["height"]),
            "exact_copies_in_train": exact,
            "near_copies_in_train": near,
            "of_groups_in_train": 0 if name == TRAIN else self.group_mates(name),
        }

    def _pair(self, row: Any) -> dict[str, Any]:
        first, second = self.images.iloc[row.first], self.images.iloc[row.second]
        return {
            "kind": row.kind,
            "bits": int(row.bits),
            "images": [
                {name: str(image[name]) for name in ("split", "path", "label", "group")}
                for image in (first, second)
            ],
        }


def find(data: LetterData, looks: Looks, suspects: pd.DataFrame | None = None) -> Findings:
    """Compare every two images; keep the pairs of different splits."""
    tables = [split.table.assign(split=name) for name, split in data.splits.items()]
    images = pd.concat(tables, ignore_index=True).assign(brightness=looks.brightness)
    return Findings(data, images, _pairs(images, looks), _cut_groups(images), suspects)


def _pairs(images: pd.DataFrame, looks: Looks) -> pd.DataFrame:
    near = near_pairs(looks.hashes)
    splits = images["split"].to_numpy(str)
    near = near[splits[near[:, 0]] != splits[near[:, 1]]]
    bytes_of = images["sha256"].to_numpy(str)
    bits = np.bitwise_count(looks.hashes[near[:, 0]] ^ looks.hashes[near[:, 1]]).sum(1)
    same = bytes_of[near[:, 0]] == bytes_of[near[:, 1]]
    kinds = np.where(same, "exact", "near")
    found = pd.DataFrame({"first": near[:, 0], "second": near[:, 1], "kind": kinds, "bits": bits})
    with_train = (splits[near[:, 0]] == TRAIN) | (splits[near[:, 1]] == TRAIN)
    order = np.lexsort((bits, ~same, ~with_train))
    return found.iloc[order].reset_index(drop=True)


def _cut_groups(images: pd.DataFrame) -> tuple[str, ...]:
    inside = images[images["split"].isin(["train", "val", "test"])]
    n_splits = inside.groupby("group")["split"].nunique()
    return tuple(str(name) for name in n_splits.index[n_splits > 1])


def _counts(values: pd.Series) -> dict[str, int]:
    return {str(name): int(count) for name, count in values.value_counts(sort=False).items()}


def _range(values: pd.Series) -> dict[str, float]:
    low, middle, high = np.percentile(values, [0, 50, 100])
    return {"lowest": float(low), "median": float(middle), "highest": float(high)}

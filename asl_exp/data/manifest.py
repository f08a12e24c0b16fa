"""A manifest: a table of images, with the digest of all it says and of every image's bytes."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from asl_exp.config.errors import DataError
from asl_exp.config.schema import DataConfig
from asl_exp.data.file_facts import Facts, gather_facts
from asl_exp.data.near_duplicates import Hashes, near_clusters
from asl_exp.data.recordings import (
    NEEDED,
    Backgrounds,
    Grouping,
    Recordings,
    fewest,
    find_recordings,
)
from asl_exp.data.sources.listing import is_file_key, some

_DIGESTED: Final = ("key", "label", "group", "source", "sha256")


@dataclass(frozen=True)
class Manifest:
    """Images that can be read, as far as their headers tell.

    Attributes:
        table: the columns of a listing, and sha256, width, height.
        phash: (N, 4) perceptual hashes; zeros where they were not needed.
        tiny: (N, SIDE, SIDE, 3) images made tiny; zeros where they were not needed.
        unreadable: "path: reason" of each image left out.
        grouping: where the groups come from.
    """

    table: pd.DataFrame
    phash: Hashes
    tiny: Backgrounds
    unreadable: tuple[str, ...] = ()
    grouping: Grouping = field(default_factory=Grouping)

    @cached_property
    def digest(self) -> str:
        """Of everything but the paths: equal on every machine that has the same images."""
        digest = hashlib.sha256()
        for name in _DIGESTED:
            digest.update("\x1f".join(self.table[name]).encode() + b"\x1e")
        return digest.hexdigest()

    @cached_property
    def pixel_digest(self) -> str:
        """Of the images' bytes in their order: labels and groups may change without decoding."""
        return hashlib.sha256("".join(self.table["sha256"]).encode()).hexdigest()

    def without(self, unreadable: Mapping[int, str]) -> "Manifest":
        """Return the manifest without some rows, listed as unreadable with the reason of each."""
        rows = sorted(unreadable)
        paths = self.table["path"].iloc[rows]
        told = [f"{path}: {unreadable[row]}" for row, path in zip(rows, paths, strict=True)]
        keep = np.ones(len(self.table), bool)
        keep[rows] = False
        return replace(
            self,
            table=self.table[keep].reset_index(drop=True),
            phash=self.phash[keep],
            tiny=self.tiny[keep],
            unreadable=(*self.unreadable, *told),
        )


def make_manifest(listed: pd.DataFrame, config: DataConfig, *, external: bool = False) -> Manifest:
    """Find out the facts of each image, and its recording where the source knows no groups.

    Raises:
        DataError: one image under two labels, or more unreadable images than allowed.
    """
    ungrouped = bool((listed["group"] == "").any())
    facts = _facts(listed["path"].tolist(), config, decoded=ungrouped or not config.store)
    known = listed.assign(sha256=facts.sha256, width=facts.width, height=facts.height)
    faults = {row: fault for row, fault in enumerate(facts.fault) if fault}
    manifest = Manifest(known, facts.phash, facts.tiny).without(faults)
    require_readable(manifest.unreadable, config.max_unreadable)
    _require_one_label(manifest.table)
    if not ungrouped:
        return manifest
    needed = NEEDED if config.split in ("group", "column") and not external else 1
    return _grouped(manifest, config.cache_dir, needed)


def label_indices(table: pd.DataFrame, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Return (N,) the index of each label among the classes."""
    return pd.Index(classes).get_indexer(pd.Index(table["label"])).astype(np.int64)


def require_readable(unreadable: Sequence[str], allowed: int) -> None:
    """Raise a DataError where more images are unreadable than `data.max_unreadable` allows."""
    n_unreadable = len(unreadable)
    if n_unreadable > allowed:
        listed = "".join(f"\n  {one}" for one in unreadable[:20])
        more = f"\n  and {n_unreadable - 20} more" if n_unreadable > 20 else ""
        raise DataError(
            f"{n_unreadable} images cannot be read, and data.max_unreadable={allowed}; mend or "
            f"remove them, or leave them out with data.max_unreadable={n_unreadable}:{listed}{more}"
        )


def _facts(paths: list[str], config: DataConfig, *, decoded: bool) -> Facts:
    if paths and not is_file_key(paths[0]):
        from asl_exp.data.sources.synthetic import facts_of

        return facts_of(paths)
    return gather_facts(paths, config, decoded=decoded)


_SHOWN_PAIRS: Final = 20


def _require_one_label(table: pd.DataFrame) -> None:
    """Refuse images that are there under two labels; up to a page of them is named."""
    n_labels = table.groupby("sha256", sort=False)["label"].nunique()
    twice = n_labels.index[n_labels > 1]
    if not len(twice):
        return
    same = table[table["sha256"].isin(twice)]
    lines = [
        "\n  " + some((f"{row.path} ({row.label})" for row in rows.itertuples()), 8, " and ")
        for _, rows in same.groupby("sha256", sort=False)
    ]
    more = f"\n  and {len(lines) - _SHOWN_PAIRS} more" if len(lines) > _SHOWN_PAIRS else ""
    raise DataError(
        f"{len(twice)} images are there under two labels, byte for byte the same; look at each, "
        "keep it under the label that it shows, and remove it under the others (if all are "
        f"doubtful, leave both out):{''.join(lines[:_SHOWN_PAIRS])}{more}"
    )


def _grouped(manifest: Manifest, cache_dir: str, needed: int) -> Manifest:
    """Give each image without a group the name of its recording, where those can be told apart.

    Elsewhere, and where a class would be in fewer than `needed` groups, near-duplicates alone are
    kept together: "near:KEY", KEY being the first image of its cluster.
    """
    table = manifest.table
    if table.empty:
        return manifest
    near = near_clusters(manifest.phash, manifest.pixel_digest, cache_dir)
    missing = (table["group"] == "").to_numpy()
    alike = ("near:" + table["key"].iloc[near]).to_numpy(str)
    known = np.where(missing, alike, table["group"].to_numpy(str))
    found = _recordings(manifest, near, missing)
    groups = known.copy().astype(object)
    for rows, recordings, prefix in found:
        if recordings is not None:
            groups[rows] = [f"{prefix}{name}" for name in recordings.names]
    grouping = _grouping(table["label"].to_numpy(str), groups.astype(str), found, needed)
    if grouping.kind == "unknown" and grouping.n_groups < needed:
        groups = known.astype(object)
    return replace(manifest, table=table.assign(group=groups.astype(str)), grouping=grouping)


_Found = list[tuple[NDArray[np.int64], Recordings | None, str]]
"""Rows of a source, what was found in them, and what stands before their names."""


def _recordings(manifest: Manifest, near: NDArray[np.int64], missing: NDArray[np.bool_]) -> _Found:
    """Look for recordings in the rows of each source that have no group."""
    table, found = manifest.table, []
    several = table["source"].nunique() > 1
    for source in dict.fromkeys(table["source"][missing]):
        rows = np.flatnonzero(missing & (table["source"] == source).to_numpy())
        recordings = find_recordings(
            table["key"].iloc[rows].tolist(), table["label"].iloc[rows].tolist(),
            manifest.tiny[rows], near[rows],
        )  # fmt: skip
        found.append((rows, recordings, f"{source}/" if several else ""))
    return found


def _grouping(
    labels: NDArray[np.str_], groups: NDArray[np.str_], found: _Found, needed: int
) -> Grouping:
    told = [recordings for _, recordings, _ in found if recordings is not None]
    evidence = ", ".join(dict.fromkeys(one.evidence for one in told))
    n_least = fewest(labels, groups)
    if n_least < needed:
        detail = (
            f"a class is in {n_least} of the recordings found (from {evidence}), and train, val "
            f"and test need {needed}"
        )
        return Grouping("unknown", n_least, detail=detail)
    if len(told) < len(found):
        detail = "file names, numbers and backgrounds do not tell recordings apart"
        return Grouping("unknown", max(n_least, needed), detail=detail)
    n_groups = len(np.unique(groups))
    return Grouping("inferred", n_groups, evidence, all(one.sure for one in told))

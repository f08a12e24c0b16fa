"""A manifest: a table of images, with the digest of all it says and of every image's bytes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from asl_exp.config.errors import DataError
from asl_exp.config.schema import DataConfig
from asl_exp.data.file_facts import Facts, gather_facts
from asl_exp.data.near_duplicates import Hashes, near_clusters
from asl_exp.data.sources.listing import is_file_key

_DIGESTED: Final = ("key", "label", "group", "source", "sha256")


@dataclass(frozen=True)
class Manifest:
    """Images that can be read, as far as their headers tell.

    Attributes:
        table: the columns of a listing, and sha256, width, height.
        phash: (N, 4) perceptual hashes; zeros where they were not needed.
        unreadable: "path: reason" of each image left out.
    """

    table: pd.DataFrame
    phash: Hashes
    unreadable: tuple[str, ...]

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

    def without(self, rows: Sequence[int], reasons: Sequence[str]) -> "Manifest":
        """Return the manifest without some rows, listed as unreadable."""
        keep = np.ones(len(self.table), bool)
        keep[list(rows)] = False
        left_out = zip(self.table["path"].iloc[list(rows)], reasons, strict=True)
        return Manifest(
            table=self.table[keep].reset_index(drop=True),
            phash=self.phash[keep],
            unreadable=(*self.unreadable, *(f"{path}: {reason}" for path, reason in left_out)),
        )


def make_manifest(listed: pd.DataFrame, config: DataConfig) -> Manifest:
    """Find out the facts of each image; group near-duplicates where the source knows no groups.

    Raises:
        DataError: one image under two labels, or more unreadable images than allowed.
    """
    ungrouped = bool((listed["group"] == "").any())
    facts = _facts(listed["path"].tolist(), config, decoded=ungrouped or not config.store)
    known = listed.assign(sha256=facts.sha256, width=facts.width, height=facts.height)
    faulty = [row for row, fault in enumerate(facts.fault) if fault]
    manifest = Manifest(known, facts.phash, ()).without(faulty, [facts.fault[r] for r in faulty])
    require_readable(manifest.unreadable, config.max_unreadable)
    _require_one_label(manifest.table)
    return _grouped(manifest, config.cache_dir) if ungrouped else manifest


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
    return gather_facts(
        paths,
        cache_dir=config.cache_dir,
        max_megapixels=config.max_megapixels,
        workers=config.workers,
        decoded=decoded,
    )


def _require_one_label(table: pd.DataFrame) -> None:
    n_labels = table.groupby("sha256", sort=False)["label"].nunique()
    twice = n_labels.index[n_labels > 1]
    if not len(twice):
        return
    same = table[table["sha256"] == twice[0]].drop_duplicates("label")
    pair = " and ".join(f"{row.path} ({row.label})" for row in same.itertuples())
    raise DataError(
        f"{len(twice)} images are there under two labels, byte for byte the same: {pair}; "
        "remove the wrong one"
    )


def _grouped(manifest: Manifest, cache_dir: str) -> Manifest:
    """Give each image the group "near:KEY", KEY being the first image of its cluster."""
    table = manifest.table
    cluster = near_clusters(manifest.phash, manifest.pixel_digest, cache_dir)
    names = "near:" + table["key"].iloc[cluster].reset_index(drop=True)
    return Manifest(table.assign(group=names), manifest.phash, manifest.unreadable)

"""The data of one experiment: sources -> manifest -> split -> stored pixels.

This is the room's front door: training, evaluation and serving call load_letters and nothing below.
"""

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from asl_exp.config.conf_folder import home_expanded
from asl_exp.config.schema import DataConfig
from asl_exp.data.decode import Pixels
from asl_exp.data.manifest import Manifest, label_indices, make_manifest, require_readable
from asl_exp.data.pixel_store import DecodedPixels, Geometry, Store
from asl_exp.data.recordings import Grouping
from asl_exp.data.sources.listing import Listing, left_out_words, set_name
from asl_exp.data.sources.selection import followed, list_images
from asl_exp.data.split import NAMES, Assignment, caution, leaking, split_manifest

MAIN: Final = "main"
"""The name, among the sets, of the images that are split."""

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
        rows: (N,) the rows there.
        caution: what must stand wherever its score is shown; "" where all is well.
    """

    name: str
    labels: NDArray[np.int64]
    table: pd.DataFrame
    pixels: PixelSource
    rows: NDArray[np.int64]
    caution: str = ""

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def gather(self, indices: NDArray[np.int64]) -> Pixels:
        """Return (B, S, S, 3) RGB of positions within this split."""
        return self.pixels.gather(self.rows[indices])


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


def load_letters(
    config: DataConfig, *, image_size: int, interpolation: str, seed: int
) -> LetterData:
    """Load the data of an experiment; decodes what is not stored yet, with the progress shown.

    Args:
        config: the group `data`.
        image_size: side in pixels.
        interpolation: nearest, bilinear, bicubic or lanczos.
        seed: decides who is in which split, where that is left to chance.

    Raises:
        DataError: with what is wrong and how to mend it.
    """
    listing = list_images(config)
    config = followed(config, listing)
    tables = {MAIN: listing.images, **listing.external}
    manifests = {
        name: make_manifest(rows, config, external=name != MAIN) for name, rows in tables.items()
    }
    # Asked again below: here so that its faults come before the hours that decoding may take.
    split_manifest(manifests[MAIN], listing.classes, config, seed)
    sets = _with_pixels(manifests, Geometry(image_size, config.resize, interpolation), config)
    unreadable = tuple(one for part in sets.values() for one in part.manifest.unreadable)
    require_readable(unreadable, config.max_unreadable)
    _say_left_out(unreadable)
    assignment = split_manifest(sets[MAIN].manifest, listing.classes, config, seed)
    said = caution(sets[MAIN].manifest, assignment, config)
    return LetterData(
        classes=listing.classes,
        digest=_digest(sets, assignment, listing.classes),
        splits=_splits(sets, assignment, listing, said),
        split_rule=config.split,
        leaks=leaking(sets[MAIN].manifest, assignment, config),
        caution=said,
        grouping=sets[MAIN].manifest.grouping,
        notes=listing.notes,
        unreadable=unreadable,
        store_digest=sets[MAIN].pixels.digest,
    )


@dataclass(frozen=True)
class WholeSets:
    """Sets of images of which nothing is trained on, each whole.

    Attributes:
        splits: set name to its images of the wanted classes; a set without any is not there.
        left_out: set name to label to images, of labels that are no wanted class.
    """

    splits: dict[str, Split]
    left_out: dict[str, dict[str, int]]


def load_whole(
    config: DataConfig,
    classes: tuple[str, ...],
    *,
    geometry: Geometry,
    renamed: Mapping[str, str] | None = None,
) -> WholeSets:
    """Load all images of a source, and of its external sets, without splitting them.

    Args:
        config: the group `data`; its split is not looked at.
        classes: in the order of their indices, those of a model.
        geometry: of the stored pixels.
        renamed: label to the class that it means.

    Raises:
        DataError: with what is wrong and how to mend it.
    """
    listing = list_images(config.model_copy(update={"classes": None}))
    named = set_name(config.root or config.manifest or config.source)
    tables = {named: listing.images, **listing.external}
    relabelled = {
        name: rows.assign(label=rows["label"].replace(dict(renamed or {})))
        for name, rows in tables.items()
    }
    wanted = {name: rows[rows["label"].isin(classes)] for name, rows in relabelled.items()}
    manifests = {
        name: make_manifest(rows.reset_index(drop=True), config, external=True)
        for name, rows in wanted.items()
        if len(rows)
    }
    sets = _with_pixels(manifests, geometry, config)
    unreadable = tuple(one for part in sets.values() for one in part.manifest.unreadable)
    require_readable(unreadable, config.max_unreadable)
    _say_left_out(unreadable)
    return WholeSets(
        splits={
            name: part.split(
                f"external/{name}",
                np.arange(len(part.manifest.table)),
                classes,
                left_out_words(relabelled[name]["label"], classes),
            )
            for name, part in sets.items()
        },
        left_out={
            name: dict(rows["label"][~rows["label"].isin(classes)].value_counts().sort_index())
            for name, rows in relabelled.items()
        },
    )


@dataclass(frozen=True)
class _Set:
    """The main set or an external one: what can be decoded of its manifest, and its pixels."""

    manifest: Manifest
    pixels: PixelSource
    rows: NDArray[np.int64]

    def split(
        self, name: str, chosen: NDArray[np.int64], classes: tuple[str, ...], caution: str
    ) -> Split:
        table = self.manifest.table.iloc[chosen].reset_index(drop=True)
        labels = label_indices(table, classes)
        return Split(name, labels, table[TABLE], self.pixels, self.rows[chosen], caution)


def _with_pixels(
    manifests: dict[str, Manifest], geometry: Geometry, config: DataConfig
) -> dict[str, _Set]:
    """Give each manifest its pixels: stored, or decoded at every access."""
    if not config.store:
        return {name: _decoding(manifest, geometry, config) for name, manifest in manifests.items()}
    folder = home_expanded(config.cache_dir) / "pixels"
    stores = {
        name: Store(folder, manifest.table["path"].tolist(), manifest.pixel_digest, geometry)
        for name, manifest in manifests.items()
    }
    keep = [store.name for store in stores.values()]
    return {name: _stored(manifests[name], store, keep, config) for name, store in stores.items()}


def _decoding(manifest: Manifest, geometry: Geometry, config: DataConfig) -> _Set:
    paths = manifest.table["path"].tolist()
    pixels = DecodedPixels(
        paths, geometry, max_megapixels=config.max_megapixels, workers=config.workers
    )
    return _Set(manifest, pixels, np.arange(len(paths)))


def _stored(manifest: Manifest, store: Store, keep: list[str], config: DataConfig) -> _Set:
    """Open a store; images that turned out unreadable while it was built leave the manifest."""
    pixels = store.open(
        max_megapixels=config.max_megapixels,
        workers=config.workers,
        limit_gb=config.cache_limit_gb,
        keep=keep,
    )
    faulty = sorted(pixels.unreadable)
    left = manifest.without(faulty, [pixels.unreadable[row] for row in faulty])
    return _Set(left, pixels, np.setdiff1d(np.arange(len(manifest.table)), faulty))


def _splits(
    sets: dict[str, _Set], assignment: Assignment, listing: Listing, said: str
) -> dict[str, Split]:
    inside = {
        name: sets[MAIN].split(
            name, np.flatnonzero(assignment == index), listing.classes, said if index else ""
        )
        for index, name in enumerate(NAMES)
    }
    external = {
        f"external/{name}": part.split(
            f"external/{name}",
            np.arange(len(part.manifest.table)),
            listing.classes,
            listing.left_out.get(name, ""),
        )
        for name, part in sets.items()
        if name != MAIN
    }
    return inside | external


def _digest(sets: dict[str, _Set], assignment: Assignment, classes: Sequence[str]) -> str:
    digest = hashlib.sha256("\x1f".join(classes).encode())
    for name, part in sets.items():
        digest.update(f"\x1e{name}\x1f{part.manifest.digest}".encode())
    digest.update(assignment.tobytes())
    return digest.hexdigest()


def _say_left_out(unreadable: tuple[str, ...]) -> None:
    if unreadable:
        print(f"left out {len(unreadable)} unreadable images:", file=sys.stderr)
        for one in unreadable[:20]:
            print(f"  {one}", file=sys.stderr)

"""The data of one experiment: sources -> manifest -> split -> stored pixels.

This is the room's front door: training, evaluation and serving call load_letters and nothing below.
"""

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from asl_exp.config.schema import DataConfig
from asl_exp.data.images import Pixels
from asl_exp.data.listing import Listing
from asl_exp.data.manifest import Manifest, label_indices, make_manifest, require_readable
from asl_exp.data.pixels import DecodedPixels, Geometry
from asl_exp.data.sources import list_images
from asl_exp.data.split import NAMES, Assignment
from asl_exp.data.splitting import leaking, split_manifest
from asl_exp.data.store import Store

MAIN: Final = "main"
"""The name, among the sets, of the images that are split."""

TABLE: Final = ["path", "key", "label", "group", "source", "width", "height", "sha256"]


class PixelSource(Protocol):
    """Gives the pixels of rows of one set."""

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
    """

    name: str
    labels: NDArray[np.int64]
    table: pd.DataFrame
    pixels: PixelSource
    rows: NDArray[np.int64]

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
        unreadable: "path: reason" of each image left out.
        store_digest: of the pixels of the main set; "" where they are not stored.
    """

    classes: tuple[str, ...]
    digest: str
    splits: dict[str, Split]
    split_rule: str
    leaks: bool
    unreadable: tuple[str, ...]
    store_digest: str


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
    manifests = make_manifests(listing, config)
    split_manifest(manifests[MAIN], listing.classes, config, seed)  # its faults come before hours
    geometry = Geometry(image_size, config.resize, interpolation)
    pixels, manifests, rows, store_digest = _pixels(manifests, geometry, config)
    unreadable = tuple(one for manifest in manifests.values() for one in manifest.unreadable)
    require_readable(unreadable, config.max_unreadable)
    _say_left_out(unreadable)
    assignment = split_manifest(manifests[MAIN], listing.classes, config, seed)
    return LetterData(
        classes=listing.classes,
        digest=_digest(manifests, assignment, listing.classes),
        splits=_splits(manifests, pixels, rows, assignment, listing.classes),
        split_rule=config.split,
        leaks=leaking(manifests[MAIN], assignment, config),
        unreadable=unreadable,
        store_digest=store_digest,
    )


def make_manifests(
    listing: Listing, config: DataConfig, *, hashed: bool = False
) -> dict[str, Manifest]:
    """Return the manifest of the main set and of each external one, by name."""
    tables = {MAIN: listing.images, **listing.external}
    return {name: make_manifest(rows, config, hashed=hashed) for name, rows in tables.items()}


Pixelled = tuple[dict[str, PixelSource], dict[str, Manifest], dict[str, NDArray[np.int64]], str]


def _pixels(manifests: dict[str, Manifest], geometry: Geometry, config: DataConfig) -> Pixelled:
    """Return each set's pixels, what of its manifest could be decoded, and those rows."""
    if not config.store:
        decoded: dict[str, PixelSource] = {
            name: DecodedPixels(
                manifest.table["path"].tolist(), geometry,
                max_megapixels=config.max_megapixels, workers=config.workers,
            )
            for name, manifest in manifests.items()
        }  # fmt: skip
        rows = {name: np.arange(len(manifest.table)) for name, manifest in manifests.items()}
        return decoded, manifests, rows, ""
    stores = {name: _store(manifest, geometry, config) for name, manifest in manifests.items()}
    names = [store.name for store in stores.values()]
    pixels: dict[str, PixelSource] = {}
    left: dict[str, Manifest] = {}
    rows = {}
    digest = ""
    for name, store in stores.items():
        opened = store.open(
            max_megapixels=config.max_megapixels, workers=config.workers,
            limit_gb=config.cache_limit_gb, keep=names,
        )  # fmt: skip
        faulty = sorted(opened.unreadable)
        left[name] = manifests[name].without(faulty, [opened.unreadable[row] for row in faulty])
        rows[name] = np.setdiff1d(np.arange(len(store.paths)), faulty)
        pixels[name] = opened
        digest = opened.digest if name == MAIN else digest
    return pixels, left, rows, digest


def _store(manifest: Manifest, geometry: Geometry, config: DataConfig) -> Store:
    folder = Path(config.cache_dir).expanduser() / "pixels"
    return Store(folder, manifest.table["path"].tolist(), manifest.pixel_digest, geometry)


def _splits(
    manifests: dict[str, Manifest],
    pixels: dict[str, PixelSource],
    rows: dict[str, NDArray[np.int64]],
    assignment: Assignment,
    classes: tuple[str, ...],
) -> dict[str, Split]:
    splits = {}
    for index, name in enumerate(NAMES):
        chosen = np.flatnonzero(assignment == index)
        splits[name] = _split(name, manifests[MAIN], pixels[MAIN], rows[MAIN], chosen, classes)
    for name in manifests:
        if name != MAIN:
            every = np.arange(len(manifests[name].table))
            full = f"external/{name}"
            splits[full] = _split(full, manifests[name], pixels[name], rows[name], every, classes)
    return splits


def _split(
    name: str,
    manifest: Manifest,
    pixels: PixelSource,
    rows: NDArray[np.int64],
    chosen: NDArray[np.int64],
    classes: tuple[str, ...],
) -> Split:
    table = manifest.table.iloc[chosen].reset_index(drop=True)
    return Split(name, label_indices(table, classes), table[TABLE], pixels, rows[chosen])


def _digest(manifests: dict[str, Manifest], assignment: Assignment, classes: Sequence[str]) -> str:
    digest = hashlib.sha256("\x1f".join(classes).encode())
    for name, manifest in manifests.items():
        digest.update(f"\x1e{name}\x1f{manifest.digest}".encode())
    digest.update(assignment.tobytes())
    return digest.hexdigest()


def _say_left_out(unreadable: tuple[str, ...]) -> None:
    if unreadable:
        print(f"left out {len(unreadable)} unreadable images:", file=sys.stderr)
        for one in unreadable[:20]:
            print(f"  {one}", file=sys.stderr)

"""The data of one experiment: sources -> manifest -> split -> stored pixels, and the hands in them.

This is the room's front door: training, evaluation and serving call load_letters and nothing below.
"""

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from asl_exp.config.conf_folder import home_expanded
from asl_exp.config.errors import DataError
from asl_exp.config.schema import DataConfig, HandConfig
from asl_exp.data.decode import Geometry
from asl_exp.data.hand_splits import joint_fold, joint_sets, marked, splits_with_hands
from asl_exp.data.hands.crops import CropStore
from asl_exp.data.hands.found import hands_of
from asl_exp.data.hands.hand import NO_HAND, Floats, Hands, in_squares, n_looks
from asl_exp.data.letters import TABLE, LetterData, PixelSource, Split
from asl_exp.data.manifest import Manifest, label_indices, make_manifest, require_readable
from asl_exp.data.pixel_store import DecodedPixels, Store
from asl_exp.data.sources.listing import Listing, left_out_words, set_name
from asl_exp.data.sources.selection import followed, list_images
from asl_exp.data.split import NAMES, Assignment, caution, leaking, split_manifest

MAIN: Final = "main"
"""The name, among the sets, of the images that are split."""

WHOLE_IMAGE: Final = HandConfig()
"""No hand is looked for."""


def load_letters(
    config: DataConfig,
    *,
    image_size: int,
    interpolation: str,
    seed: int,
    hand: HandConfig = WHOLE_IMAGE,
) -> LetterData:
    """Load the data of an experiment; decodes what is not stored yet, with the progress shown.

    Args:
        seed: decides who is in which split, where that is left to chance.

    Raises:
        DataError: with what is wrong and how to mend it.
    """
    listing = list_images(config)
    _require_no_answer(listing.classes, hand)
    of_joints = joint_sets(listing, listing.classes, hand, image_size)
    of_joints |= joint_fold(config, listing.classes, hand, image_size)
    config = followed(config, listing)
    tables = {MAIN: listing.images, **listing.external}
    manifests = {
        name: make_manifest(rows, config, external=name != MAIN) for name, rows in tables.items()
    }
    _require_apart(manifests)
    # Asked again below: here so that its faults come before the hours that decoding may take.
    split_manifest(manifests[MAIN], listing.classes, config, seed)
    sets, unreadable = _opened(
        manifests, Geometry(image_size, config.resize, interpolation), config, hand
    )
    assignment = split_manifest(sets[MAIN].manifest, listing.classes, config, seed)
    said = caution(sets[MAIN].manifest, assignment, config)
    splits, joints_digest = splits_with_hands(
        _splits(sets, assignment, listing, said) | of_joints, listing, config, hand
    )
    return LetterData(
        classes=listing.classes,
        digest=_digest(sets, assignment, listing.classes) + joints_digest,
        splits=splits,
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
    hand: HandConfig = WHOLE_IMAGE,
) -> WholeSets:
    """Load all images of a source, and of its external sets, without splitting them.

    Args:
        config: the group `data`; its split is not looked at.
        classes: in the order of their indices, those of a model.
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
    sets, _ = _opened(manifests, geometry, config, hand)
    of_joints = joint_sets(listing, classes, hand, geometry.size)
    splits = {
        name: part.split(
            f"external/{name}",
            np.arange(len(part.manifest.table)),
            classes,
            left_out_words(relabelled[name]["label"], classes),
        )
        for name, part in sets.items()
    }
    return WholeSets(
        splits={name: marked(split, classes, hand) for name, split in splits.items()}
        | {name.removeprefix("external/"): split for name, split in of_joints.items()},
        left_out={
            name: dict(rows["label"][~rows["label"].isin(classes)].value_counts().sort_index())
            for name, rows in relabelled.items()
        },
    )


@dataclass(frozen=True)
class _Set:
    """The main set or an external one: what can be decoded of its manifest, pixels and joints."""

    manifest: Manifest
    pixels: PixelSource
    rows: NDArray[np.int64]
    joints: Floats | None = None

    def split(
        self, name: str, chosen: NDArray[np.int64], classes: tuple[str, ...], caution: str
    ) -> Split:
        table = self.manifest.table.iloc[chosen].reset_index(drop=True)
        labels = label_indices(table, classes)
        joints = None if self.joints is None else self.joints[chosen]
        return Split(
            name, labels, table[TABLE], self.pixels, self.rows[chosen], caution, joints=joints
        )


def _copies(manifest: Manifest, of: Manifest) -> int:
    """Return how many images of one set are, byte by byte, images of another."""
    return int(manifest.table["sha256"].isin(set(of.table["sha256"])).sum())


def _require_apart(manifests: Mapping[str, Manifest]) -> None:
    """Refuse an external set whose images are all images of the experiment itself."""
    for name, manifest in manifests.items():
        n_images = len(manifest.table)
        if name != MAIN and n_images and _copies(manifest, manifests[MAIN]) == n_images:
            raise DataError(
                f"data.external: all {n_images:,} images of '{name}' are also among the images "
                "that are trained, validated and tested on; an external set is never trained on, "
                "so give other images, or take these out of the others"
            )


def _copies_words(manifest: Manifest, of: Manifest) -> str:
    n_copies = _copies(manifest, of)
    if not n_copies:
        return ""
    return f"{n_copies:,} of {len(manifest.table):,} images are also among those of the split"


def _require_no_answer(classes: Sequence[str], hand: HandConfig) -> None:
    if hand.mode != "none" and hand.on_missing == "reject" and NO_HAND in classes:
        raise DataError(
            f"data.classes: a class is called '{NO_HAND}', which is the answer where no "
            "hand is found (hand.on_missing=reject); give the class another name, or leave it out"
        )


def _opened(
    manifests: dict[str, Manifest], geometry: Geometry, config: DataConfig, hand: HandConfig
) -> tuple[dict[str, _Set], tuple[str, ...]]:
    """Return the sets, and the images that cannot be read, which are said to be left out."""
    manifests, hands = _with_hands(manifests, config, hand)
    sets = _with_joints(_with_pixels(manifests, geometry, config, hand, hands), hands, hand)
    unreadable = tuple(one for part in sets.values() for one in part.manifest.unreadable)
    require_readable(unreadable, config.max_unreadable)
    if unreadable:
        print(f"left out {len(unreadable)} unreadable images:", file=sys.stderr)
        for one in unreadable[:20]:
            print(f"  {one}", file=sys.stderr)
    return sets, unreadable


def _with_hands(
    manifests: dict[str, Manifest], config: DataConfig, hand: HandConfig
) -> tuple[dict[str, Manifest], dict[str, Hands]]:
    """Return the hands of each manifest's images, none where none are looked for.

    Images that turned out unreadable while hands were looked for leave the manifest.
    """
    if hand.mode == "none":
        return manifests, {}
    left, found = {}, {}
    for name, manifest in manifests.items():
        hands, unreadable = hands_of(manifest, hand, config)
        left[name] = manifest.without(unreadable)
        found[name] = hands.take(np.setdiff1d(np.arange(len(hands)), list(unreadable)))
    return left, found


def _with_joints(
    sets: dict[str, _Set], hands: dict[str, Hands], hand: HandConfig
) -> dict[str, _Set]:
    """Give each set the joints of its hands, where any were looked for."""
    return {
        name: replace(
            part, joints=in_squares(hands[name].seen(n_looks(hand))[part.rows], hand.margin)
        )
        if name in hands
        else part
        for name, part in sets.items()
    }


def _with_pixels(
    manifests: dict[str, Manifest],
    geometry: Geometry,
    config: DataConfig,
    hand: HandConfig,
    hands: dict[str, Hands],
) -> dict[str, _Set]:
    """Give each manifest its pixels: stored, or decoded at every access.

    They are those of the square round the hand where the network sees it. Where it sees joints
    alone, pixels are for figures, and none are stored.
    """
    if not config.store or hand.mode == "joints":
        return {name: _decoding(manifest, geometry, config) for name, manifest in manifests.items()}
    folder = home_expanded(config.cache_dir) / "pixels"
    stores: dict[str, Store] = {}
    for name, one in manifests.items():
        paths = one.table["path"].tolist()
        stores[name] = (
            CropStore(folder, paths, one.pixel_digest, geometry, hands[name], hand.margin)
            if name in hands
            else Store(folder, paths, one.pixel_digest, geometry)
        )
    keep = [store.name for store in stores.values()]
    return {name: _stored(manifests[name], store, keep, config) for name, store in stores.items()}


def _decoding(manifest: Manifest, geometry: Geometry, config: DataConfig) -> _Set:
    paths = manifest.table["path"].tolist()
    pixels = DecodedPixels(paths, geometry, config)
    return _Set(manifest, pixels, np.arange(len(paths)))


def _stored(manifest: Manifest, store: Store, keep: list[str], config: DataConfig) -> _Set:
    """Open a store; images that turned out unreadable while it was built leave the manifest."""
    pixels = store.open(config, keep)
    rows = np.setdiff1d(np.arange(len(manifest.table)), list(pixels.unreadable))
    return _Set(manifest.without(pixels.unreadable), pixels, rows)


def _splits(
    sets: dict[str, _Set], assignment: Assignment, listing: Listing, said: str
) -> dict[str, Split]:
    inside = {
        name: sets[MAIN].split(
            name, np.flatnonzero(assignment == index), listing.classes, said if index else ""
        )
        for index, name in enumerate(NAMES)
    }
    main, left_out = sets[MAIN].manifest, listing.left_out
    external = {
        f"external/{name}": part.split(
            f"external/{name}",
            np.arange(len(part.manifest.table)),
            listing.classes,
            "; ".join(filter(None, [left_out.get(name, ""), _copies_words(part.manifest, main)])),
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

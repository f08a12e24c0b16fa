"""What hands change of the splits: which rows can be trained on, which are answered "no hand", and
the joints without images that are trained on beside the photos, or are external sets.
"""

import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from asl_exp.config.classes import SIGNS
from asl_exp.config.errors import DataError
from asl_exp.config.schema import DataConfig, HandConfig
from asl_exp.data.decode import Pixels
from asl_exp.data.hands.hand import (
    FINGERS,
    NO_HAND_CLASS,
    Floats,
    answers_without_hand,
    in_squares,
    n_looks,
)
from asl_exp.data.hands.joint_rows import JointRows, detected_signers, read_joint_rows
from asl_exp.data.letters import Split
from asl_exp.data.manifest import label_indices
from asl_exp.data.sources.listing import Listing, left_out_words, some
from asl_exp.data.split import fold_named

ROW_OF_JOINTS = "data.joints:"  # how the path of a hand begins that data.folds=joints tests on


def splits_with_hands(
    splits: dict[str, Split], listing: Listing, config: DataConfig, hand: HandConfig
) -> tuple[dict[str, Split], str]:
    """Return the splits as an experiment with this group `hand` uses them, and a digest.

    Args:
        splits: with joints, where hands were looked for.

    Returns:
        The splits, and what is to be added to the digest of the data: "" without hands.

    Raises:
        DataError: a class has no hand to train on, or a file of joints cannot be used.
    """
    balanced = replace(splits["train"], balance=config.balance, at_most=config.balance_at_most)
    splits = splits | {"train": balanced}
    if hand.mode == "none":
        return splits, ""
    splits = {name: marked(split, listing.classes, hand) for name, split in splits.items()}
    train = splits["train"]
    if config.folds == "joints":
        _require_other_people(splits)
    if hand.mode == "joints":
        train = _with_a_hand(train, listing.classes)
    for rows in _without_images(config, listing.classes, splits):
        train = _joined(train, rows, listing.classes, hand)
    splits["train"] = train
    return splits, "-" + _digest(splits)


def _require_other_people(splits: Mapping[str, Split]) -> None:
    """Refuse images of the source whose joints are tested on: they would be trained on."""
    tested = set(splits["test"].table["source"])
    images = {source for name in ("train", "val") for source in splits[name].table["source"]}
    if both := sorted(tested & images):
        raise DataError(
            f"data.folds: joints, but of {some(both)} there are images as well, which would be "
            "trained on; take these images out, or their rows out of data.joints"
        )


def joint_sets(
    listing: Listing, classes: tuple[str, ...], hand: HandConfig, side: int
) -> dict[str, Split]:
    """Return the external sets that have joints and no images, by their names.

    Args:
        side: of the pictures that figures show in place of images, in pixels.

    Raises:
        DataError: a file cannot be used, or the network looks at pixels.
    """
    found = {}
    for name, file in listing.external_joints.items():
        if hand.mode != "joints":
            raise DataError(
                f"data.external: '{file}' has joints and no images, and a network with "
                f"hand.mode={hand.mode} looks at images; choose hand=joints, or give images"
            )
        rows = read_joint_rows(file, tuple(dict.fromkeys([*classes, *SIGNS])), "data.external")
        labels = rows.table["label"]
        kept = rows.take(labels.isin(classes).to_numpy())
        if not len(kept):
            raise DataError(
                f"data.external: '{file}' has no row of the classes {some(classes)}; its labels "
                f"are {some(sorted(set(labels)))}"
            )
        paths = [f"{file}:{n}" for n in range(len(kept))]
        split = _of_joints(f"external/{name}", kept, paths, classes, hand, side)
        found[split.name] = replace(split, caution=left_out_words(labels, classes))
    return found


def joint_fold(
    config: DataConfig, classes: tuple[str, ...], hand: HandConfig, side: int
) -> dict[str, Split]:
    """Return the test split where data.folds=joints: the hands of one source of data.joints.

    Raises:
        DataError: a file cannot be used, or has no such source.
    """
    if config.folds != "joints":
        return {}
    rows = rows_of_folds(config, classes)
    sources = rows.table["source"].to_numpy(str)
    chosen = np.flatnonzero(sources == fold_named(config.fold, sources))
    kept = rows.take(chosen)
    return {"test": _of_joints("test", kept, _paths(chosen), classes, hand, side)}


def rows_of_folds(config: DataConfig, classes: Sequence[str]) -> JointRows:
    """Return the hands that data.folds=joints tests on: of all files of data.joints.

    Raises:
        DataError: a file cannot be used, or all are of one source.
    """
    files = [read_joint_rows(file, classes) for file in config.joints]
    table = pd.concat([rows.table for rows in files], ignore_index=True)
    if len(known := sorted(set(table["source"]))) < 2:
        raise DataError(
            f"data.folds: joints, but all rows of data.joints are of one source: {some(known)}; "
            "give more files, or another data.folds"
        )
    return JointRows(table, np.concatenate([rows.joints for rows in files]))


def drawn_by_path(
    config: DataConfig, classes: Sequence[str], margin: float, paths: Sequence[str], side: int
) -> "DrawnJoints":
    """Return the pictures of hands that data.folds=joints tested on, by their paths."""
    rows = rows_of_folds(config, classes)
    place = {path: row for row, path in enumerate(_paths(np.arange(len(rows))))}
    return DrawnJoints(in_squares(rows.joints[[place[path] for path in paths]], margin), side)


def _paths(rows: NDArray[np.int64]) -> list[str]:
    return [f"{ROW_OF_JOINTS}{row}" for row in rows.tolist()]


def _of_joints(
    name: str,
    rows: JointRows,
    paths: list[str],
    classes: tuple[str, ...],
    hand: HandConfig,
    side: int,
) -> Split:
    """Return a split of hands without images."""
    joints = in_squares(rows.joints, hand.margin)
    table = _table(rows, joints).assign(path=paths)
    split = Split(
        name=name,
        labels=label_indices(table, classes),
        table=table,
        pixels=DrawnJoints(joints, side),
        rows=np.arange(len(rows)),
        joints=joints,
    )
    return marked(split, classes, hand)


def _without_images(
    config: DataConfig, classes: Sequence[str], splits: Mapping[str, Split]
) -> Iterator[JointRows]:
    """Yield the hands that are trained on beside the photos: of files, then of drawn signers.

    People of val, test and external sets are left out, and with folds of sources the whole source.
    """
    for file in config.joints:
        rows = read_joint_rows(file, classes)
        held = _held(rows, splits, config)
        if held.any():
            sources = some(sorted(set(rows.table["source"][held])))
            print(
                f"{file}: {int(held.sum()):,} rows are of people of val, test or external sets "
                f"({sources}); they are not trained on",
                file=sys.stderr,
            )
        if not held.all():
            yield rows.take(~held)
    if config.drawn_signers:
        from asl_exp.data.renderer import LETTERS
        from asl_exp.data.renderer.exact_joints import exact_joints

        known = [name for name in classes if name in LETTERS]
        drawn = exact_joints(known, config.drawn_signers, config.synthetic.seed)
        names = [f"drawn_{signer:04d}" for signer in drawn.signers.tolist()]
        table = pd.DataFrame({"label": drawn.labels, "source": names, "group": names}, dtype="str")
        yield JointRows(table, drawn.joints)
    if config.detected_signers:
        yield detected_signers(classes, config.detected_signers)


def _held(
    rows: JointRows, splits: Mapping[str, Split], config: DataConfig
) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """Return (N,): which rows are of a source and group that are validated or tested on."""
    others = pd.concat([split.table for name, split in splits.items() if name != "train"])
    pairs = pd.MultiIndex.from_frame(others[["source", "group"]])
    held = pd.MultiIndex.from_frame(rows.table[["source", "group"]]).isin(pairs)
    if config.folds in ("source", "joints"):
        held |= rows.table["source"].isin(splits["test"].table["source"]).to_numpy()
    return np.asarray(held)


def _table(rows: JointRows, joints: Floats) -> pd.DataFrame:
    """Return the table of a split whose rows have no images."""
    numbers = [hashlib.sha256(hand.tobytes()).hexdigest() for hand in joints]
    return rows.table.assign(path="", key=numbers, width=0, height=0, sha256=numbers)


def marked(split: Split, classes: Sequence[str], hand: HandConfig) -> Split:
    """Say of a split whether its pixels are seen, and which images are answered "no hand"."""
    if split.found is None:
        return split
    answers = answers_without_hand(hand, classes)
    return replace(
        split,
        sees_pixels=hand.mode != "joints",
        rejected=None if answers else ~split.found,
    )


def _with_a_hand(train: Split, classes: tuple[str, ...]) -> Split:
    """Leave out what has nothing to see, but for the class of images without a hand."""
    assert train.found is not None
    empty = [index for index, name in enumerate(classes) if name == NO_HAND_CLASS]
    kept = train.take(np.flatnonzero(train.found | np.isin(train.labels, empty)))
    lacking = [name for index, name in enumerate(classes) if index not in set(kept.labels.tolist())]
    if lacking:
        raise DataError(
            f"hand: in no training image of {some(lacking)} a hand was found; look at the images, "
            "lower hand.confidence, or leave those classes out with data.classes="
        )
    return kept


def _joined(train: Split, rows: JointRows, classes: tuple[str, ...], hand: HandConfig) -> Split:
    """Return the training split with hands of which only the joints are known, at its end."""
    joints = in_squares(rows.joints, hand.margin)
    table = _table(rows, joints)
    assert train.joints is not None
    rejected = train.rejected
    if rejected is not None:
        rejected = np.concatenate([rejected, np.zeros(len(rows), bool)])
    return replace(
        train,
        labels=np.concatenate([train.labels, label_indices(table, classes)]),
        table=pd.concat([train.table, table[list(train.table)]], ignore_index=True),
        rows=np.concatenate([train.rows, np.full(len(rows), -1)]),
        joints=np.concatenate([train.joints, np.tile(joints, (1, n_looks(hand), 1))]),
        rejected=rejected,
    )


def _digest(splits: dict[str, Split]) -> str:
    digest = hashlib.sha256()
    for split in splits.values():
        assert split.joints is not None
        digest.update(split.joints.tobytes())
        if isinstance(split.pixels, DrawnJoints):  # no manifest has its labels
            digest.update(split.labels.tobytes())
    return digest.hexdigest()[:16]


_COLOURS = ((240, 228, 66), (86, 180, 233), (0, 158, 115), (230, 159, 0), (204, 121, 167))
"""Of each finger, thumb first; colours that colour-blind people tell apart."""


@dataclass(eq=False)
class DrawnJoints:
    """The pixels of N hands, drawn when they are asked for.

    Attributes:
        joints: (N, 21, 2 or 3) in shares of a square.
        side: of a picture, in pixels.
        digest: none: they are not stored.
    """

    joints: Floats
    side: int
    digest: str = ""

    def gather(self, rows: NDArray[np.int64]) -> Pixels:
        """Return (B, S, S, 3)."""
        pictures = np.zeros((len(rows), self.side, self.side, 3), np.uint8)
        for picture, row in zip(pictures, rows.tolist(), strict=True):
            picture[:] = np.asarray(self._drawn(row))
        return pictures

    def _drawn(self, row: int) -> Image.Image:
        image = Image.new("RGB", (self.side, self.side), (32, 32, 32))
        pen = ImageDraw.Draw(image)
        points = [tuple(point) for point in (self.joints[row, :, :2] * self.side).tolist()]
        width = max(1, self.side // 40)
        for finger, colour in zip(FINGERS, _COLOURS, strict=True):
            pen.line([points[joint] for joint in (0, *finger)], fill=colour, width=width)
        return image

"""What hands change of the splits: which rows can be trained on, which are answered "no hand", and
the joints without images that are trained on beside the photos.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from asl_exp.config.errors import DataError
from asl_exp.config.schema import DataConfig, HandConfig
from asl_exp.data.hands.joint_rows import JointRows, read_joint_rows
from asl_exp.data.hands.squares import NO_HAND_CLASS, answers_without_hand, in_squares
from asl_exp.data.manifest import label_indices
from asl_exp.data.renderer import LETTERS
from asl_exp.data.renderer.exact_joints import exact_joints
from asl_exp.data.sources.listing import Listing, some

if TYPE_CHECKING:
    from asl_exp.data.dataset import Split


def splits_with_hands(
    splits: dict[str, "Split"], listing: Listing, config: DataConfig, hand: HandConfig
) -> tuple[dict[str, "Split"], str]:
    """Return the splits as an experiment with this group `hand` uses them, and a digest.

    Args:
        splits: with joints, where hands were looked for.
        listing: for its classes.
        config: the group `data`.
        hand: the group `hand`.

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
    if hand.mode == "joints":
        train = _with_a_hand(train, listing.classes)
    for rows in _without_images(config, listing.classes):
        train = _joined(train, rows, listing.classes, hand.margin)
    splits["train"] = train
    return splits, "-" + _digest(splits)


def _without_images(config: DataConfig, classes: Sequence[str]) -> Iterator[JointRows]:
    """Yield the hands that are trained on beside the photos: of files, then drawn ones."""
    for file in config.joints:
        yield read_joint_rows(file, classes)
    if config.drawn_signers:
        known = [name for name in classes if name in LETTERS]
        drawn = exact_joints(known, config.drawn_signers, config.synthetic.seed)
        names = [f"drawn_{signer:04d}" for signer in drawn.signers.tolist()]
        table = pd.DataFrame({"label": drawn.labels, "source": names, "group": names}, dtype="str")
        yield JointRows(table, drawn.joints)


def marked(split: "Split", classes: Sequence[str], hand: HandConfig) -> "Split":
    """Say of a split whether its pixels are seen, and which images are answered "no hand"."""
    if split.found is None:
        return split
    answers = answers_without_hand(hand, classes)
    return replace(
        split,
        sees_pixels=hand.mode != "joints",
        rejected=None if answers else ~split.found,
    )


def _with_a_hand(train: "Split", classes: tuple[str, ...]) -> "Split":
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


def _joined(train: "Split", rows: JointRows, classes: tuple[str, ...], margin: float) -> "Split":
    """Return the training split with hands of which only the joints are known, at its end."""
    joints = in_squares(rows.joints, margin)
    numbers = [hashlib.sha256(hand.tobytes()).hexdigest() for hand in joints]
    table = rows.table.assign(path="", key=numbers, width=0, height=0, sha256=numbers)
    assert train.joints is not None
    rejected = train.rejected
    if rejected is not None:
        rejected = np.concatenate([rejected, np.zeros(len(rows), bool)])
    return replace(
        train,
        labels=np.concatenate([train.labels, label_indices(table, classes)]),
        table=pd.concat([train.table, table[list(train.table)]], ignore_index=True),
        rows=np.concatenate([train.rows, np.full(len(rows), -1)]),
        joints=np.concatenate([train.joints, joints]),
        rejected=rejected,
    )


def _digest(splits: dict[str, "Split"]) -> str:
    digest = hashlib.sha256()
    for split in splits.values():
        assert split.joints is not None
        digest.update(split.joints.tobytes())
    return digest.hexdigest()[:16]

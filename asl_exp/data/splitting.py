"""A manifest and the keys `data.split`, `data.leave_out` and fractions to an assignment."""

import numpy as np
import pandas as pd

from asl_exp.config.schema import DataConfig
from asl_exp.data.manifest import Manifest, label_indices
from asl_exp.data.split import (
    NAMES,
    TRAIN,
    Assignment,
    require_classes,
    split_groups,
    split_leave_out,
    split_random,
)


def split_manifest(
    manifest: Manifest, classes: tuple[str, ...], config: DataConfig, seed: int
) -> Assignment:
    """Return (N,) 0 for train, 1 for val, 2 for test; equal seeds give equal splits.

    Raises:
        DataError: the rule cannot be followed with these images.
    """
    table = manifest.table
    labels = label_indices(table, classes)
    groups = table["group"].to_numpy(str)
    fractions = (config.val_fraction, config.test_fraction)
    if config.split == "random":
        return split_random(labels, classes, fractions=fractions, seed=seed)
    if config.split == "column":
        assignment = pd.Index(NAMES).get_indexer(pd.Index(table["split"])).astype(np.int8)
        require_classes(labels, assignment, classes)
        return assignment
    if config.split == "leave_out":
        return split_leave_out(
            labels, groups, classes,
            leave_out=config.leave_out, val_fraction=config.val_fraction, seed=seed,
        )  # fmt: skip
    return split_groups(labels, groups, classes, fractions=fractions, seed=seed)


def leaking(manifest: Manifest, assignment: Assignment, config: DataConfig) -> bool:
    """Tell whether val or test holds near-copies of training images, as far as is known.

    A random split counts as leaking, whatever the images are; any other leaks where it cuts a group
    or where the same bytes are on both sides.
    """
    if config.split == "random":
        return True
    inside = assignment == TRAIN
    table = manifest.table
    return any(
        bool(table[name][inside].isin(table[name][~inside]).any()) for name in ("group", "sha256")
    )

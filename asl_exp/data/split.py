"""Who is in train, val and test: from a manifest and the keys of `data` to an assignment.

Pure choosing, no files. The rule `group` never cuts a group, because images of one person or one
recording are near-copies of each other, and a test image whose near-copy was trained on measures
memory, not recognition.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from asl_exp.config.errors import DataError, nearest
from asl_exp.config.schema import DataConfig
from asl_exp.data.manifest import Manifest, label_indices
from asl_exp.data.sources.listing import some

TRAIN: Final = 0
VAL: Final = 1
TEST: Final = 2
NAMES: Final = ("train", "val", "test")

Labels = NDArray[np.int64]
Assignment = NDArray[np.int8]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Labelled:
    """N images as the rules see them.

    Attributes:
        labels: (N,) indices into the classes.
        groups: (N,) their names.
        classes: C names.
    """

    labels: Labels
    groups: NDArray[np.str_]
    classes: tuple[str, ...]

    @classmethod
    def of(cls, table: pd.DataFrame, classes: tuple[str, ...]) -> "Labelled":
        """Return the images of a manifest's table."""
        return cls(label_indices(table, classes), table["group"].to_numpy(str), classes)

    def __getitem__(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> "Labelled":
        """Return some of them."""
        return Labelled(self.labels[rows], self.groups[rows], self.classes)

    @property
    def lacking(self) -> list[str]:
        """The classes that none of them is of."""
        here = set(self.labels.tolist())
        return [name for index, name in enumerate(self.classes) if index not in here]

    def by_group(self) -> tuple[NDArray[np.str_], NDArray[np.intp], Counts]:
        """Return the G groups' names, the group of each image (N,), and the images (G, C)."""
        group_of, names = pd.factorize(self.groups, sort=True)
        counts = np.zeros((len(names), len(self.classes)), np.int64)
        np.add.at(counts, (group_of, self.labels), 1)
        return names, group_of, counts


def split_random(images: Labelled, *, fractions: tuple[float, float], seed: int) -> Assignment:
    """Assign each image by lot, class by class; `fractions` are those of val and test.

    Raises:
        DataError: a class has fewer than three images.
    """
    generator = np.random.default_rng([seed, 0x5311])
    assignment = np.full(len(images.labels), TRAIN, np.int8)
    for index, name in enumerate(images.classes):
        rows = generator.permutation(np.flatnonzero(images.labels == index))
        if len(rows) < len(NAMES):
            raise DataError(
                f"class '{name}' has {len(rows)} images, but train, val and test need one each; "
                "add images or leave the class out with data.classes="
            )
        n_val, n_test = (max(1, round(fraction * len(rows))) for fraction in fractions)
        n_val, n_test = min(n_val, len(rows) - 2), min(n_test, len(rows) - 1 - n_val)
        assignment[rows[:n_val]] = VAL
        assignment[rows[n_val : n_val + max(1, n_test)]] = TEST
    return assignment


def split_groups(images: Labelled, *, fractions: tuple[float, float], seed: int) -> Assignment:
    """Assign whole groups, every class as near to its fractions as the groups allow.

    Raises:
        DataError: the groups cannot give every class to train, val and test.
    """
    shares = np.array([1 - sum(fractions), *fractions])
    return _assign(images, shares, seed).astype(np.int8)


def _require_classes(images: Labelled, assignment: Assignment) -> None:
    """Raise a DataError where a split that the user made lacks a class."""
    for split, name in enumerate(NAMES):
        if lacking := images[assignment == split].lacking:
            raise DataError(
                f"data.split: column, but {name} has no image of {some(lacking)}; every class "
                "must be in train, val and test, so move images or leave out the class with "
                "data.classes="
            )


def split_leave_out(
    images: Labelled, *, leave_out: list[str], val_fraction: float, seed: int
) -> Assignment:
    """Test on the groups named; divide the others between train and val.

    Raises:
        DataError: a group that does not exist, or too few groups left.
    """
    known = sorted(set(images.groups.tolist()))
    for name in leave_out:
        if name not in known:
            raise DataError(
                f"data.leave_out: no image is of the group '{name}'{nearest(name, known)}; "
                f"there are {some(known)}"
            )
    out = np.isin(images.groups, leave_out)
    if out.all():
        raise DataError(f"data.leave_out: {leave_out} are all groups; nothing is left to train on")
    assignment = split_fold(images, out, val_fraction=val_fraction, seed=seed)
    if missing := images[out].lacking:
        raise DataError(
            f"data.leave_out: the groups {leave_out} have no image of {some(missing)}; name more "
            "groups, or fewer classes with data.classes="
        )
    return assignment


def fold_of_rows(
    table: pd.DataFrame, classes: tuple[str, ...], rule: str | int, seed: int
) -> NDArray[np.str_]:
    """Return (N,) the name of each image's fold: its source, its group, or "1" to "K".

    Of K folds each has, class by class, as nearly the same number of images as groups allow.

    Raises:
        DataError: there would be fewer than two, or fewer groups than folds.
    """
    if isinstance(rule, str):
        folds: NDArray[np.str_] = table[rule].to_numpy(str)
        if len(known := sorted(set(folds.tolist()))) < 2:
            raise DataError(
                f"data.folds: {rule}, but all images are of one {rule}: {some(known)}; give more "
                "data, or another data.folds"
            )
        return folds
    names, group_of, counts = Labelled.of(table, classes).by_group()
    if len(names) < rule:
        raise DataError(
            f"data.folds: {rule} folds of {len(names)} groups ({some(names.tolist())}), and a "
            f"group is never cut; give at most data.folds={len(names)}"
        )
    chosen = _balanced(counts, np.full(rule, 1 / rule), [seed, 0xF01D])
    return (chosen[group_of] + 1).astype(str)


def fold_named(name: str | None, folds: NDArray[np.str_]) -> str:
    """Return the name of a fold; without one, of the first.

    Raises:
        DataError: there is no such fold.
    """
    known = sorted(set(folds.tolist()))
    if name is None:
        return str(known[0])
    if name not in known:
        raise DataError(
            f"data.fold: there is no fold '{name}'{nearest(name, known)}; there are {some(known)}"
        )
    return name


def split_fold(
    images: Labelled, out: NDArray[np.bool_], *, val_fraction: float, seed: int
) -> Assignment:
    """Test on the rows of one fold, which may lack classes; divide the others into train and val.

    Raises:
        DataError: too few groups are left.
    """
    assignment = np.full(len(out), TEST, np.int8)
    shares = np.array([1 - val_fraction, val_fraction])
    assignment[~out] = _assign(images[~out], shares, seed)
    return assignment


def _balanced(counts: Counts, shares: NDArray[np.float64], seed: list[int]) -> NDArray[np.intp]:
    """Return the part of every group; groups come in an order that depends on the seed."""
    order = np.random.default_rng(seed).permutation(len(counts))
    chosen = np.empty(len(counts), np.intp)
    chosen[order] = balance_groups(counts[order], shares)
    return chosen


def _assign(images: Labelled, shares: NDArray[np.float64], seed: int) -> NDArray[np.intp]:
    """Return the split of every image, `shares` being each split's part of every class."""
    names, group_of, counts = images.by_group()
    _require_groups(counts, names, images.classes, len(shares))
    chosen = _balanced(counts, shares, [seed, 0x6709])[group_of]
    for split in range(len(shares)):
        if lacking := images[chosen == split].lacking:
            raise DataError(
                f"{NAMES[split]} would have no image of {some(lacking)}: the groups "
                f"({some(names.tolist())}) cannot give every class to train, val and test; "
                "leave those classes out with data.classes=, or choose data.split=random, which "
                "leaks"
            )
    return chosen


def balance_groups(counts: Counts, shares: NDArray[np.float64]) -> NDArray[np.intp]:
    """Choose a split for each group, given its images by class (G, C) and each split's share.

    Largest groups first, each to where the loss rises least; then single moves and swaps until none
    helps. The loss is the squared distance from the wanted counts, class by class, relative to the
    class's size, plus a large penalty for every class that a split lacks.
    """
    wanted = shares[:, None] * counts.sum(0)
    chosen = np.full(len(counts), -1, np.intp)
    held = np.zeros((len(shares), counts.shape[1]))
    for group in np.argsort(-counts.sum(1), kind="stable"):
        losses = [_loss(_moved(held, counts[group], None, to), wanted) for to in range(len(shares))]
        chosen[group] = int(np.argmin(losses))
        held[chosen[group]] += counts[group]
    return _improved(counts, wanted, chosen, held)


_SWAP_LIMIT: Final = 60
_ROUND_LIMIT: Final = 20


def _improved(
    counts: Counts, wanted: NDArray[np.float64], chosen: NDArray[np.intp], held: NDArray[np.float64]
) -> NDArray[np.intp]:
    """Move and swap single groups while that lowers the loss; swaps only among few groups."""
    best = _loss(held, wanted)
    few = len(counts) <= _SWAP_LIMIT
    for _ in range(_ROUND_LIMIT if few else 1):
        before = best
        for group in range(len(counts)):
            for to in range(len(held)):
                trial = _moved(held, counts[group], chosen[group], to)
                if (loss := _loss(trial, wanted)) < best - 1e-12:
                    best, held, chosen[group] = loss, trial, to
        for one, other in combinations(range(len(counts)), 2) if few else ():
            trial = _moved(held, counts[one] - counts[other], chosen[one], chosen[other])
            if (loss := _loss(trial, wanted)) < best - 1e-12:
                best, held = loss, trial
                chosen[one], chosen[other] = chosen[other], chosen[one]
        if best == before:
            break
    return chosen


def _moved(
    held: NDArray[np.float64], row: Counts, source: int | None, target: int
) -> NDArray[np.float64]:
    after = held.copy()
    if source is not None:
        after[source] -= row
    after[target] += row
    return after


def _loss(held: NDArray[np.float64], wanted: NDArray[np.float64]) -> float:
    size = np.maximum(wanted.sum(0), 1)
    lacking = np.count_nonzero((held <= 0) & (wanted > 0))
    return float((((held - wanted) / size) ** 2).sum() + 10.0 * lacking)


def _require_groups(
    counts: Counts, names: NDArray[np.str_], classes: tuple[str, ...], n_splits: int
) -> None:
    """A class in fewer groups than splits can never be in all of them."""
    few = np.flatnonzero((counts > 0).sum(0) < n_splits)
    if not len(few):
        return
    found = names[counts[:, few[0]] > 0].tolist()
    n_found = "1 group" if len(found) == 1 else f"{len(found)} groups"
    others = f" (and {len(few) - 1} other classes as few)" if len(few) > 1 else ""
    splits = "train, val and test" if n_splits == len(NAMES) else "train and val"
    raise DataError(
        f"class '{classes[few[0]]}' is in {n_found}: {some(found)}{others}; {splits} need one "
        "each, and a group is never cut; add images of other people, leave the class out with "
        "data.classes=, or choose data.split=random, which leaks"
    )


def split_manifest(
    manifest: Manifest, classes: tuple[str, ...], config: DataConfig, seed: int
) -> Assignment:
    """Return (N,) 0 for train, 1 for val, 2 for test; equal seeds give equal splits.

    Raises:
        DataError: the rule cannot be followed with these images.
    """
    table = manifest.table
    images = Labelled.of(table, classes)
    fractions = (config.val_fraction, config.test_fraction)
    if config.folds is not None:
        tested = np.zeros(len(table), bool)
        if config.folds != "joints":  # then none of the images is tested on
            folds = fold_of_rows(table, classes, config.folds, seed)
            tested = folds == fold_named(config.fold, folds)
        return split_fold(images, tested, val_fraction=config.val_fraction, seed=seed)
    if config.split == "random":
        return split_random(images, fractions=fractions, seed=seed)
    if config.split == "column":
        assignment = pd.Index(NAMES).get_indexer(pd.Index(table["split"])).astype(np.int8)
        if config.source != "manifest":
            _carve(assignment, images, fractions, seed)
        _require_classes(images, assignment)
        return assignment
    if config.split == "leave_out":
        return split_leave_out(
            images, leave_out=config.leave_out, val_fraction=config.val_fraction, seed=seed
        )
    return split_groups(images, fractions=fractions, seed=seed)


def _carve(
    assignment: Assignment, images: Labelled, fractions: tuple[float, float], seed: int
) -> None:
    """Take from train, by groups, the val or test that a folder layout does not have.

    Where train has too few groups, by lot: groups are cut then, and the split counts as leaking.
    """
    for split, fraction in zip((VAL, TEST), fractions, strict=True):
        if (assignment == split).any():
            continue
        rest = np.flatnonzero(assignment == TRAIN)
        shares = np.array([1 - fraction, fraction])
        try:
            chosen = _assign(images[rest], shares, seed)
        except DataError:
            lots = split_random(images[rest], fractions=(fraction, fraction), seed=seed)
            chosen = (lots == VAL).astype(np.intp)
        assignment[rest[chosen == 1]] = split


def leaking(manifest: Manifest, assignment: Assignment, config: DataConfig) -> bool:
    """Tell whether val or test holds near-copies of training images, as far as is known.

    A random split counts as leaking, whatever the images are; any other leaks where it cuts a group
    or where the same bytes are on both sides. A group that was inferred counts where it is sure.
    """
    if config.split == "random":
        return True
    inside = assignment == TRAIN
    table = manifest.table
    known = ("group", "sha256") if manifest.grouping.sure else ("sha256",)
    return any(bool(table[name][inside].isin(table[name][~inside]).any()) for name in known)


LEAKING: Final = "leaking split"


def caution(manifest: Manifest, assignment: Assignment, config: DataConfig) -> str:
    """Return what must stand beside a score of val or test; nothing where all is well."""
    return LEAKING if leaking(manifest, assignment, config) else manifest.grouping.caution

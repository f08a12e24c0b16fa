"""Splits never cut a group, hold every class, and say so where they cannot."""

from string import ascii_uppercase

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from asl_exp.config.errors import DataError
from asl_exp.data.split import (
    TEST,
    TRAIN,
    VAL,
    Labelled,
    fold_of_rows,
    split_fold,
    split_groups,
    split_leave_out,
    split_random,
)

FRACTIONS = (0.15, 0.15)


def table(counts: list[list[int]]) -> Labelled:
    """Return images of (groups, classes) counts."""
    labels = [c for row in counts for c, n in enumerate(row) for _ in range(n)]
    groups = [f"g{g}" for g, row in enumerate(counts) for n in row for _ in range(n)]
    return Labelled(np.array(labels), np.array(groups), tuple("ABCDEFGH"[: len(counts[0])]))


def sizes(assignment: NDArray[np.int8]) -> list[int]:
    return np.bincount(assignment, minlength=3).tolist()


@pytest.mark.parametrize("seed", range(5))
def test_no_group_is_cut_and_every_class_is_everywhere(seed: int) -> None:
    counts = np.random.default_rng(seed).integers(0, 12, (20, 6)).tolist()
    images = table(counts)
    assignment = split_groups(images, fractions=FRACTIONS, seed=seed)
    for group in set(images.groups):
        assert len(set(assignment[images.groups == group])) == 1
    for split in (TRAIN, VAL, TEST):
        assert set(images.labels[assignment == split]) == set(range(6))


@pytest.mark.parametrize("seed", range(5))
def test_classes_are_balanced_as_well_as_groups_allow(seed: int) -> None:
    assignment = split_groups(table([[5] * 4] * 20), fractions=FRACTIONS, seed=seed)
    assert sizes(assignment) == [14 * 20, 3 * 20, 3 * 20]


def test_four_sessions_give_two_one_one() -> None:
    assignment = split_groups(table([[30, 30]] * 4), fractions=FRACTIONS, seed=0)
    assert sizes(assignment) == [120, 60, 60]


def test_the_smaller_sessions_are_held_out() -> None:
    images = table([[100, 100], [100, 100], [50, 50], [50, 50]])
    assignment = split_groups(images, fractions=FRACTIONS, seed=3)
    assert set(images.groups[assignment != TRAIN]) == {"g2", "g3"}


def test_the_seed_alone_decides_between_equal_groups() -> None:
    images = table([[3, 3]] * 12)
    splits = [
        split_groups(images, fractions=FRACTIONS, seed=seed).tobytes() for seed in (0, 0, 1, 2, 3)
    ]
    assert splits[0] == splits[1]
    assert len(set(splits)) > 1


def test_rare_classes_get_their_groups() -> None:
    """B is in three of thirty groups, and has to be in each split."""
    counts = [[10, 2 if g in (4, 17, 23) else 0] for g in range(30)]
    images = table(counts)
    assignment = split_groups(images, fractions=FRACTIONS, seed=0)
    assert {int(assignment[images.groups == f"g{g}"][0]) for g in (4, 17, 23)} == {TRAIN, VAL, TEST}


def test_a_class_in_too_few_groups_is_named_with_them() -> None:
    images = table([[4, 4], [4, 4], [4, 0], [4, 0]])
    with pytest.raises(
        DataError, match="class 'B' is in 2 groups: g0, g1; train, val and test need"
    ):
        split_groups(images, fractions=FRACTIONS, seed=0)


def test_groups_that_cannot_give_every_class_are_named() -> None:
    # Each class is in three of four groups: all four would have to be apart, in three splits.
    images = table([[1, 0, 1, 1], [1, 1, 1, 0], [1, 1, 0, 1], [0, 1, 1, 1]])
    message = r"would have no image of [A-D].*\(g0, g1, g2, g3\) cannot give every class"
    with pytest.raises(DataError, match=message):
        split_groups(images, fractions=FRACTIONS, seed=0)


def test_many_groups_take_seconds_not_minutes() -> None:
    n_images = 20_000
    groups = np.array([f"near:{index}" for index in range(n_images)])
    images = Labelled(np.arange(n_images) % 26, groups, tuple(ascii_uppercase))
    assignment = split_groups(images, fractions=FRACTIONS, seed=0)
    assert sizes(assignment)[TEST] == pytest.approx(0.15 * n_images, rel=0.02)


def test_random_is_stratified() -> None:
    images = table([[100, 20, 3]])
    assignment = split_random(images, fractions=FRACTIONS, seed=0)
    assert sizes(assignment[images.labels == 0]) == [70, 15, 15]
    assert sizes(assignment[images.labels == 1]) == [14, 3, 3]
    assert sizes(assignment[images.labels == 2]) == [1, 1, 1]


def test_random_needs_three_images_of_a_class() -> None:
    with pytest.raises(DataError, match="class 'B' has 2 images"):
        split_random(table([[3, 2]]), fractions=FRACTIONS, seed=0)


def test_leave_out_tests_on_the_groups_named() -> None:
    images = table([[5, 5]] * 4)
    assignment = split_leave_out(images, leave_out=["g2"], val_fraction=0.3, seed=0)
    assert set(images.groups[assignment == TEST]) == {"g2"}
    assert sizes(assignment) == [20, 10, 10]


@pytest.mark.parametrize(
    ("leave_out", "message"),
    [
        (["g9"], "no image is of the group 'g9'; there are g0, g1, g2"),
        (["g0", "g1", "g2"], "nothing is left to train on"),
        (["g2"], r"the groups \['g2'\] have no image of B"),
        (["g0", "g1"], r"class 'A' is in 1 group: g2 \(and 1 other classes"),
    ],
)
def test_leave_out_says_what_is_wrong(leave_out: list[str], message: str) -> None:
    images = table([[5, 5], [5, 5], [5, 0]])
    with pytest.raises(DataError, match=message):
        split_leave_out(images, leave_out=leave_out, val_fraction=0.3, seed=0)


def many(n_groups: int = 6, n_sources: int = 2) -> pd.DataFrame:
    """Return a table of two images of A and B by each group."""
    rows = [
        {"source": f"s{group % n_sources}", "group": f"g{group}", "label": label}
        for group in range(n_groups)
        for label in "AABB"
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("rule", "names"), [("source", 2), ("group", 6), (3, 3)])
def test_folds_cut_no_group_and_each_image_is_in_one(rule: str | int, names: int) -> None:
    images = many()
    folds = fold_of_rows(images, ("A", "B"), rule, seed=0)
    assert len(set(folds)) == names
    assert (pd.Series(folds).groupby(images["group"]).nunique() == 1).all()


def test_folds_by_number_are_of_one_size() -> None:
    _, sizes = np.unique(fold_of_rows(many(), ("A", "B"), 3, seed=0), return_counts=True)
    assert sizes.tolist() == [8, 8, 8]


def test_a_fold_is_tested_on_and_the_others_are_divided() -> None:
    images = many()
    tested = fold_of_rows(images, ("A", "B"), "source", seed=0) == "s1"
    assignment = split_fold(Labelled.of(images, ("A", "B")), tested, val_fraction=0.34, seed=0)
    assert set(images["source"][assignment == TEST]) == {"s1"}
    assert set(images["source"][assignment != TEST]) == {"s0"}
    assert (assignment == VAL).sum() == 4


def test_folds_that_cannot_be_are_named() -> None:
    images = many(n_groups=3, n_sources=1)
    with pytest.raises(DataError, match="all images are of one source: s0"):
        fold_of_rows(images, ("A", "B"), "source", seed=0)
    with pytest.raises(DataError, match="5 folds of 3 groups"):
        fold_of_rows(images, ("A", "B"), 5, seed=0)

"""data.balance: what comes up how often in an epoch, and that devices and epochs agree on it."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_runs import NoPixels

from asl_exp.data.letters import Split
from asl_exp.data.loader import BatchLoader

SIZES = {("A", "home"): 30, ("A", "street"): 4, ("B", "home"): 11}


def uneven(balance: str, at_most: int | None = None) -> Split:
    rows = [(label, source) for (label, source), n in SIZES.items() for _ in range(n)]
    table = pd.DataFrame(rows, columns=["label", "source"])
    labels = (table["label"] == "B").to_numpy(np.int64)
    split = Split("train", labels, table, NoPixels(), np.arange(len(rows)), sees_pixels=False)
    return replace(split, balance=balance, at_most=at_most)


def seen(split: Split, epoch: int = 0, rank: int = 0, world_size: int = 1) -> list[int]:
    loader = BatchLoader(split, 4, shuffle=True, seed=7, share=(rank, world_size))
    loader.set_epoch(epoch)
    batches = [rows.tolist() for _, _, rows in loader]
    assert len(batches) == len(loader)
    return [row for batch in batches for row in batch]


def counted(split: Split, rows: list[int]) -> Counter[tuple[str, str]]:
    return Counter(map(tuple, split.table.iloc[rows][["label", "source"]].to_numpy().tolist()))


def test_without_balance_each_row_comes_once() -> None:
    assert sorted(seen(uneven("none"))) == list(range(45))


def test_labels_come_equally_often_in_an_epoch_of_the_same_length() -> None:
    split = uneven("label")
    rows = seen(split)
    by_label = Counter(split.labels[rows].tolist())
    assert len(rows) == 45
    assert set(by_label.values()) == {22, 23}
    assert set(np.flatnonzero(split.labels)) <= set(rows), "all of the rare class is seen"


def test_sources_come_equally_often_within_each_label() -> None:
    split = uneven("source")
    assert set(counted(split, seen(split)).values()) == {15}


def test_at_most_so_many_rows_and_none_twice() -> None:
    split = uneven("source", at_most=8)
    rows = seen(split)
    assert counted(split, rows) == {("A", "home"): 8, ("A", "street"): 4, ("B", "home"): 8}
    assert len(rows) == len(set(rows)) == split.n_epoch == 20
    assert set(seen(split, epoch=1)) != set(rows), "another epoch sees others"


@pytest.mark.parametrize("at_most", [None, 8])
def test_two_devices_see_together_what_one_would(at_most: int | None) -> None:
    split = uneven("source", at_most)
    loader = BatchLoader(split, 8, shuffle=True, seed=7)
    alone = [sorted(rows.tolist()) for _, _, rows in loader]
    parts = [BatchLoader(split, 4, shuffle=True, seed=7, share=(r, 2)) for r in (0, 1)]
    together = [
        sorted({*one.tolist(), *other.tolist()})
        for (_, _, one), (_, _, other) in zip(*parts, strict=True)
    ]
    assert together == [sorted(set(batch)) for batch in alone]


def test_an_epoch_goes_on_where_it_was_left() -> None:
    split = uneven("source")
    loader = BatchLoader(split, 4, shuffle=True, seed=7)
    loader.start_at(3, 5)
    rest = [row for _, _, rows in loader for row in rows.tolist()]
    assert rest == seen(split, epoch=3)[20:]


def test_validation_is_never_balanced() -> None:
    loader = BatchLoader(uneven("source", 8), 4, shuffle=False, seed=0)
    assert [row for _, _, rows in loader for row in rows.tolist()] == list(range(45))

"""Images are decoded by this process, and by more where what is left would take long."""

import os
import time
from functools import partial

import pytest

from asl_exp.data import decode_pool
from asl_exp.data.decode_pool import for_chunks


def slept(seconds: float, start: int, items: list[int]) -> tuple[int, int, list[int]]:
    time.sleep(seconds * len(items))
    return os.getpid(), start, items


@pytest.mark.parametrize(
    ("seconds", "n_items", "workers", "n_processes"),
    [
        pytest.param(0, 2000, 0, 1, id="many that take no time"),
        pytest.param(0.01, 40, 0, 1, id="few that take long"),
        pytest.param(0.01, 300, 0, 3, id="many that take long"),
        pytest.param(0.01, 150, 1, 1, id="one process as asked"),
        pytest.param(0, 200, 2, 2, id="two processes as asked"),
        pytest.param(0, 0, 2, 0, id="nothing"),
    ],
)
def test_processes_are_started_where_they_pay(
    monkeypatch: pytest.MonkeyPatch, seconds: float, n_items: int, workers: int, n_processes: int
) -> None:
    monkeypatch.setattr(decode_pool, "_WORTH_S", 0.5)
    monkeypatch.setattr(decode_pool, "n_cores", lambda: 2)
    given = list(range(100, 100 + n_items))
    parts = list(for_chunks(partial(slept, seconds), given, workers=workers, what="sleeping"))
    assert sorted(item for _, _, items in parts for item in items) == given
    assert all(items == given[start : start + len(items)] for _, start, items in parts)
    assert len({process for process, _, _ in parts}) == n_processes
    assert (os.getpid() in {process for process, _, _ in parts}) == (workers < 2 and n_items > 0)

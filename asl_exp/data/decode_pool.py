"""Work on chunks of a long list, in processes where that pays, with the progress shown.

The processes are plain children that run decode_worker.py and read tasks from a pipe. Python's own
pools would import the caller's main module again in each (a script without a guard would start
itself over) and cannot be used from the daemonic workers of distributed training. A child ends when
its pipe closes, so none outlives a parent that was killed. There are as many as this process may
use cores, which in a container are fewer than the machine has. Threads reach 1.3 times one where
two processes reach 2.3 (docs/benchmarks.md): only a part of the work leaves the interpreter's lock.
"""

import os
import pickle
import queue
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from asl_exp.config.console import Console
from asl_exp.config.errors import DataError

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK: Final = 64
"""Images a task: at 224 px 10 MB of pixels, so that memory does not grow with the data set."""

_TRIED: Final = 16
"""Images that are done here at a time, until what is left is known to take long."""

_WORTH_S: Final = 4.0
"""Seconds of work left that pay for processes, each of which takes 1 CPU second to start."""


def for_chunks(
    work: Callable[[int, list[Item]], Result], items: Sequence[Item], *, workers: int, what: str
) -> Iterator[Result]:
    """Yield work(start, items[start:end]) of all items in parts, in no fixed order.

    Args:
        work: a function of a module, or a partial of one, so that it can be sent to a process.
        workers: processes; 0: one a core, as soon as what is left would take long without.
        what: is done, for the terminal.
    """
    with progress(what, len(items)) as advance:
        done = 0
        for n_items, result in _parts(work, items, workers):
            done += n_items
            advance(done)
            yield result


def _parts(
    work: Callable[[int, list[Item]], Result], items: Sequence[Item], workers: int
) -> Iterator[tuple[int, Result]]:
    """Yield how many items were done together, and the result."""
    first, n_processes = 0, workers or n_cores()
    while first < len(items) and (n_processes == 1 or not workers):
        began = time.monotonic()
        some = list(items[first : first + _TRIED])
        result = work(first, some)
        left_s = (time.monotonic() - began) / len(some) * (len(items) - first - len(some))
        yield len(some), result
        warm = first > 0  # the first ones load what decoding needs
        first += len(some)
        if warm and n_processes > 1 and left_s > _WORTH_S:
            break
    if first < len(items):
        yield from _in_processes(work, items, range(first, len(items), CHUNK), n_processes)


def _in_processes(
    work: Callable[[int, list[Item]], Result],
    items: Sequence[Item],
    starts: range,
    n_processes: int,
) -> Iterator[tuple[int, Result]]:
    workers = [_Worker() for _ in range(min(n_processes, len(starts)))]
    idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
    for worker in workers:
        idle.put(worker)

    def run(start: int) -> tuple[int, Result]:
        some = list(items[start : start + CHUNK])
        worker = idle.get()
        try:
            return len(some), worker.run(work, start, some)
        finally:
            idle.put(worker)

    pool = ThreadPoolExecutor(len(workers))
    try:
        for task in as_completed([pool.submit(run, start) for start in starts]):
            yield task.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.end()
        pool.shutdown(wait=True)


class _Worker:
    """One child process that does one task at a time."""

    def __init__(self) -> None:
        paths = os.pathsep.join(path or os.curdir for path in sys.path)
        # A session of its own: an interrupt at the terminal is the parent's to answer.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "asl_exp.data.decode_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths},
            start_new_session=True,
        )

    def run(
        self, work: Callable[[int, list[Item]], Result], start: int, items: list[Item]
    ) -> Result:
        """Do one task there; raise here what is raised there."""
        tasks, answers = self._process.stdin, self._process.stdout
        assert tasks is not None
        assert answers is not None
        try:
            pickle.dump((work, start, items), tasks)
            tasks.flush()
            succeeded, result = pickle.load(answers)
        except (EOFError, BrokenPipeError, ValueError) as error:
            raise DataError(
                f"a decoding process ended with status {self._process.poll()}, most often for "
                "want of memory; run again with fewer: data.workers=1"
            ) from error
        if not succeeded:
            raise result
        return result  # type: ignore[no-any-return]

    def end(self) -> None:
        """End the process; what it was doing is lost."""
        self._process.kill()
        self._process.wait()


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal, one plain line elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        print(f"{what}: {total:,} images", file=sys.stderr, flush=True)
        yield lambda done: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def n_cores(control_group: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many this process may use, by what it is bound to and by its container's limit."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(bound or 1, _limit(control_group)))


def _limit(control_group: Path) -> int:
    """Return the whole cores of ``docker run --cpus`` and its like, by either kind of Linux."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        with suppress(OSError, ValueError):
            quota, period = " ".join((control_group / name).read_text() for name in names).split()
            if quota not in ("max", "-1"):
                return int(quota) // int(period)
    return sys.maxsize

"""Which runs have a process: a run's folder is locked as long as one works on it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

LOCK: Final = ".lock"


def held(run_folder: Path) -> AbstractContextManager[bool]:
    """Hold a run's folder; False where a living process has it, or it cannot be locked."""
    return locked(run_folder / LOCK)


@contextmanager
def locked(file: Path) -> Iterator[bool]:
    """Hold a lock that the system frees when its process dies; False where that cannot be had."""
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        yield False
        return
    try:
        yield True
    finally:
        lock.release()

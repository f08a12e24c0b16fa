"""Which runs have a process: a run's folder is locked as long as one works on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

LOCK: Final = ".lock"


@contextmanager
def held(run_folder: Path) -> Iterator[bool]:
    """Hold a run's folder; False where a living process has it, or it cannot be locked."""
    lock = FileLock(run_folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        yield False
        return
    try:
        yield True
    finally:
        lock.release()

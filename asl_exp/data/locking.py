"""The cache folder's locks: ten processes that start together do the work once."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from asl_exp.config.errors import DataError


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold the lock; says so once where another process has it for more than a second.

    Raises:
        DataError: the cache folder cannot be written.
    """
    lock = FileLock(file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=1)
        except Timeout:
            print(f"waiting for another process that holds {file}", file=sys.stderr, flush=True)
            lock.acquire()
    except OSError as error:
        raise DataError(
            f"data.cache_dir: '{file.parent}' cannot be written: {error.strerror or error}; "
            "give a folder that can be, data.cache_dir=FOLDER"
        ) from error
    try:
        yield
    finally:
        lock.release()

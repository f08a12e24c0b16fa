"""Writing a file in one step: a reader finds the old content or the new, never a part of it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replaced(file: Path) -> Iterator[Path]:
    """Yield a path beside ``file`` to write to; it becomes ``file`` where the block ends well.

    What was written is on the disk before it gets its name, so a power cut leaves no empty file.
    Where the block raises, ``file`` stays as it was. The path carries the process's number: any
    number of processes may write the same file, and the last one wins.
    """
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        yield part
        flush(part)
        part.replace(file)
        flush(file.parent)
    finally:
        part.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

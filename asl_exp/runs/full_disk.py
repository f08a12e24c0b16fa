"""Says what to do where a disk is full, in place of an error number.

What was written before stays good: states and results are written under another name first.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from asl_exp.config.errors import StorageError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def full_disk_named(run_folder: Path) -> Iterator[None]:
    """Raise a StorageError where there is no more room for what a run writes."""
    try:
        yield
    except Exception as error:
        reason = full_disk(error)
        if reason is None:
            raise
        raise StorageError(
            f"cannot write to '{run_folder}' ({reason}); what was written before is good: "
            "make room, then the same command with resume=true goes on"
        ) from error


def full_disk(error: BaseException) -> str | None:
    """Return the reason if an error comes from a disk that is full, else None."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return str(error.strerror)
    return "disk is full" if "disk is full" in str(error) else None  # SQLite says it so

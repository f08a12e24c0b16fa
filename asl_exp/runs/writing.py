"""Writing to disk: a file in one step, and what to do where a disk takes no more.

A reader finds the old content or the new, never a part of it. Where there is no room, no more
files, a limit on their size, or a disk that may only be read, the user is told so instead of an
error number; what was written before stays good.
"""

import errno
import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from asl_exp.config.errors import RunError, StorageError, UserError


@contextmanager
def replaced(file: Path) -> Iterator[Path]:
    """Yield a path beside ``file`` to write to; it becomes ``file`` where the block ends well.

    What was written is on the disk before it gets its name, so a power cut leaves no empty file.
    Where the block raises, ``file`` stays as it was. The path carries the process's number: any
    number of processes may write the same file, and the last one wins. A folder that was moved away
    meanwhile is made anew: no run ends for that.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        yield part
        flush(part)
        part.replace(file)
        flush(file.parent)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def filled(folder: Path, last: str) -> Iterator[Path]:
    """Yield a folder beside ``folder``, whose files go there where the block ends well.

    Each takes the place of one of its name, the one called ``last`` after all others. Where the
    block raises, ``folder`` stays as it was.
    """
    part = folder.with_name(f".{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)  # of an earlier process of this number
    try:
        part.mkdir(parents=True)
        yield part
        folder.mkdir(exist_ok=True)
        for file in sorted(part.iterdir(), key=lambda file: file.name == last):
            file.replace(folder / file.name)
    except OSError as error:
        if Path(os.fsdecode(error.filename or "")).is_relative_to(part):
            error.filename = str(folder / Path(os.fsdecode(error.filename)).relative_to(part))
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def require_writable(file: Path) -> None:
    """Try the place of a file before the work whose outcome it is to hold.

    Raises:
        OSError: as writing it would.
    """
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        part.unlink()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from None


def remove_empty(folder: Path) -> None:
    """Remove a folder and the one round it, where nothing is in them and no command is typed."""
    for empty in (folder, folder.absolute().parent):
        if Path.cwd().is_relative_to(empty.absolute()) or any(empty.iterdir()):
            return
        empty.rmdir()


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN: Final = (errno.EROFS, errno.EACCES, errno.EPERM)
_SQLITE: Final = {
    "disk is full": "disk is full",
    "readonly database": "it may only be read",
    "disk I/O error": "disk I/O error",
}
_TORCH: Final = ("PytorchStreamWriter failed writing", "unexpected pos")
"""torch's own writer has no error numbers."""


@contextmanager
def full_disk_named(run_folder: Path) -> Iterator[None]:
    """Raise a StorageError where a run cannot write any more."""
    there = run_folder.is_dir()
    try:
        yield
    except Exception as error:
        if there and not run_folder.is_dir() and not isinstance(error, UserError | RunError):
            raise StorageError(
                f"'{run_folder}' was moved or deleted while the run was writing to it; where it "
                "is now has all that was written before: resume=FOLDER with that place goes on"
            ) from error
        reason = _of_any(error) or _forbidden(error, run_folder)
        if reason is None:
            raise
        raise StorageError(
            f"cannot write to '{run_folder}' ({reason}); what was written before is good: "
            f"{way_on(error, run_folder)}, then the same command with resume=true goes on"
        ) from error


def _of_any(error: BaseException) -> str | None:
    """Return the reason of an error, or of what it was raised from; ours have said theirs."""
    if (reason := full_disk(error)) or isinstance(error, UserError | RunError):
        return reason
    inner = error.__cause__ if error.__suppress_context__ else error.__context__
    return None if inner is None else _of_any(inner)


def full_disk(error: BaseException) -> str | None:
    """Return the reason if an error comes from a disk that is full, else None."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return os.strerror(error.errno)  # pyarrow's own text is another
    if isinstance(error, shutil.Error):  # of a copied folder: its reasons are text
        return next((os.strerror(n) for n in _FULL if f"[Errno {n}]" in str(error)), None)
    if isinstance(error, RuntimeError) and any(words in str(error) for words in _TORCH):
        return "a file could not be written whole"
    return "disk is full" if "disk is full" in str(error) else None  # SQLite says it so


def unwritable(error: BaseException) -> str | None:
    """Return the reason if an error comes from a place that cannot be written, else None."""
    if isinstance(error, OSError) and error.errno in (*_FULL, *_FORBIDDEN):
        return str(error.strerror)
    return next((plain for words, plain in _SQLITE.items() if words in str(error)), None)


def _forbidden(error: BaseException, folder: Path) -> str | None:
    """Return the reason if a run's own folder may not be written any more."""
    if not isinstance(error, OSError) or error.errno not in _FORBIDDEN:
        return None
    inside = Path(os.fsdecode(error.filename or "/")).resolve().is_relative_to(folder.resolve())
    return str(error.strerror) if inside else None


def way_on(error: BaseException, folder: Path) -> str:
    """Return what makes a place that takes no more take more again."""
    if isinstance(error, OSError):
        if error.errno == errno.EFBIG:
            return "raise the limit on the size of files (ulimit -f)"
        if error.errno in _FORBIDDEN:
            return "make it writable"
    if resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY:
        return "make room, or raise the limit on the size of files (ulimit -f)"
    with suppress(OSError):
        room = os.statvfs(folder)
        if room.f_favail == 0 < room.f_files:
            return "delete files there (it has room, but takes no more files)"
    return "make room"

"""Files of the cache: complete or absent, computed once by however many processes want them.

A cache file is two, ``NAME.ENDING`` with bytes and ``NAME.json`` with what they must be. NAME comes
from a digest of all that the bytes depend on, so other inputs are another file. The description is
written last: bytes without one, or that do not match it, are not read but made again. A lock beside
them keeps processes that start together from doing the work twice. What a database of the cache
holds can be found out again too: a damaged one is deleted.
"""

import hashlib
import json
import os
import sqlite3
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from asl_exp.config import readable
from asl_exp.config.errors import DataError, NoRoomError
from asl_exp.runs.writing import full_disk, replaced, way_on


@dataclass(frozen=True)
class Description:
    """What NAME.json says.

    Attributes:
        n_bytes: of the bytes' file.
        sha256: of it.
        changed_ns: its time of change when its checksum was last seen to be right.
        about: what the bytes are.
    """

    n_bytes: int
    sha256: str
    changed_ns: int
    about: dict[str, Any]


@dataclass(frozen=True)
class CacheFile:
    """The place of one file, whether made or not.

    Attributes:
        folder: a folder of the cache folder.
        name: from a digest.
        ending: of the bytes' file.
        what: it holds, in the plural, for messages.
        otherwise: what one can do without it, for messages.
    """

    folder: Path
    name: str
    ending: str
    n_bytes: int
    what: str
    otherwise: str

    @property
    def bytes_file(self) -> Path:
        """The bytes."""
        return self.folder / f"{self.name}.{self.ending}"

    @property
    def description_file(self) -> Path:
        """What the bytes must be."""
        return self.folder / f"{self.name}.json"

    def open(
        self,
        fill: Callable[[Path], Mapping[str, Any]],
        *,
        limit_gb: float,
        keep: Iterable[str] = (),
    ) -> Description:
        """Return the description of the bytes, made first where they are not there or damaged.

        Args:
            fill: writes the bytes into a file that has their size, and returns what they are.
            limit_gb: of the whole cache folder; the least recently used files go first.
            keep: names of files that must not go.

        Raises:
            NoRoomError: the limit or the disk has no room; nothing is left behind.
            DataError: the folder cannot be written.
        """
        if (description := self.checked()) is None:
            with locked(self.folder / f"{self.name}.lock"):
                description = self.checked()
                if description is None:
                    self._make_room(limit_gb, {*keep, self.name})
                    description = self._write(fill)
        os.utime(self.description_file)
        return description

    def checked(self) -> Description | None:
        """Return the description if the bytes match it; the checksum is taken when they changed."""
        try:
            description = Description(**json.loads(self.description_file.read_text("utf-8")))
            status = self.bytes_file.stat()
        except (OSError, ValueError, TypeError):
            return None
        if not status.st_size == self.n_bytes == description.n_bytes:
            return None
        if status.st_mtime_ns == description.changed_ns:
            return description
        if file_digest(self.bytes_file) != description.sha256:
            return None
        return self._describe(description.sha256, description.about)

    def _write(self, fill: Callable[[Path], Mapping[str, Any]]) -> Description:
        """Fill a temporary file, then give it its name."""
        for left_behind in self.folder.glob(f"{self.name}.*.part"):
            left_behind.unlink(missing_ok=True)
        try:
            with replaced(self.bytes_file) as part:
                _reserve(part, self.n_bytes)
                about = fill(part)
                checksum = file_digest(part)
            return self._describe(checksum, about)
        except OSError as error:
            raise self._no_room(error) from error

    def _describe(self, checksum: str, about: Mapping[str, Any]) -> Description:
        changed_ns = self.bytes_file.stat().st_mtime_ns
        description = Description(self.n_bytes, checksum, changed_ns, dict(about))
        with replaced(self.description_file) as part:
            part.write_text(json.dumps(asdict(description), indent=1), "utf-8")
        return description

    def _make_room(self, limit_gb: float, keep: set[str]) -> None:
        """Remove the least recently used files until this one fits under the limit."""
        others = [one for one in complete_files(self.folder.parent) if one.stem != self.name]
        used = {one: one.stat().st_size for one in others}
        removable = [one for one in others if one.stem not in keep]
        while sum(used.values()) + self.n_bytes > limit_gb * 1e9 and removable:
            remove(oldest := removable.pop(0))
            del used[oldest]
        needed = (sum(used.values()) + self.n_bytes) / 1e9
        if needed > limit_gb:
            raise NoRoomError(
                f"data.cache_limit_gb: {limit_gb:g} is too little; the {self.what} of this "
                f"experiment need {needed:.2f} GB; raise it, choose a smaller "
                f"backbone.image_size, or {self.otherwise}"
            )

    def _no_room(self, error: OSError) -> DataError:
        if full_disk(error) is not None:
            return NoRoomError(
                f"data.cache_dir: no room in '{self.folder}' for {readable.size(self.n_bytes)} of "
                f"{self.what}; {way_on(error, self.folder)}, give another folder with "
                f"data.cache_dir=, or {self.otherwise}; nothing was left behind"
            )
        return DataError(
            f"data.cache_dir: {self.what} cannot be written to '{self.folder}': {error}; "
            "give another folder with data.cache_dir="
        )


class Rows:
    """The bytes of a cache file as rows, read through the page cache that all processes share.

    Read, not mapped: the pages of a map would count as this process's memory (608 MB for a file of
    600 MB), and where the disk fails or the file is cut a map kills the process with SIGBUS, where
    a read is an error. It gathers 160,000 images of 100 px a second, several times what any
    network takes; a map gathers 440,000.
    """

    def __init__(self, file: Path, shape: tuple[int, ...], dtype: type[np.generic]) -> None:
        self._file = file
        self._descriptor = os.open(file, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)
        self._shape, self._dtype = shape, dtype

    @property
    def n_bytes(self) -> int:
        """The size of a row."""
        return int(np.prod(self._shape)) * np.dtype(self._dtype).itemsize

    def gather(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return (B, *shape) of the rows given.

        Raises:
            DataError: the file has become shorter since it was checked.
        """
        gathered = np.empty((len(rows), *self._shape), self._dtype)
        flat = gathered.reshape(len(rows), -1).view(np.uint8)
        n_bytes = flat.shape[1]
        for one, row in zip(flat, rows.tolist(), strict=True):
            if os.preadv(self._descriptor, [one.data], row * n_bytes) != n_bytes:
                raise DataError(
                    f"data.cache_dir: '{self._file}' was cut short while it was in use; run again, "
                    "and it will be built anew"
                )
        return gathered


def complete_files(cache_dir: Path) -> list[Path]:
    """Return the bytes' files of a cache folder that have a description, the oldest use first."""
    described = [path for path in cache_dir.glob("*/*.json") if path.is_file()]
    files = [
        next((f for f in path.parent.glob(f"{path.stem}.*") if f.suffix in (".u8", ".f32")), None)
        for path in sorted(described, key=_last_use)
    ]
    return [file for file in files if file is not None]


def remove(bytes_file: Path) -> None:
    """Remove a cache file; a process that has it open goes on reading it."""
    for ending in (".json", bytes_file.suffix, ".lock"):
        bytes_file.with_suffix(ending).unlink(missing_ok=True)


def _reserve(file: Path, n_bytes: int) -> None:
    """Create the file with all its room taken, so that a full disk shows before the work."""
    with file.open("wb") as opened:
        if hasattr(os, "posix_fallocate"):  # not on macOS
            os.posix_fallocate(opened.fileno(), 0, n_bytes)
        opened.truncate(n_bytes)


def file_digest(file: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _last_use(description: Path) -> float:
    try:
        return description.stat().st_mtime
    except OSError:
        return 0.0


def unwritable_cache(place: Path, error: Exception) -> DataError:
    """Return what is said where a part of the cache folder takes nothing."""
    reason = getattr(error, "strerror", None) or error
    return DataError(
        f"data.cache_dir: '{place}' cannot be written: {reason}; make room, or give another folder "
        "with data.cache_dir="
    )


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
        raise unwritable_cache(file.parent, error) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def open_database(file: Path, create: str) -> Iterator[sqlite3.Connection]:
    """Open a database, made on first use; a damaged one is begun anew.

    Args:
        file: of the database, in a folder that exists.
        create: the statement that makes its table where there is none.

    Raises:
        DataError: it cannot be opened or written: locked, no room, no right.
    """
    try:
        with closing(_sound(file, create)) as database:
            yield database
    except sqlite3.Error as error:
        raise unwritable_cache(file, error) from error


def _sound(file: Path, create: str) -> sqlite3.Connection:
    try:
        return _opened(file, create)
    except sqlite3.OperationalError:  # nothing of it is damaged
        raise
    except sqlite3.DatabaseError:
        file.unlink(missing_ok=True)
        return _opened(file, create)


def _opened(file: Path, create: str) -> sqlite3.Connection:
    database = sqlite3.connect(file, timeout=60)
    try:
        database.execute(create)
        if database.execute("PRAGMA quick_check").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("damaged")
    except sqlite3.Error:
        database.close()
        raise
    return database

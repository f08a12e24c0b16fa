"""Stored pixels: every image decoded once, into one uint8 file that all processes share.

A store is two files, ``NAME.u8`` with the bytes of (N, S, S, 3) and ``NAME.json`` with its checksum
and the images that could not be decoded. NAME comes from the digest of the images' bytes and
the geometry, so another set or size is another store. The description is written last: a store
without one, or one that does not match it, is not read but built again.
"""

import errno
import hashlib
import json
import os
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from asl_exp.config.errors import DataError
from asl_exp.data.images import READER_VERSION, Pixels, UnreadableImageError
from asl_exp.data.locking import locked
from asl_exp.data.parallel import for_chunks
from asl_exp.data.pixels import Geometry, pixels_of

_CHANNELS: Final = 3


@dataclass(frozen=True)
class Description:
    """What NAME.json says.

    Attributes:
        n_images: N.
        sha256: of NAME.u8.
        unreadable: reason by row; those rows are black and must not be used.
        changed_ns: NAME.u8's time of change when its checksum was last seen to be right.
    """

    n_images: int
    sha256: str
    unreadable: dict[str, str]
    changed_ns: int


class StoredPixels:
    """The pixels of one store, read row by row through the page cache that all processes share.

    Read, not mapped: the pages of a map would count as this process's memory (608 MB for a store of
    600 MB), and where the disk fails or the file is cut a map kills the process with SIGBUS, where
    a read is an error. It gathers 160,000 images of 100 px a second, several times what any
    network takes; a map gathers 440,000.
    """

    def __init__(self, file: Path, description: Description, geometry: Geometry) -> None:
        self._file = file
        self._descriptor = os.open(file, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)
        self._shape = (geometry.size, geometry.size, _CHANNELS)
        self.unreadable = {int(row): reason for row, reason in description.unreadable.items()}
        self.digest = description.sha256

    def gather(self, rows: NDArray[np.int64]) -> Pixels:
        """Return (B, S, S, 3) of the rows given.

        Raises:
            DataError: the file has become shorter since it was checked.
        """
        gathered = np.empty((len(rows), *self._shape), np.uint8)
        flat = gathered.reshape(len(rows), -1)
        n_bytes = flat.shape[1]
        for image, row in zip(flat, rows.tolist(), strict=True):
            if os.preadv(self._descriptor, [image.data], row * n_bytes) != n_bytes:
                raise DataError(
                    f"data.cache_dir: '{self._file}' was cut short while it was in use; run again, "
                    "and it will be built anew"
                )
        return gathered


@dataclass(frozen=True)
class Store:
    """The place of one store, whether built or not.

    Attributes:
        folder: where stores are kept.
        paths: what each row is decoded from.
        pixel_digest: of the images' bytes, in order.
        geometry: how they become squares.
    """

    folder: Path
    paths: Sequence[str]
    pixel_digest: str
    geometry: Geometry

    @property
    def name(self) -> str:
        """The files' name without ending."""
        return f"{self.pixel_digest[:24]}_{self.geometry.name}_{READER_VERSION}"

    @property
    def pixels_file(self) -> Path:
        """The bytes."""
        return self.folder / f"{self.name}.u8"

    @property
    def description_file(self) -> Path:
        """What the bytes must be."""
        return self.folder / f"{self.name}.json"

    @property
    def n_bytes(self) -> int:
        """The size of the bytes."""
        return len(self.paths) * self.geometry.size**2 * _CHANNELS

    def open(
        self, *, max_megapixels: float, workers: int, limit_gb: float, keep: Iterable[str] = ()
    ) -> StoredPixels:
        """Open the store, building it first where it is not there or damaged.

        Args:
            max_megapixels: larger images are not decoded.
            workers: decoding processes; 0 means one a core.
            limit_gb: of all stores in the folder together; the least recently used go first.
            keep: names of stores that must not go.

        Raises:
            DataError: no room, or a folder that cannot be written.
        """
        if (description := self._checked()) is None:
            with locked(self.folder / f"{self.name}.lock"):
                description = self._checked()
                if description is None:
                    self._make_room(limit_gb, {*keep, self.name})
                    description = self._build(max_megapixels, workers)
        os.utime(self.description_file)
        return StoredPixels(self.pixels_file, description, self.geometry)

    def _checked(self) -> Description | None:
        """Return the description if the bytes match it; the checksum is taken when they changed."""
        try:
            description = Description(**json.loads(self.description_file.read_text("utf-8")))
            status = self.pixels_file.stat()
        except (OSError, ValueError, TypeError):
            return None
        if status.st_size != self.n_bytes or description.n_images != len(self.paths):
            return None
        if status.st_mtime_ns == description.changed_ns:
            return description
        if _checksum(self.pixels_file) != description.sha256:
            return None
        return self._describe(description.sha256, description.unreadable)

    def _build(self, max_megapixels: float, workers: int) -> Description:
        """Decode everything into a temporary file, then give it its name."""
        for left_behind in self.folder.glob(f"{self.name}.*.part"):
            left_behind.unlink(missing_ok=True)
        part = self.folder / f"{self.name}.{os.getpid()}.part"
        work = partial(_fill, part, self.geometry, max_megapixels)
        unreadable: dict[str, str] = {}
        try:
            _reserve(part, self.n_bytes)
            for faults in for_chunks(work, self.paths, workers=workers, what="storing pixels"):
                unreadable.update(faults)
            checksum = _checksum(part)
            _synced(part)
            part.replace(self.pixels_file)
            return self._describe(checksum, unreadable)
        except OSError as error:
            raise self._no_room(error) from error
        finally:
            part.unlink(missing_ok=True)

    def _describe(self, checksum: str, unreadable: dict[str, str]) -> Description:
        changed_ns = self.pixels_file.stat().st_mtime_ns
        description = Description(len(self.paths), checksum, unreadable, changed_ns)
        part = self.folder / f"{self.name}.json.{os.getpid()}.part"
        part.write_text(json.dumps(asdict(description), indent=1), "utf-8")
        _synced(part)
        part.replace(self.description_file)
        _synced(self.folder)
        return description

    def _make_room(self, limit_gb: float, keep: set[str]) -> None:
        """Remove the least recently used stores until this one fits under the limit."""
        stores = {file.stem: file for file in self.folder.glob("*.u8")}
        used = {name: file.stat().st_size for name, file in stores.items()}
        used[self.name] = self.n_bytes
        removable = sorted(set(stores) - keep, key=lambda name: _last_use(self.folder, name))
        while sum(used.values()) > limit_gb * 1e9 and removable:
            oldest = removable.pop(0)
            for ending in ("json", "u8", "lock"):
                (self.folder / f"{oldest}.{ending}").unlink(missing_ok=True)
            del used[oldest]
        if sum(used.values()) > limit_gb * 1e9:
            raise DataError(
                f"data.cache_limit_gb: {limit_gb:g} is too little; the stored pixels of this "
                f"experiment need {sum(used.values()) / 1e9:.2f} GB; raise it, choose a smaller "
                "backbone.image_size, or decode every time with data.store=false"
            )

    def _no_room(self, error: OSError) -> DataError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return DataError(
                f"data.cache_dir: no room in '{self.folder}' for {self.n_bytes / 1e9:.2f} GB of "
                "stored pixels; make room, give another folder with data.cache_dir=, or decode "
                "every time with data.store=false; nothing was left behind"
            )
        return DataError(
            f"data.cache_dir: stored pixels cannot be written to '{self.folder}': {error}; "
            "give another folder with data.cache_dir="
        )


def _fill(
    part: Path, geometry: Geometry, max_megapixels: float, start: int, paths: list[str]
) -> dict[str, str]:
    """Decode some rows into their place in the file; return the reasons of those that failed."""
    pixels = np.zeros((len(paths), geometry.size, geometry.size, _CHANNELS), np.uint8)
    faults = {}
    for position, path in enumerate(paths):
        try:
            pixels[position] = pixels_of(path, geometry, max_megapixels)
        except UnreadableImageError as error:
            faults[str(start + position)] = error.reason
    # Written, not mapped: a full disk is then an error to report, not a SIGBUS.
    with part.open("r+b") as file:
        file.seek(start * pixels[0].nbytes)
        file.write(pixels.data)
    return faults


def _reserve(file: Path, n_bytes: int) -> None:
    """Create the file with all its room taken, so that a full disk shows before the decoding."""
    with file.open("wb") as opened:
        if hasattr(os, "posix_fallocate"):  # not on macOS
            os.posix_fallocate(opened.fileno(), 0, n_bytes)
        opened.truncate(n_bytes)


def _checksum(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _synced(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _last_use(folder: Path, name: str) -> float:
    try:
        return (folder / f"{name}.json").stat().st_mtime
    except OSError:
        return 0.0

"""Stored pixels: every image decoded once, into one uint8 file that all processes share.

The bytes are those of (N, S, S, 3). The name comes from the digest of the images' bytes and the
geometry, so another set or size is another store; cache_files.py has the rest. A row of a manifest
is read from its file, or drawn where its path says so.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from asl_exp.config.schema import DataConfig
from asl_exp.data.cache_files import CacheFile, Description, Rows
from asl_exp.data.decode import (
    FILTERS,
    READER_VERSION,
    Geometry,
    Pixels,
    Source,
    UnreadableImageError,
    read_image,
)
from asl_exp.data.decode_pool import for_chunks, n_cores
from asl_exp.data.sources.listing import is_file_key


def pixels_of(path: Source, geometry: Geometry, max_megapixels: float) -> Pixels:
    """Return (S, S, 3) RGB.

    Raises:
        UnreadableImageError: the file cannot be decoded.
    """
    if not isinstance(path, str) or is_file_key(path):
        return read_image(path, geometry, max_megapixels)
    return _drawn(path, geometry)


def _drawn(path: str, geometry: Geometry) -> Pixels:
    from asl_exp.data.sources import synthetic

    drawn = synthetic.draw(path, min(geometry.size, synthetic.LARGEST))
    if len(drawn) == geometry.size:
        return drawn
    shape = (geometry.size, geometry.size)
    return np.asarray(Image.fromarray(drawn).resize(shape, FILTERS[geometry.interpolation]))


class DecodedPixels:
    """Decodes at every access, in threads: for sets larger than the disk (data.store=false)."""

    def __init__(self, paths: Sequence[str], geometry: Geometry, config: DataConfig) -> None:
        self.digest = ""
        self._paths = np.array(paths, dtype=object)
        self._geometry = geometry
        self._max_megapixels = config.max_megapixels
        self._workers = config.workers or n_cores()

    def gather(self, rows: NDArray[np.int64]) -> Pixels:
        """Return (B, S, S, 3) of the rows given."""
        size = self._geometry.size
        gathered = np.empty((len(rows), size, size, 3), np.uint8)

        def decode(position: int) -> None:
            path = self._paths[rows[position]]
            gathered[position] = pixels_of(path, self._geometry, self._max_megapixels)

        # Pillow releases the interpreter lock while it decodes and resizes.
        with ThreadPoolExecutor(self._workers) as pool:
            list(pool.map(decode, range(len(rows))))
        return gathered


CHANNELS: Final = 3


class StoredPixels(Rows):
    """The pixels of one store: gathers (B, S, S, 3) uint8.

    Attributes:
        unreadable: reason by row; those rows are black and must not be used.
    """

    def __init__(self, file: Path, description: Description, geometry: Geometry) -> None:
        super().__init__(file, (geometry.size, geometry.size, CHANNELS), np.uint8)
        unreadable: dict[str, str] = description.about["unreadable"]
        self.unreadable = {int(row): reason for row, reason in unreadable.items()}
        self.digest = description.sha256


@dataclass(frozen=True)
class Store:
    """The place of one store, whether built or not.

    Attributes:
        paths: what each row is decoded from.
        pixel_digest: of the images' bytes, in order.
    """

    folder: Path
    paths: Sequence[str]
    pixel_digest: str
    geometry: Geometry

    what: ClassVar = "stored pixels"
    otherwise: ClassVar = "decode every time with data.store=false"

    @property
    def name(self) -> str:
        """The files' name without ending."""
        return f"{self.pixel_digest[:24]}_{self.geometry.name}_{READER_VERSION}"

    @property
    def file(self) -> CacheFile:
        """Where the bytes are."""
        n_bytes = len(self.paths) * self.geometry.size**2 * CHANNELS
        return CacheFile(self.folder, self.name, "u8", n_bytes, self.what, self.otherwise)

    def open(self, config: DataConfig, keep: Iterable[str] = ()) -> StoredPixels:
        """Open the store, building it first where it is not there or damaged.

        Args:
            config: how images are decoded, and the room there is.
            keep: names of stores that must not go.

        Raises:
            DataError: no room, or a folder that cannot be written.
        """
        fill = partial(self._fill, config.max_megapixels, config.workers)
        description = self.file.open(fill, limit_gb=config.cache_limit_gb, keep=keep)
        return StoredPixels(self.file.bytes_file, description, self.geometry)

    def _fill(self, max_megapixels: float, workers: int, part: Path) -> dict[str, object]:
        decode, items, what = self._work(max_megapixels)
        size = self.geometry.size
        work = partial(fill_pixels, part, size, decode)
        faults = for_chunks(work, items, workers=workers, what=what)
        unreadable = {row: reason for some in faults for row, reason in some.items()}
        return {"shape": [len(items), size, size, CHANNELS], "unreadable": unreadable}

    def _work(self, max_megapixels: float) -> tuple[Callable[[Any], Pixels], Sequence[Any], str]:
        """Return what decodes an item, the items, each of one row, and what is shown meanwhile."""
        drawn = self.paths[:1] and not is_file_key(self.paths[0])
        what = "drawing hands" if drawn else "storing pixels"
        decode = partial(pixels_of, geometry=self.geometry, max_megapixels=max_megapixels)
        return decode, self.paths, what


def fill_pixels(
    part: Path, size: int, decode: Callable[[Any], Pixels], start: int, items: Sequence[Any]
) -> dict[str, str]:
    """Decode some rows into their place in a file of pixels; may run in another process.

    Args:
        size: S, side of each row's square.
        decode: returns the pixels (S, S, 3) of an item, or raises an UnreadableImageError.
        start: the row of the first item.
        items: of which each is one row.

    Returns:
        Row to reason, of those that failed.
    """
    pixels = np.zeros((len(items), size, size, CHANNELS), np.uint8)
    faults = {}
    for position, item in enumerate(items):
        try:
            pixels[position] = decode(item)
        except UnreadableImageError as error:
            faults[str(start + position)] = error.reason
    # Written, not mapped: a full disk is then an error to report, not a SIGBUS.
    with part.open("r+b") as file:
        file.seek(start * pixels[0].nbytes)
        file.write(pixels.data)
    return faults

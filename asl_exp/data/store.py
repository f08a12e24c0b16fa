"""Stored pixels: every image decoded once, into one uint8 file that all processes share.

The bytes are those of (N, S, S, 3). The name comes from the digest of the images' bytes and the
geometry, so another set or size is another store; kept.py has the rest.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from asl_exp.data.images import READER_VERSION, UnreadableImageError
from asl_exp.data.kept import Description, KeptFile, Rows
from asl_exp.data.parallel import for_chunks
from asl_exp.data.pixels import Geometry, pixels_of

_CHANNELS: Final = 3


class StoredPixels(Rows):
    """The pixels of one store: gathers (B, S, S, 3) uint8.

    Attributes:
        digest: of all of them.
        unreadable: reason by row; those rows are black and must not be used.
    """

    def __init__(self, file: Path, description: Description, geometry: Geometry) -> None:
        super().__init__(file, (geometry.size, geometry.size, _CHANNELS), np.uint8)
        unreadable: dict[str, str] = description.about["unreadable"]
        self.unreadable = {int(row): reason for row, reason in unreadable.items()}
        self.digest = description.sha256


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
    def file(self) -> KeptFile:
        """Where the bytes are."""
        n_bytes = len(self.paths) * self.geometry.size**2 * _CHANNELS
        otherwise = "decode every time with data.store=false"
        return KeptFile(self.folder, self.name, "u8", n_bytes, "stored pixels", otherwise)

    def open(
        self, *, max_megapixels: float, workers: int, limit_gb: float, keep: Iterable[str] = ()
    ) -> StoredPixels:
        """Open the store, building it first where it is not there or damaged.

        Args:
            max_megapixels: larger images are not decoded.
            workers: decoding processes; 0 means one a core.
            limit_gb: of the cache folder.
            keep: names of stores that must not go.

        Raises:
            DataError: no room, or a folder that cannot be written.
        """
        fill = partial(self._decode, max_megapixels, workers)
        description = self.file.open(fill, limit_gb=limit_gb, keep=keep)
        return StoredPixels(self.file.bytes_file, description, self.geometry)

    def _decode(self, max_megapixels: float, workers: int, part: Path) -> dict[str, object]:
        work = partial(_fill, part, self.geometry, max_megapixels)
        unreadable: dict[str, str] = {}
        for faults in for_chunks(work, self.paths, workers=workers, what="storing pixels"):
            unreadable.update(faults)
        shape = [len(self.paths), self.geometry.size, self.geometry.size, _CHANNELS]
        return {"shape": shape, "unreadable": unreadable}


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

"""The pixels that one row of a manifest stands for, read or drawn."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from asl_exp.data.cores import n_cores
from asl_exp.data.images import FILTERS, Pixels, read_image
from asl_exp.data.listing import is_file_key


@dataclass(frozen=True)
class Geometry:
    """How any image becomes a square of pixels.

    Attributes:
        size: side in pixels.
        resize: squash, crop or pad.
        interpolation: nearest, bilinear, bicubic or lanczos.
    """

    size: int
    resize: str
    interpolation: str

    @property
    def name(self) -> str:
        """Part of a file name."""
        return f"{self.size}_{self.resize}_{self.interpolation}"


def pixels_of(path: str, geometry: Geometry, max_megapixels: float) -> Pixels:
    """Return (S, S, 3) RGB.

    Raises:
        UnreadableImageError: the file cannot be decoded.
    """
    if is_file_key(path):
        return read_image(
            path,
            size=geometry.size,
            resize=geometry.resize,
            interpolation=geometry.interpolation,
            max_megapixels=max_megapixels,
        )
    return _drawn(path, geometry)


def _drawn(path: str, geometry: Geometry) -> Pixels:
    from asl_exp.data import synthetic

    drawn = synthetic.draw(path, min(geometry.size, synthetic.LARGEST))
    if len(drawn) == geometry.size:
        return drawn
    shape = (geometry.size, geometry.size)
    return np.asarray(Image.fromarray(drawn).resize(shape, FILTERS[geometry.interpolation]))


class DecodedPixels:
    """Decodes at every access, in threads: for sets larger than the disk (data.store=false)."""

    def __init__(
        self, paths: Sequence[str], geometry: Geometry, *, max_megapixels: float, workers: int
    ) -> None:
        self.digest = ""
        self._paths = np.array(paths, dtype=object)
        self._geometry = geometry
        self._max_megapixels = max_megapixels
        self._workers = workers or n_cores()

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

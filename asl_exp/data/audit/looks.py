"""One pass over the stored pixels: how bright each image is, and its perceptual hash."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from asl_exp.data.dataset import Split
from asl_exp.data.near_duplicates import Hashes, hash_of_pixels, hashes_of

_BATCH: Final = 256


@dataclass(frozen=True)
class Looks:
    """What the pixels of N images say.

    Attributes:
        hashes: (N, 4) perceptual hashes.
        brightness: (N,) mean of all channels, 0..255.
    """

    hashes: Hashes
    brightness: NDArray[np.float32]


def look_at(splits: dict[str, Split], advance: Callable[[int], None]) -> Looks:
    """Read every image of every split, in their order; `advance` hears how many were read."""
    hashes: list[bytes] = []
    brightness: list[NDArray[np.float32]] = []
    for split in splits.values():
        for start in range(0, len(split), _BATCH):
            pixels = split.gather(np.arange(start, min(start + _BATCH, len(split))))
            brightness.append(pixels.mean((1, 2, 3), dtype=np.float32))
            hashes += [hash_of_pixels(image) for image in pixels]
            advance(len(hashes))
    return Looks(hashes_of(hashes), np.concatenate(brightness))

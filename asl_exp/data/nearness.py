"""Near-duplicate images: a perceptual hash for each, and clusters of those that are close.

Two frames of one video a second apart differ in a few of the 64 bits; two photos of one sign by
different people differ in twenty or more.
"""

from typing import Final

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from asl_exp.data.images import read_image

THRESHOLD: Final = 6
"""Bits of 64 up to which two images count as near-duplicates."""

_SIDE: Final = 64
_BLOCK: Final = 1024


def perceptual_hash(path: str) -> int:
    """Return the 64-bit hash of an image file, as a signed integer (SQLite knows no other).

    Raises:
        UnreadableImageError: the file cannot be decoded.
    """
    pixels = read_image(
        path, size=_SIDE, resize="squash", interpolation="bilinear", max_megapixels=float("inf")
    )
    bits = imagehash.phash(Image.fromarray(pixels)).hash
    return int(np.packbits(bits).view(">i8")[0])


def near_pairs(hashes: NDArray[np.uint64], threshold: int = THRESHOLD) -> NDArray[np.int64]:
    """Return all pairs (P, 2), first < second, whose hashes differ in at most `threshold` bits."""
    found = [np.empty((0, 2), np.int64)]
    for start in range(0, len(hashes), _BLOCK):
        block = hashes[start : start + _BLOCK]
        distances = np.bitwise_count(block[:, None] ^ hashes[None, start:])
        first, second = np.nonzero(distances <= threshold)
        later = second > first
        found.append(np.stack([first[later], second[later]], 1) + start)
    return np.concatenate(found)


def clusters(n_images: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each image (N,) the smallest index of those it is linked to, directly or not."""
    root = np.arange(n_images)

    def find(index: int) -> int:
        while root[index] != index:
            root[index] = root[root[index]]
            index = int(root[index])
        return index

    for first, second in pairs.tolist():
        one, other = find(first), find(second)
        root[max(one, other)] = min(one, other)
    return np.array([find(index) for index in range(n_images)], np.int64)

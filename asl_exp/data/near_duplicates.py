"""Near-duplicate images: a perceptual hash for each, and clusters of those that are close.

The hash is imagehash's phash with 256 bits. Bits by which the closest images of different people
or recordings differ, over all pairs of a set: 38 between the four Kaggle sessions (3,480 photos),
36 between massey_hgr's five hands on black, 68 between embedded signers. A copy at JPEG quality 50
or at half the size differs in at most 20 bits (99 of 100 photos); one cropped by 3 of 176 pixels
differs in 30 to 60 and is found half of the time. Hashes of 64 bits and difference hashes are no
use: at any threshold that finds copies they join different people.

Groups where the source knows none: clusters of near-duplicate images.

Comparing 87,000 images takes 20 s on one core, so the clusters of a set are kept under the cache
folder, by the digest of its images.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from asl_exp.config.conf_folder import home_expanded
from asl_exp.data.cache_files import unwritable_cache
from asl_exp.data.decode import Geometry, Pixels, read_image
from asl_exp.data.decode_pool import n_cores
from asl_exp.runs.writing import replaced

THRESHOLD: Final = 30
"""Bits of 256 up to which two images count as near-duplicates."""

WORDS: Final = 4
"""64-bit words of a hash."""

Hashes = NDArray[np.uint64]
"""(N, WORDS)."""

_HASH_SIDE: Final = 16
_GEOMETRY: Final = Geometry(4 * _HASH_SIDE, "squash", "bilinear")
_BLOCK: Final = 256
_PREFILTER_WORDS: Final = 2


def small_pixels(path: str) -> Pixels:
    """Return the pixels (64, 64, 3) of which an image file's hash is made.

    Raises:
        UnreadableImageError: the file cannot be decoded.
    """
    return read_image(path, _GEOMETRY, float("inf"))


def hash_of_pixels(pixels: Pixels) -> bytes:
    """Return the 32 bytes of the hash of (H, W, 3)."""
    bits = imagehash.phash(Image.fromarray(pixels), _HASH_SIDE).hash
    return np.packbits(bits).tobytes()


def hashes_of(listed: list[bytes]) -> Hashes:
    """Return (N, WORDS) of N hashes."""
    return np.frombuffer(b"".join(listed), np.uint64).reshape(-1, WORDS)


def near_pairs(hashes: Hashes) -> NDArray[np.int64]:
    """Return all pairs (P, 2), first < second, whose hashes differ in at most THRESHOLD bits.

    Compares every pair: 20 s on one core for 87,000 images, less on more.
    """
    return _of_blocks(_pairs_from, hashes)


def _of_blocks(
    compare: Callable[[Hashes, int], NDArray[np.int64]], hashes: Hashes
) -> NDArray[np.int64]:
    starts = range(0, len(hashes), _BLOCK)
    with ThreadPoolExecutor(n_cores()) as pool:
        found = list(pool.map(partial(compare, hashes), starts))
    return np.concatenate([np.empty((0, 2), np.int64), *found])


def _links_from(hashes: Hashes, start: int) -> NDArray[np.int64]:
    """Return as few pairs as link the images that a block's pairs do.

    A thousand frames of a hand held still are half a million pairs, and a thousand links.
    """
    pairs = _pairs_from(hashes, start) - start
    first = clusters(len(hashes) - start, pairs)
    linked = np.flatnonzero(first != np.arange(len(first)))
    return np.stack([first[linked], linked], 1) + start


def _pairs_from(hashes: Hashes, start: int) -> NDArray[np.int64]:
    """Return the pairs whose first image is in the block that starts there.

    Half of the words rule nearly all pairs out; the rest is compared in full.
    """
    block, others = hashes[start : start + _BLOCK], hashes[start:]
    first, second = np.nonzero(_distances(block, others) <= THRESHOLD)
    later = second > first
    pairs = np.stack([first[later], second[later]], 1) + start
    distance = np.bitwise_count(hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]]).sum(1)
    near: NDArray[np.int64] = pairs[distance <= THRESHOLD]
    return near


def _distances(block: Hashes, others: Hashes) -> NDArray[np.uint8]:
    """Return (B, N) the bits that differ in the first words: never more than in all of them."""
    total = np.zeros((len(block), len(others)), np.uint8)
    for word in range(_PREFILTER_WORDS):
        total += np.bitwise_count(block[:, word, None] ^ others[None, :, word])
    return total


def clusters(n_images: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each image (N,) the smallest index of those it is linked to, directly or not."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (n_images,) * 2)
    _, component = connected_components(links, directed=False)
    _, first = np.unique(component, return_index=True)
    lowest: NDArray[np.int64] = first[component].astype(np.int64)
    return lowest


def near_clusters(hashes: Hashes, digest: str, cache_dir: str) -> NDArray[np.int64]:
    """Return for each image (N,) the first image of its cluster.

    Args:
        hashes: (N, 4).
        digest: of the images' bytes in their order.
        cache_dir: where the answer is kept.
    """
    file = home_expanded(cache_dir) / "near" / f"{digest[:24]}_{THRESHOLD}.npy"
    kept = _kept(file, len(hashes))
    if kept is not None:
        return kept
    found = clusters(len(hashes), _of_blocks(_links_from, hashes))
    _keep(file, found)
    return found


def _kept(file: Path, n_images: int) -> NDArray[np.int64] | None:
    """Return what was kept, if it is whole: the first image of a cluster is its own first."""
    try:
        kept: NDArray[np.int64] = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    rows = np.arange(n_images)
    if kept.shape != rows.shape or kept.dtype != np.int64:
        return None
    whole = ((kept >= 0) & (kept <= rows)).all() and (kept[kept] == kept).all()
    return kept if whole else None


def _keep(file: Path, found: NDArray[np.int64]) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replaced(file) as part, part.open("wb") as opened:
            np.save(opened, found)
    except OSError as error:
        raise unwritable_cache(file, error) from error

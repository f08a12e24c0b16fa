"""Groups where the source knows none: clusters of near-duplicate images.

Comparing 87,000 images takes 20 s on one core, so the clusters of a set are kept under the cache
folder, by the digest of its images.
"""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asl_exp.config.errors import DataError
from asl_exp.data.nearness import THRESHOLD, Hashes, clusters, near_pairs


def near_clusters(hashes: Hashes, digest: str, cache_dir: str) -> NDArray[np.int64]:
    """Return for each image (N,) the first image of its cluster.

    Args:
        hashes: (N, 4).
        digest: of the images' bytes in their order.
        cache_dir: where the answer is kept.
    """
    file = Path(cache_dir).expanduser() / "near" / f"{digest[:24]}_{THRESHOLD}.npy"
    kept = _kept(file, len(hashes))
    if kept is not None:
        return kept
    found = clusters(len(hashes), near_pairs(hashes))
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
    part = file.with_suffix(f".{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as opened:
            np.save(opened, found)
        part.replace(file)
    except OSError as error:
        raise DataError(
            f"data.cache_dir: '{file}' cannot be written: {error.strerror}; make room, or give "
            "another folder with data.cache_dir="
        ) from error
    finally:
        part.unlink(missing_ok=True)

"""What every image looks like: how bright it is, and its perceptual hash.

Files are hashed as for the split, from the file and not from the stored pixels, so that what the
split kept together is what the audit calls alike.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from asl_exp.config.schema import DataConfig
from asl_exp.data.file_facts import gather_facts
from asl_exp.data.letters import Split
from asl_exp.data.near_duplicates import Hashes, hash_of_pixels, hashes_of
from asl_exp.data.sources.listing import is_file_key

_BATCH: Final = 256


@dataclass(frozen=True)
class Looks:
    """What N images look like.

    Attributes:
        hashes: (N, 4) perceptual hashes.
        brightness: (N,) mean of all channels, 0..255.
    """

    hashes: Hashes
    brightness: NDArray[np.float32]


def look_at(splits: dict[str, Split], config: DataConfig, advance: Callable[[int], None]) -> Looks:
    """Read every image of every split, in their order; `advance` hears how many were read."""
    drawn: dict[str, bytes] = {}
    brightness: list[NDArray[np.float32]] = []
    n_read = 0
    for split in splits.values():
        for start in range(0, len(split), _BATCH):
            rows = np.arange(start, min(start + _BATCH, len(split)))
            pixels = split.gather(rows)
            brightness.append(pixels.mean((1, 2, 3), dtype=np.float32))
            named = zip(split.table["path"].iloc[rows], pixels, strict=True)
            drawn |= {path: hash_of_pixels(one) for path, one in named if not is_file_key(path)}
            n_read += len(rows)
            advance(n_read)
    paths = [str(path) for split in splits.values() for path in split.table["path"]]
    return Looks(_hashes(paths, drawn, config), np.concatenate(brightness))


def _hashes(paths: list[str], drawn: dict[str, bytes], config: DataConfig) -> Hashes:
    files = [path for path in paths if path not in drawn]
    facts = gather_facts(
        files,
        cache_dir=config.cache_dir,
        max_megapixels=config.max_megapixels,
        workers=config.workers,
        decoded=True,
    )
    known = dict(zip(files, facts.phash, strict=True))
    listed = [drawn[path] if path in drawn else known[path].tobytes() for path in paths]
    return hashes_of(listed)

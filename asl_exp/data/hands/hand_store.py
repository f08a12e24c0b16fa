"""Stored hands: found once for each image, in parallel processes, kept for all trials.

The bytes of a set of images are (N, 130) float32, or more where the detector looks several times:
the joints, the joints in metres, confidence, left, width and height of each image, and the joints
of the further looks. The name comes from the digests of the images' bytes and of
the detector, so other images, networks or settings are another store; cache_files.py has the rest.
What is found is kept by image as well, so that another choice of classes or sources, and a search
that was killed, look for no hand twice: a row of a database is the 130 numbers under the digests of
the detector and of the image's bytes, with a checksum of its own, for SQLite has none.
"""

import sqlite3
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from asl_exp.config.errors import DataError
from asl_exp.config.schema import DataConfig, HandConfig
from asl_exp.data.cache_files import CacheFile, open_database
from asl_exp.data.decode import READER_VERSION, Pixels, Source, UnreadableImageError, read_upright
from asl_exp.data.decode_pool import for_chunks
from asl_exp.data.hands.finder import FINDER_VERSION, FinderSettings, HandFinder, finder_digest
from asl_exp.data.hands.hand import N_JOINTS, Detector, Floats, Hand, Hands, no_hand, together
from asl_exp.data.hands.model_file import ModelFile, model_file
from asl_exp.data.sources.listing import is_file_key

ENOUGH: Final = 1280
"""Pixels a side that are enough to find a hand in: larger JPEGs are decoded at 1/2, 1/4 or 1/8."""
_DRAWN: Final = 320
"""Side in pixels at which images of the embedded signer are searched."""
_N_JOINT_NUMBERS: Final = 3 * N_JOINTS
_N_NUMBERS: Final = 2 * _N_JOINT_NUMBERS + 4


@dataclass(frozen=True)
class HandSource:
    """Opens the same detector in any process.

    Attributes:
        model: the file of its networks.
    """

    model: ModelFile
    settings: FinderSettings

    @property
    def digest(self) -> str:
        """Of the detector, which need not be opened for it."""
        return finder_digest(self.model, self.settings)

    def stands_for(self, digest: str) -> bool:
        """Tell whether a digest is of this detector, or was of it in a version before."""
        versions = range(1, FINDER_VERSION + 1)
        return digest in {finder_digest(self.model, self.settings, one) for one in versions}

    def open(self) -> Detector:
        """Return the detector; the same one if called again in this process.

        Raises:
            DataError: LiteRT is not installed, or the file holds other networks.
        """
        return _opened(self)


@cache
def _opened(source: HandSource) -> HandFinder:
    return HandFinder(source.model, source.settings)


def hand_source(hand: HandConfig, cache_dir: str) -> HandSource:
    """Return the detector of photos, its file the one given or the cache's, fetched on first use.

    Raises:
        DataError: the file cannot be had, or is another.
    """
    settings = FinderSettings(hand.confidence, hand.look_again)
    return HandSource(model_file(hand.model, cache_dir), settings)


def find_in(detector: Detector, path: Source, max_megapixels: float) -> Hand:
    """Return the hand of one image, in pixels of the image itself.

    Raises:
        UnreadableImageError: the file cannot be decoded.
    """
    pixels, (width, height) = _whole(path, max_megapixels)
    hand = detector.find(pixels)
    if (hand.width, hand.height) == (width, height):
        return hand
    scale = np.array([width / hand.width, height / hand.height, width / hand.width], np.float32)
    return replace(
        hand, joints=hand.joints * scale, looks=hand.looks * scale, width=width, height=height
    )


def _whole(path: Source, max_megapixels: float) -> tuple[Pixels, tuple[int, int]]:
    if not isinstance(path, str) or is_file_key(path):
        return read_upright(path, enough=ENOUGH, max_megapixels=max_megapixels)
    from asl_exp.data.sources import synthetic

    return synthetic.draw(path, _DRAWN), (_DRAWN, _DRAWN)


@dataclass(frozen=True)
class HandStore:
    """The place of the hands of N images, whether found or not.

    Attributes:
        digests: of each image's bytes.
    """

    folder: Path
    paths: Sequence[str]
    digests: Sequence[str]
    source: HandSource

    @property
    def name(self) -> str:
        """The files' name without ending."""
        images = sha256("".join(self.digests).encode()).hexdigest()
        return f"{images[:24]}_{self._detector}"

    @property
    def _detector(self) -> str:
        return f"{self.source.digest[:16]}_{READER_VERSION}"

    @property
    def _n_numbers(self) -> int:
        """Of each image."""
        return _N_NUMBERS + (self.source.settings.n_looks - 1) * _N_JOINT_NUMBERS

    @property
    def file(self) -> CacheFile:
        """Where the bytes are."""
        n_bytes = len(self.paths) * self._n_numbers * np.dtype(np.float32).itemsize
        return CacheFile(self.folder, self.name, "f32", n_bytes, "hands", "choose hand=none")

    def open(self, config: DataConfig) -> Hands:
        """Return the hands, found first where that was not done or the file is damaged.

        An image that cannot be decoded has no hand; the pixel store says why.

        Args:
            config: how images are decoded, and the room there is.

        Raises:
            DataError: no detector, no room, or a folder that cannot be written.
        """
        fill = partial(self._find, config.max_megapixels, config.workers)
        description = self.file.open(fill, limit_gb=config.cache_limit_gb)
        numbers = np.fromfile(self.file.bytes_file, np.float32)
        if len(numbers) != len(self.paths) * self._n_numbers:
            raise DataError(
                f"data.cache_dir: '{self.file.bytes_file}' was cut short while it was in use; run "
                "again, and the hands will be found anew"
            )
        return _hands(numbers.reshape(-1, self._n_numbers), description.sha256)

    def _find(self, max_megapixels: float, workers: int, part: Path) -> dict[str, object]:
        with open_database(self.folder / NAME, _CREATE) as database:
            known = _KnownHands(database, self._detector)
            rows = known.of(self.digests)
            images = dict(zip(self.digests, self.paths, strict=True))
            missing = [(image, path) for image, path in images.items() if image not in rows]
            if missing:
                self.source.open()  # what lacks or is damaged is said once, before processes start
            work = partial(_searched, self.source, max_megapixels)
            for found in for_chunks(work, missing, workers=workers, what="finding hands"):
                known.keep({image: row for image, row, readable in found if readable})
                rows |= {image: row for image, row, _ in found}
        ordered = b"".join(rows[image] for image in self.digests)
        part.write_bytes(ordered)
        numbers = np.frombuffer(ordered, np.float32).reshape(-1, self._n_numbers)
        n_found = int(_hands(numbers, "").found.sum())
        about = {"images": len(self.paths), "found": n_found, "detector": self.source.digest}
        return {**about, "confidence": self.source.settings.confidence}


def _searched(
    source: HandSource, max_megapixels: float, _start: int, images: list[tuple[str, str]]
) -> list[tuple[str, bytes, bool]]:
    """Return digest, numbers and whether it could be read, of each digest and path."""
    detector = source.open()
    hands = []
    for _, path in images:
        try:
            hands.append(find_in(detector, path, max_megapixels))
        except UnreadableImageError:
            hands.append(no_hand(0, 0, source.settings.n_looks))
    rows = _numbers(together(hands))
    return [
        (image, row.tobytes(), hand.width > 0)
        for (image, _), row, hand in zip(images, rows, hands, strict=True)
    ]


def _numbers(hands: Hands) -> Floats:
    """Return (N, 130 or more) contiguous."""
    n_hands = len(hands)
    assert hands.looks is not None
    columns = (
        hands.joints.reshape(n_hands, -1),
        hands.metres.reshape(n_hands, -1),
        hands.confidence[:, None],
        hands.left[:, None],
        hands.sizes.astype(np.float32),
        hands.looks.reshape(n_hands, -1),
    )
    return np.ascontiguousarray(np.hstack(columns), np.float32)


def _hands(numbers: NDArray[np.float32], digest: str) -> Hands:
    ends = [_N_JOINT_NUMBERS, 2 * _N_JOINT_NUMBERS, _N_NUMBERS]
    joints, metres, rest, looks = np.split(numbers, ends, axis=1)
    return Hands(
        joints=joints.reshape(-1, N_JOINTS, 3),
        metres=metres.reshape(-1, N_JOINTS, 3),
        confidence=rest[:, 0],
        left=rest[:, 1],
        sizes=rest[:, 2:].astype(np.int32),
        digest=digest,
        looks=looks.reshape(len(looks), -1, N_JOINTS, 3) if looks.size else None,
    )


NAME: Final = "by_image.sqlite"

_CREATE: Final = """CREATE TABLE IF NOT EXISTS hands_1 (
    detector TEXT, image TEXT, numbers BLOB, checksum INTEGER, PRIMARY KEY (detector, image))"""
_FIND: Final = "SELECT numbers, checksum FROM hands_1 WHERE detector = ? AND image = ?"
_KEEP: Final = "INSERT OR REPLACE INTO hands_1 VALUES (?, ?, ?, ?)"


class _KnownHands:
    """The hands that one detector found."""

    def __init__(self, database: sqlite3.Connection, detector: str) -> None:
        self._database, self._detector = database, detector

    def of(self, images: Sequence[str]) -> dict[str, bytes]:
        """Return image digest to numbers, of those that are known."""
        known = {}
        for image in dict.fromkeys(images):
            row = self._database.execute(_FIND, (self._detector, image)).fetchone()
            if row is not None and zlib.crc32(row[0]) == row[1]:
                known[image] = bytes(row[0])
        return known

    def keep(self, found: Mapping[str, bytes]) -> None:
        """Keep the numbers of some images, at once: a search that is killed goes on from there."""
        with self._database:
            self._database.executemany(
                _KEEP,
                [(self._detector, image, row, zlib.crc32(row)) for image, row in found.items()],
            )

"""Hands by image: a small database of what each detector found, whatever set the image was in.

A row is the 130 numbers of hand_store.py under the digests of the detector and of the image's
bytes, with a checksum of its own: SQLite has none. Losing the database costs time, never
correctness.
"""

import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from asl_exp.data.cache_files import open_database

NAME: Final = "by_image.sqlite"

_CREATE: Final = """CREATE TABLE IF NOT EXISTS hands_1 (
    detector TEXT, image TEXT, numbers BLOB, checksum INTEGER, PRIMARY KEY (detector, image))"""
_FIND: Final = "SELECT numbers, checksum FROM hands_1 WHERE detector = ? AND image = ?"
_KEEP: Final = "INSERT OR REPLACE INTO hands_1 VALUES (?, ?, ?, ?)"


class KnownHands:
    """The hands that one detector found.

    Args:
        database: open.
        detector: its digest.
    """

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


@contextmanager
def known_hands(folder: Path, detector: str) -> Iterator[KnownHands]:
    """Open what is known, made on first use; a damaged database is begun anew.

    Raises:
        DataError: the folder cannot be written.
    """
    with open_database(folder / NAME, _CREATE) as database:
        yield KnownHands(database, detector)

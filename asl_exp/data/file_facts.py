"""What is known of each image file: digest, size, perceptual hash, tiny copy, or its fault.

Kept in a small database under the cache folder, by path, size and time of change, so that an
unchanged set of 87,000 files is recognised without reading them again. Losing the database costs
time, never correctness.
"""

import hashlib
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from asl_exp.config.conf_folder import home_expanded
from asl_exp.config.schema import DataConfig
from asl_exp.data.cache_files import locked, open_database
from asl_exp.data.decode import UnreadableImageError, read_size, too_large
from asl_exp.data.decode_pool import for_chunks
from asl_exp.data.near_duplicates import WORDS, Hashes, hash_of_pixels, hashes_of, small_pixels
from asl_exp.data.recordings import SIDE, Backgrounds, made_tiny

_VERSION: Final = 3
"""Raise it when any fact of an unchanged file would come out otherwise."""

_TABLE: Final = f"facts_{_VERSION}"
_CREATE: Final = f"""CREATE TABLE IF NOT EXISTS {_TABLE} (
    path TEXT PRIMARY KEY, bytes INTEGER, changed_ns INTEGER,
    sha256 TEXT, width INTEGER, height INTEGER, phash BLOB, tiny BLOB, fault TEXT)"""
_FIND: Final = f"""SELECT sha256, width, height, phash, tiny, fault FROM {_TABLE}
    WHERE path = ? AND bytes = ? AND changed_ns = ?"""
_KEEP: Final = f"INSERT OR REPLACE INTO {_TABLE} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class Fact:
    """What is known of one file.

    Attributes:
        sha256: of its bytes, hexadecimal.
        width, height: in pixels, as stored; 0 where the header cannot be read.
        phash: perceptual hash of 32 bytes; None where it was not asked for.
        tiny: the image at SIDE x SIDE pixels, RGB; None where it was not asked for.
        fault: why the image cannot be read; None where it can, as far as was looked.
    """

    sha256: str
    width: int
    height: int
    phash: bytes | None
    tiny: bytes | None
    fault: str | None


@dataclass(frozen=True)
class Facts:
    """Facts of N images, in their order; see Fact."""

    sha256: list[str]
    width: NDArray[np.int32]
    height: NDArray[np.int32]
    phash: Hashes
    tiny: Backgrounds
    fault: list[str]


_NO_HASH: Final = bytes(8 * WORDS)
_NO_TINY: Final = bytes(SIDE * SIDE * 3)

Stamp = tuple[int, int]
"""Bytes, and nanoseconds of the last change."""

_KEPT_APART_S: Final = 1.0
"""A commit waits for the disk, 35 ms a time; what is lost with a kill is read again."""

Examination = Callable[[int, list[str]], list[tuple[str, Stamp, Fact]]]


def gather_facts(paths: Sequence[str], config: DataConfig, *, decoded: bool) -> Facts:
    """Return the facts of every path, opening only files that are new or changed.

    With `decoded`, each image is decoded once, for its perceptual hash and its background, and to
    know that it can be.
    """
    file = home_expanded(config.cache_dir) / "facts.sqlite"
    work = partial(_examined, config.max_megapixels, decoded)
    with locked(file.with_suffix(".lock")), open_database(file, _CREATE) as database:
        facts = _known(database, paths, decoded)
        unknown = [path for path, fact in zip(paths, facts, strict=True) if fact is None]
        found = _find_out(database, unknown, work, config.workers)
    pairs = zip(paths, facts, strict=True)
    return _columns([fact or found[path] for path, fact in pairs], config.max_megapixels)


def _find_out(
    database: sqlite3.Connection, paths: list[str], work: Examination, workers: int
) -> dict[str, Fact]:
    """Examine the files and keep what is found, second by second."""
    found: dict[str, Fact] = {}
    if paths:
        kept = time.monotonic()
        for rows in for_chunks(work, paths, workers=workers, what="reading images"):
            database.executemany(_KEEP, [_line(*row) for row in rows])
            found.update((path, fact) for path, _, fact in rows)
            if time.monotonic() - kept > _KEPT_APART_S:
                database.commit()
                kept = time.monotonic()
        database.commit()
    return found


def _key(path: str) -> str:
    return str(Path(path).absolute())


def _stamp(path: str) -> Stamp:
    try:
        status = Path(path).stat()
    except OSError:
        return (-1, -1)
    return (status.st_size, status.st_mtime_ns)


def _known(database: sqlite3.Connection, paths: Sequence[str], decoded: bool) -> list[Fact | None]:
    facts: list[Fact | None] = []
    for path in paths:
        row = database.execute(_FIND, (_key(path), *_stamp(path))).fetchone()
        fact = Fact(*row) if row else None
        enough = fact is not None and (not decoded or fact.phash is not None or fact.fault)
        facts.append(fact if enough else None)
    return facts


def _examined(
    max_megapixels: float, decoded: bool, _start: int, paths: list[str]
) -> list[tuple[str, Stamp, Fact]]:
    # The stamp is taken before the bytes are read: a change in between is seen the next time.
    return [(path, _stamp(path), _examine(path, max_megapixels, decoded)) for path in paths]


def _examine(path: str, max_megapixels: float, decoded: bool) -> Fact:
    digest, width, height = "", 0, 0
    try:
        width, height = read_size(path)
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if not decoded or too_large(width, height, max_megapixels):
            return Fact(digest, width, height, None, None, None)
        pixels = small_pixels(path)
        return Fact(digest, width, height, hash_of_pixels(pixels), made_tiny(pixels), None)
    except UnreadableImageError as error:
        return Fact(digest, width, height, None, None, error.reason)
    except OSError as error:
        return Fact(digest, width, height, None, None, (error.strerror or str(error)).lower())


def _line(path: str, stamp: Stamp, fact: Fact) -> tuple[object, ...]:
    return (
        _key(path), *stamp,
        fact.sha256, fact.width, fact.height, fact.phash, fact.tiny, fact.fault,
    )  # fmt: skip


def _columns(facts: list[Fact], max_megapixels: float) -> Facts:
    return Facts(
        sha256=[fact.sha256 for fact in facts],
        width=np.array([fact.width for fact in facts], np.int32),
        height=np.array([fact.height for fact in facts], np.int32),
        phash=hashes_of([fact.phash or _NO_HASH for fact in facts]),
        tiny=np.frombuffer(b"".join([fact.tiny or _NO_TINY for fact in facts]), np.uint8).reshape(
            -1, SIDE, SIDE, 3
        ),
        fault=[too_large(f.width, f.height, max_megapixels) or f.fault or "" for f in facts],
    )

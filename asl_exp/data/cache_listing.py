"""The cache folder as people see it: what is kept, how large, when last used; and its removal.

Everything in it can be made again. Only files that cache_files.py wrote are ever touched; a process
that has one open goes on reading it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout
from rich.table import Table

from asl_exp.config import readable
from asl_exp.config.errors import UserError, nearest
from asl_exp.data.cache_files import complete_files, remove

KINDS: Final = ("pixels", "features", "hands")
"""The folders of the cache folder."""


@dataclass(frozen=True)
class Entry:
    """One cache file.

    Attributes:
        kind: of KINDS.
        about: what the bytes are, from its description.
        last_use: seconds since 1970.
    """

    file: Path
    kind: str
    about: dict[str, Any]
    n_bytes: int
    last_use: float


def asked_kinds(words: Sequence[str]) -> tuple[str, ...]:
    """Return the kinds that ``cache WORDS`` clears, none where it only lists.

    Raises:
        UserError: other words.
    """
    if not words:
        return ()
    action, *kinds = words
    if action != "clear" or len(kinds) > 1 or not set(kinds) <= set(KINDS):
        near = nearest(words[-1], ["clear", *KINDS])
        raise UserError(
            f"cache {' '.join(words)}: no such command{near}; allowed: cache, cache clear, "
            "cache clear pixels, cache clear features, cache clear hands"
        )
    return tuple(kinds) or KINDS


def entries(cache_dir: Path) -> list[Entry]:
    """Return the complete files of a cache folder, the oldest use first."""
    found = []
    for file in complete_files(cache_dir):
        description = file.with_suffix(".json")
        try:
            about = json.loads(description.read_text("utf-8"))["about"]
            size, last_use = file.stat().st_size, description.stat().st_mtime
        except (OSError, ValueError, KeyError, TypeError):
            continue  # removed by another process in between, or damaged: made anew when needed
        if isinstance(about, dict) and file.parent.name in KINDS:
            found.append(Entry(file, file.parent.name, about, size, last_use))
    return found


def clear(cache_dir: Path, kinds: Sequence[str]) -> tuple[int, int]:
    """Remove the files of some kinds, and what killed processes left; return number, bytes."""
    chosen = [entry for entry in entries(cache_dir) if entry.kind in kinds]
    for entry in chosen:
        remove(entry.file)
    n_bytes = sum(entry.n_bytes for entry in chosen)
    left = [part for kind in kinds for part in (cache_dir / kind).glob("*.part") if _left(part)]
    left += [database for kind in kinds for database in (cache_dir / kind).glob("*.sqlite")]
    for part in left:
        n_bytes += part.stat().st_size
        part.unlink(missing_ok=True)
    return len(chosen) + len(left), n_bytes


def _left(part: Path) -> bool:
    """Return whether no process is writing this file: its lock is free."""
    lock = part.with_name(part.name.split(".")[0] + ".lock")
    try:
        with FileLock(lock, timeout=0):
            return True
    except Timeout:
        return False


def table(found: Sequence[Entry]) -> Table:
    """Return what is kept as a table; the views of one set of images share a row."""
    shown = Table()
    shown.add_column("kind", no_wrap=True)
    shown.add_column("of")
    shown.add_column("size", justify="right", no_wrap=True)
    shown.add_column("last use", no_wrap=True)
    for entries in _by_set(found):
        when = datetime.fromtimestamp(max(one.last_use for one in entries))
        size = readable.size(sum(one.n_bytes for one in entries))
        shown.add_row(entries[0].kind, _of(entries), size, when.strftime("%Y-%m-%d %H:%M"))
    return shown


def total(found: Sequence[Entry], cache_dir: Path, limit_gb: float) -> str:
    """Say how much is kept, against the limit."""
    used = readable.size(sum(entry.n_bytes for entry in found))
    return f"{used} of data.cache_limit_gb={limit_gb:g} in {cache_dir}"


def _by_set(found: Sequence[Entry]) -> list[list[Entry]]:
    """Put files together that differ in the view alone."""
    sets: dict[str, list[Entry]] = {}
    for entry in found:
        others = {key: value for key, value in entry.about.items() if key != "view"}
        alone = "" if entry.kind == "features" else entry.file.stem
        sets.setdefault(f"{alone}{json.dumps(others, sort_keys=True)}", []).append(entry)
    return list(sets.values())


def _of(entries: Sequence[Entry]) -> str:
    """Say what files are of; an older version's description may lack a key."""
    about = entries[0].about
    if entries[0].kind == "pixels":
        n_images, height, width = (about.get("shape") or ["?"] * 3)[:3]
        return f"{_count(n_images)} images, {width} x {height} pixels"
    if entries[0].kind == "hands":
        return (
            f"{_count(about.get('found', '?'))} found in {_count(about.get('images', '?'))} images"
        )
    place, *shape = about.get("cut") or [""]
    return (
        f"{about.get('backbone', '?')}{f' below {place}' if place else ''}: "
        f"{_count(about.get('images', '?'))} images"
        f"{f' x {len(entries)} augmented' if about.get('augmentation') else ''}, "
        f"{' x '.join(map(_count, shape)) or '?'} numbers each"
    )


def _count(number: object) -> str:
    return f"{number:,}" if isinstance(number, int) else str(number)

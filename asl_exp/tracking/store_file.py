"""The file of the local MLflow store, read without MLflow: whether it can be used, and its place.

MLflow writes into it where artifacts lie, as whole paths. A folder of runs that was renamed, moved
or copied takes its artifacts along, so the paths are put right before anything is written.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from asl_exp.config.errors import UserError
from asl_exp.config.names import Tag
from asl_exp.runs.writing import unwritable

DATABASE: Final = "mlflow.db"
ARTIFACTS: Final = "mlartifacts"

_BUSY_S: Final = 10.0
"""How long other processes may write; each of ours takes milliseconds."""

_CHECKED_BYTES: Final = 20_000_000
"""A store up to this size is looked through for damaged pages: 0.1 s; 59 MB took 0.26 s."""

_PLACES: Final = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}
"""Table to the columns in which MLflow keeps whole paths."""


def check_store(runs_dir: Path) -> None:
    """Refuse a store that no run could be recorded in; one that is not there yet is right.

    Raises:
        UserError: with the way on.
    """
    file = runs_dir / DATABASE
    if not os.path.lexists(file):
        return
    if not file.is_file():
        what = "a folder" if file.is_dir() else "no file"
        raise UserError(f"{file}: is {what}, but runs are recorded in a file there; {_away(file)}")
    try:
        with closing(_opened(file)) as database:
            found = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
            if found:
                if file.stat().st_size <= _CHECKED_BYTES:
                    (whole,) = database.execute("PRAGMA quick_check(1)").fetchone()
                    if whole != "ok":
                        raise sqlite3.DatabaseError(str(whole).splitlines()[-1])
                database.execute("BEGIN IMMEDIATE")
                database.rollback()
    except sqlite3.Error as error:
        raise UserError(f"{file}: {_told(error, file)}") from None
    if found and not {"experiments", "runs"} <= found:
        raise UserError(f"{file}: is a database, but none of MLflow's; {_away(file)}")


def require_store(runs_dir: Path) -> Path:
    """Return a folder in which runs are recorded, as a whole path.

    Raises:
        UserError: none are.
    """
    if not (runs_dir / DATABASE).is_file():
        raise UserError(
            f"runs_dir: no runs are recorded in '{runs_dir}' (it has no {DATABASE}); give the "
            "folder of runs, runs_dir=FOLDER"
        )
    return runs_dir.resolve()


def all_ended_here(runs_dir: Path) -> bool:
    """Return whether no recorded run still runs, and none was to be delivered anywhere.

    False also where the file does not tell: whoever asks MLflow then gets the reason.
    """
    asked = (
        "SELECT 1 FROM runs WHERE status = 'RUNNING' AND lifecycle_stage = 'active' "
        f"UNION ALL SELECT 1 FROM tags WHERE key = '{Tag.REPLICA}' AND value LIKE 'http%' LIMIT 1"
    )
    try:
        with closing(_opened(runs_dir / DATABASE)) as database:
            return database.execute(asked).fetchone() is None
    except sqlite3.Error:
        return False


def _opened(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(file, timeout=_BUSY_S, isolation_level=None)


def _told(error: sqlite3.Error, file: Path) -> str:
    if "locked" in str(error):
        return (
            f"another program has held it locked for more than {_BUSY_S:.0f} s; end that program, "
            "or give another folder of runs, runs_dir=FOLDER"
        )
    if reason := unwritable(error):
        return f"cannot be written ({reason}); give a folder that you may write, runs_dir=FOLDER"
    return f"is damaged, or no database of MLflow ({error}); {_away(file)}"


def _away(file: Path) -> str:
    return (
        f"move it away (mv {file} {file}.damaged) and begin with a new one: the run folders keep "
        "what earlier runs came to"
    )


def repoint_store(runs_dir: Path) -> Path | None:
    """Put the paths in a moved store right; return where it was, None where it has not moved."""
    file, here = runs_dir / DATABASE, runs_dir.resolve()
    with closing(_opened(file)) as database:
        there = [old for old in _roots(database) if not _same(old, here)]
        if not there:
            return None
        database.execute("BEGIN IMMEDIATE")
        for old in there:
            _rewrite(database, old, here)
        database.execute("COMMIT")
        return there[0]


def local_path(uri: str) -> Path:
    """Return the path that an address of artifacts means, a file: address or a plain one."""
    return Path(unquote(urlsplit(uri).path)) if uri.startswith("file:") else Path(uri)


def _roots(database: sqlite3.Connection) -> Iterator[Path]:
    """Yield each folder of runs that an experiment's artifacts are said to lie in."""
    found = set()
    for (location,) in database.execute("SELECT artifact_location FROM experiments"):
        path = local_path(str(location or ""))
        if path.is_absolute() and path.parent.name == ARTIFACTS:
            found.add(path.parent.parent)
    yield from sorted(found)


def _same(one: Path, other: Path) -> bool:
    try:
        return one == other or one.samefile(other)
    except OSError:
        return False


def _rewrite(database: sqlite3.Connection, old: Path, new: Path) -> None:
    """Replace one folder's path by another's, in addresses and in what tags say."""
    before, after = (f"{path.as_uri()}/{ARTIFACTS}/" for path in (old, new))
    for table, columns in _PLACES.items():
        for column in columns:
            database.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                f"WHERE substr({column}, 1, ?) = ?",
                (after, len(before) + 1, len(before), before),
            )
    named = f"{old}/"
    database.execute(
        "UPDATE tags SET value = ? || substr(value, ?) WHERE key = ? AND substr(value, 1, ?) = ?",
        (f"{new}/", len(named) + 1, Tag.RUN_FOLDER, len(named), named),
    )
    database.execute(
        "UPDATE tags SET value = replace(value, ?, ?) WHERE key = 'mlflow.note.content'",
        (f"`{named}", f"`{new}/"),
    )

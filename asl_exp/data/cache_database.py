"""A database of the cache: what it holds can be found out again, so a damaged one is deleted."""

import sqlite3
from pathlib import Path


def open_database(file: Path, create: str) -> sqlite3.Connection:
    """Open a database, made on first use; a damaged one is begun anew.

    Args:
        file: of the database, in a folder that exists.
        create: the statement that makes its table where there is none.

    Raises:
        sqlite3.Error: it cannot be opened or written: locked, no room, no right.
    """
    try:
        return _opened(file, create)
    except sqlite3.OperationalError:  # nothing of it is damaged
        raise
    except sqlite3.DatabaseError:
        file.unlink(missing_ok=True)
        return _opened(file, create)


def _opened(file: Path, create: str) -> sqlite3.Connection:
    database = sqlite3.connect(file, timeout=60)
    try:
        database.execute(create)
        if database.execute("PRAGMA quick_check").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("damaged")
    except sqlite3.Error:
        database.close()
        raise
    return database

"""Remembers what has been delivered: for each local run and replica, what the replica holds.

Kept beside the local store, in ``outbox/``. Losing it costs time, not data: the replica's run
carries the local run's id, so it is found again and completed. It keeps SQLite's default journal:
a faster one breaks where several machines share a folder.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from asl_exp.runs.run_folder import locked

FOLDER: Final = "outbox"
Kind = Literal["param", "tag", "metric", "input", "artifact", "refused", "status"]

NOTHING_LEFT: Final = (
    "nothing is left to deliver, by what was noted here; sync all asks the server as well"
)

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS deliveries (
    run_id TEXT, address TEXT, replica_run_id TEXT, doubtful INTEGER DEFAULT 0, settled TEXT,
    PRIMARY KEY (run_id, address));
CREATE TABLE IF NOT EXISTS items (
    run_id TEXT, address TEXT, kind TEXT, key TEXT, mark TEXT,
    PRIMARY KEY (run_id, address, kind, key));
"""
_BUSY_S: Final = 30.0  # for other processes that write, each for milliseconds


@dataclass(frozen=True)
class Entry:
    """How far one run's delivery to one replica is.

    Attributes:
        doubtful: a call had no answer, so the replica may hold more than is written here.
        settled: fingerprint of the ended run that the replica holds whole; None before.
    """

    run_id: str
    address: str
    replica_run_id: str | None = None
    doubtful: bool = False
    settled: str | None = None


class Ledger:
    """A SQLite file that any number of processes write to; each statement stands for itself."""

    def __init__(self, runs_dir: Path) -> None:
        self.folder = runs_dir / FOLDER
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._make()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            self._file.replace(self._file.with_suffix(".damaged"))
            self._make()

    @property
    def _file(self) -> Path:
        return self.folder / "ledger.db"

    def _make(self) -> None:
        with self._open() as database:
            database.executescript(_TABLES)

    def claim(self, run_id: str) -> AbstractContextManager[bool]:
        """Let one process deliver a run at a time; False where another is at it."""
        return locked(self.folder / f"{run_id}.lock")

    def entry(self, run_id: str, address: str) -> Entry:
        """Return how far a delivery is; one that has not begun is no exception."""
        found = self.entries("run_id = ? AND address = ?", run_id, address)
        return found[0] if found else Entry(run_id, address)

    def entries(self, where: str = "TRUE", *values: str) -> list[Entry]:
        """Return the deliveries of which a condition on their columns is true."""
        columns = "run_id, address, replica_run_id, doubtful, settled"
        with self._open() as database:
            rows = database.execute(f"SELECT {columns} FROM deliveries WHERE {where}", values)
            return [Entry(i, a, there, bool(d), s) for i, a, there, d, s in rows]

    def ask(self, run_id: str, address: str) -> None:
        """Write that a run is to be delivered, if that is new."""
        with self._open() as database:
            database.execute(
                "INSERT OR IGNORE INTO deliveries (run_id, address) VALUES (?, ?)",
                (run_id, address),
            )

    def begin(self, run_id: str, address: str, replica_run_id: str) -> None:
        """Write which run of the replica a local run is."""
        self._set(run_id, address, "replica_run_id", replica_run_id)

    def doubt(self, run_id: str, address: str, doubtful: bool) -> None:
        """Write before a call whose answer may be lost, and after it has come."""
        self._set(run_id, address, "doubtful", int(doubtful))

    def settle(self, run_id: str, address: str, fingerprint: str | None) -> None:
        """Write that the replica holds all of an ended run, or, with None, no longer."""
        self._set(run_id, address, "settled", fingerprint)

    def items(self, run_id: str, address: str, kind: Kind) -> dict[str, str]:
        """Return key to mark of what has been delivered."""
        with self._open() as database:
            rows = database.execute(
                "SELECT key, mark FROM items WHERE run_id = ? AND address = ? AND kind = ?",
                (run_id, address, kind),
            )
            return {str(key): str(mark) for key, mark in rows}

    def refusing(self, address: str) -> list[str]:
        """Return the runs of which a replica refused something."""
        with self._open() as database:
            return [
                str(row[0])
                for row in database.execute(
                    "SELECT DISTINCT run_id FROM items WHERE address = ? AND kind = 'refused'",
                    (address,),
                )
            ]

    def note(self, run_id: str, address: str, kind: Kind, marks: Mapping[str, str]) -> None:
        """Write what has been delivered, after the answer."""
        with self._open() as database:
            database.executemany(
                "INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?, ?)",
                [(run_id, address, kind, key, mark) for key, mark in marks.items()],
            )

    def drop(self, run_id: str, address: str, kind: Kind, *keys: str) -> None:
        """Forget some things, so that they count as not delivered."""
        with self._open() as database:
            database.executemany(
                "DELETE FROM items WHERE run_id = ? AND address = ? AND kind = ? AND key = ?",
                [(run_id, address, kind, key) for key in keys],
            )

    def forget(self, run_id: str, address: str) -> None:
        """Forget all of a delivery: the replica has lost it."""
        with self._open() as database:
            for table in ("deliveries", "items"):
                database.execute(
                    f"DELETE FROM {table} WHERE run_id = ? AND address = ?", (run_id, address)
                )

    def _set(self, run_id: str, address: str, column: str, value: object) -> None:
        with self._open() as database:
            database.execute(
                f"INSERT INTO deliveries (run_id, address, {column}) VALUES (?, ?, ?) "
                f"ON CONFLICT (run_id, address) DO UPDATE SET {column} = excluded.{column}",
                (run_id, address, value),
            )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        database = sqlite3.connect(self._file, timeout=_BUSY_S)
        try:
            with database:
                yield database
        finally:
            database.close()

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
        with self.open() as database:
            database.executescript(_TABLES)

    def claim(self, run_id: str) -> AbstractContextManager[bool]:
        """Let one process deliver a run at a time; False where another is at it."""
        return locked(self.folder / f"{run_id}.lock")

    def of(self, run_id: str, address: str) -> "Account":
        """Return what is written of one run and one replica."""
        return Account(self, run_id, address)

    def entries(self, where: str = "TRUE", *values: str) -> list[Entry]:
        """Return the deliveries of which a condition on their columns is true."""
        columns = "run_id, address, replica_run_id, doubtful, settled"
        with self.open() as database:
            rows = database.execute(f"SELECT {columns} FROM deliveries WHERE {where}", values)
            return [Entry(i, a, there, bool(d), s) for i, a, there, d, s in rows]

    def refusing(self, address: str) -> list[str]:
        """Return the runs of which a replica refused something."""
        with self.open() as database:
            return [
                str(row[0])
                for row in database.execute(
                    "SELECT DISTINCT run_id FROM items WHERE address = ? AND kind = 'refused'",
                    (address,),
                )
            ]

    @contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        """Open the file for one statement, which is written when the block ends well."""
        database = sqlite3.connect(self._file, timeout=_BUSY_S)
        try:
            with database:
                yield database
        finally:
            database.close()


@dataclass(frozen=True)
class Account:
    """What one replica was given of one run."""

    ledger: Ledger
    run_id: str
    address: str

    def entry(self) -> Entry:
        """Return how far the delivery is; one that has not begun is no exception."""
        found = self.ledger.entries("run_id = ? AND address = ?", self.run_id, self.address)
        return found[0] if found else Entry(self.run_id, self.address)

    def ask(self) -> None:
        """Write that the run is to be delivered, if that is new."""
        with self.ledger.open() as database:
            database.execute(
                "INSERT OR IGNORE INTO deliveries (run_id, address) VALUES (?, ?)",
                (self.run_id, self.address),
            )

    def begin(self, replica_run_id: str) -> None:
        """Write which run of the replica the local run is."""
        self._set("replica_run_id", replica_run_id)

    def doubt(self, doubtful: bool) -> None:
        """Write before a call whose answer may be lost, and after it has come."""
        self._set("doubtful", int(doubtful))

    def settle(self, fingerprint: str | None) -> None:
        """Write that the replica holds all of an ended run, or, with None, no longer."""
        self._set("settled", fingerprint)

    def items(self, kind: Kind) -> dict[str, str]:
        """Return key to mark of what has been delivered."""
        with self.ledger.open() as database:
            rows = database.execute(
                "SELECT key, mark FROM items WHERE run_id = ? AND address = ? AND kind = ?",
                (self.run_id, self.address, kind),
            )
            return {str(key): str(mark) for key, mark in rows}

    def note(self, kind: Kind, marks: Mapping[str, str]) -> None:
        """Write what has been delivered, after the answer."""
        with self.ledger.open() as database:
            database.executemany(
                "INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?, ?)",
                [(self.run_id, self.address, kind, key, mark) for key, mark in marks.items()],
            )

    def drop(self, kind: Kind, *keys: str) -> None:
        """Forget some things, so that they count as not delivered."""
        with self.ledger.open() as database:
            database.executemany(
                "DELETE FROM items WHERE run_id = ? AND address = ? AND kind = ? AND key = ?",
                [(self.run_id, self.address, kind, key) for key in keys],
            )

    def forget(self) -> None:
        """Forget all of the delivery: the replica has lost it."""
        with self.ledger.open() as database:
            for table in ("deliveries", "items"):
                database.execute(
                    f"DELETE FROM {table} WHERE run_id = ? AND address = ?",
                    (self.run_id, self.address),
                )

    def _set(self, column: str, value: object) -> None:
        with self.ledger.open() as database:
            database.execute(
                f"INSERT INTO deliveries (run_id, address, {column}) VALUES (?, ?, ?) "
                f"ON CONFLICT (run_id, address) DO UPDATE SET {column} = excluded.{column}",
                (self.run_id, self.address, value),
            )

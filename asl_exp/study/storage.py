"""Opens what a study is kept in, and gives the lock under which its trials change hands.

Three kinds: an SQLite file, a journal file, a PostgreSQL server. Whatever keeps one from being
used is said in one sentence. Optuna's own claim of a trial is not atomic on SQLite (it reads, then
writes), hence the lock.
"""

import hashlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import optuna
from filelock import FileLock
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import SQLAlchemyError

from asl_exp.compat.optuna import cached, calling
from asl_exp.config.conf_folder import home_expanded
from asl_exp.config.errors import RunError, UserError, first_line
from asl_exp.config.process_setup import signals_deferred
from asl_exp.config.redact import without_login

_PROBE_S = 5
"""How long a storage may take to answer at the start: long for a server far away, short for someone
who mistyped its address."""

_BUSY_S = 60
"""How long one agent waits for others that write to the same file: a write takes milliseconds, so
this is beyond a queue of hundreds, where SQLite's own 5 s are not."""


LOST = (optuna.exceptions.StorageInternalError, SQLAlchemyError)
"""What is raised where a storage that was opened cannot be reached any more."""

_PAUSES_S = (1, 2, 4, 8, 16, 30, 60, 60, 60)
"""Between tries to reach it, 4 minutes in all: a server that is restarted is back by then, and
giving up would lose a trial that took longer."""

T = TypeVar("T")


@signals_deferred()
def _whole(attempt: Callable[[], T]) -> T:
    """Hold signals back: one inside would come out as an error of the storage, and be lost."""
    return attempt()


def _patiently(attempt: Callable[[], T]) -> T:
    """Try again for some minutes while the storage is out of reach: a trial took longer."""
    for pause_s in _PAUSES_S:
        try:
            return _whole(attempt)
        except LOST:
            time.sleep(pause_s)
    return _whole(attempt)


def lost(error: Exception) -> str:
    """Return what to say where even patience did not help."""
    return (
        f"sweep.storage: is out of reach ({first_line(error.__cause__ or error)}); the "
        "same command continues the study once it is back"
    )


@dataclass(frozen=True)
class Store:
    """An opened storage.

    Attributes:
        url: as the user gave it.
        storage: Optuna's; calls to a server are tried again for some minutes.
        at_once: the same, where a call that fails is given up.
        uncached: the same, which reads every trial anew.
        file: None for a server.
        engine: of a database; None for a journal.
        mark: tells the file that was opened from another in its place.
        damage: says what is wrong with what the file holds; None where nothing is.
    """

    url: str
    storage: BaseStorage
    at_once: BaseStorage
    uncached: BaseStorage
    file: Path | None = None
    engine: Engine | None = None
    mark: tuple[int, int] | None = None
    damage: Callable[[], str | None] = lambda: None

    def require_there(self) -> None:
        """Refuse to go on in a file that was deleted, replaced or written over since it was opened.

        A deleted file can be read and written as long as it is open, and is gone afterwards; of one
        that was written over, what stands in the write-ahead log hides the loss until the end.

        Raises:
            RunError: it was.
        """
        if self.file is None:
            return
        reason = self.damage() if _mark(self.file) == self.mark else ""
        if reason is None:
            return
        raise RunError(
            f"sweep.storage: {self.file} was deleted, replaced or damaged while the study ran"
            f"{f' ({reason})' if reason else ''}, so what it has tried is not kept there; the run "
            "folders and, as far as it could be read, the study's table of trials are; put the "
            "file back and the same command goes on, without it the command begins the study anew"
        )

    @contextmanager
    def lock(self) -> Iterator[Callable[[], bool]]:
        """Hold the study's trials: one process at a time claims, gives up or finishes one.

        The system frees the lock of a process that dies, a server that of a lost connection.

        Yields:
            what asks whether the lock is held still.
        """
        if self.file is not None:
            self.require_there()
            trials_lock = FileLock(f"{self.file}.trials_lock")
            try:
                trials_lock.acquire()
            except OSError as error:
                raise RunError(lost(error)) from None
            try:
                yield lambda: True
            finally:
                trials_lock.release()
        else:
            with self._server_lock() as held:
                yield held

    @contextmanager
    def _server_lock(self) -> Iterator[Callable[[], bool]]:
        connection = _patiently(self._locked)

        def held() -> bool:
            try:
                _whole(lambda: connection.execute(text("SELECT 1")))
            except LOST:
                return False
            return True

        try:
            yield held
        finally:
            with suppress(*LOST):  # the server frees the lock of a connection that is gone
                connection.execute(text("SELECT pg_advisory_unlock(7240185)"))
            connection.close()

    def _locked(self) -> Connection:
        assert self.engine is not None
        connection = self.engine.connect()
        connection.execute(text("SELECT pg_advisory_lock(7240185)"))
        return connection


def open_store(url: str) -> Store:
    """Open a storage, made on first use.

    Raises:
        UserError: it cannot be reached, is locked, is no storage, or is of another Optuna.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if url.startswith("sqlite:///"):
        return _open_sqlite(url)
    if url.startswith("journal:"):
        return _open_journal(url)
    server = _open_server(url)
    at_once, uncached = calling(cached(server), _whole), calling(server, _patiently)
    return Store(url, calling(at_once, _patiently), at_once, uncached, engine=server.engine)


def _open_sqlite(url: str) -> Store:
    file = _file(url, "sqlite:///")
    try:
        with FileLock(f"{file}.trials_lock"):
            _probe_sqlite(file)
            storage = _open_tables(url, f"sqlite:///{file}", {"timeout": _BUSY_S})
    except OSError as error:
        raise _unreachable(url, error) from None
    _write_ahead(storage)
    whole, uncached = calling(cached(storage), _whole), calling(storage, _whole)
    damage = partial(_damage, file)
    return Store(url, whole, whole, uncached, file, storage.engine, _mark(file), damage)


def _mark(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _damage(file: Path) -> str | None:
    """Return what is wrong with an SQLite file that was whole when it was opened."""
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=_BUSY_S)) as one:
            checked = str(one.execute("PRAGMA quick_check(1)").fetchone()[0])
            one.execute("SELECT count(*) FROM trials, studies").fetchone()
    except sqlite3.Error as error:
        return str(error)
    return None if checked == "ok" else checked.splitlines()[-1]


def _file(url: str, scheme: str) -> Path:
    file = home_expanded(url.removeprefix(scheme)).resolve()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unreachable(url, error) from None
    return file


def _probe_sqlite(file: Path) -> None:
    try:
        with closing(sqlite3.connect(file, timeout=_PROBE_S)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise _unreachable(str(file), error) from None
        raise UserError(
            f"sweep.storage: {file} is locked by another program for more than {_PROBE_S} s; "
            "close it, or give another file, sweep.storage=sqlite:///FILE"
        ) from None
    except sqlite3.DatabaseError:
        raise UserError(
            f"sweep.storage: {file} is no SQLite file; give another, sweep.storage=sqlite:///FILE"
        ) from None


def _write_ahead(storage: RDBStorage) -> None:
    """Write without waiting for the disk at every value: a killed process loses nothing by it."""

    @event.listens_for(storage.engine, "connect")
    def _set(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    storage.engine.dispose()  # connections from before this


def _open_tables(shown: str, url: str, connect_args: dict[str, Any]) -> RDBStorage:
    try:
        return RDBStorage(url, engine_kwargs={"connect_args": connect_args, "pool_pre_ping": True})
    except (RuntimeError, *LOST) as error:
        if isinstance(error, RuntimeError) and "table schema" in str(error):
            raise UserError(
                f"sweep.storage: {shown} was written by another version of Optuna than "
                f"{optuna.__version__}; bring it up to date with `optuna storage upgrade "
                f"--storage {shown}`, or give another"
            ) from None
        raise _unreachable(shown, error) from None


def _open_journal(url: str) -> Store:
    file = _file(url, "journal:")
    try:
        journal = JournalStorage(_Journal(str(file), lock_obj=_AppendLock(file)))
        whole = calling(journal, _whole)
        mark, damage = _mark(file), _AppendedTo(file).damage
        return Store(url, whole, whole, whole, file, mark=mark, damage=damage)
    except OSError as error:
        raise _unreachable(url, error) from None
    except (KeyError, TypeError, AttributeError, *LOST):
        raise UserError(
            f"sweep.storage: {file} is no journal of Optuna; give another, sweep.storage=journal:"
            "FILE"
        ) from None


class _Journal(JournalFileBackend):
    """Optuna's, whose failures are those of a storage that is out of reach."""

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        """Yield what was written from this entry on."""
        with _as_lost():
            yield from super().read_logs(log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write further entries."""
        with _as_lost():
            super().append_logs(logs)


@contextmanager
def _as_lost() -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise optuna.exceptions.StorageInternalError("the journal") from error


class _AppendedTo:
    """A journal as far as it was seen whole: what is written later stands behind that."""

    def __init__(self, file: Path) -> None:
        self._file, self._length, self._digest = file, 0, hashlib.sha256().digest()
        self.damage()

    def damage(self) -> str | None:
        """Return what happened to the file besides entries behind those that were there."""
        try:
            content = self._file.read_bytes()
            whole = content[: content.rfind(b"\n") + 1]
            if hashlib.sha256(whole[: self._length]).digest() != self._digest:
                return "it was cut off or written over"
            for line in whole[self._length :].splitlines():
                json.loads(line)
        except OSError as error:
            return str(error.strerror)
        except ValueError:
            return "not every line of it is JSON"
        self._length, self._digest = len(whole), hashlib.sha256(whole).digest()
        return None


class _AppendLock(JournalFileOpenLock):
    """Optuna's own locks outlive a killed process; this one is freed by the system."""

    def __init__(self, file: Path) -> None:
        self._system_lock = FileLock(f"{file}.append_lock")

    def acquire(self) -> bool:
        """Wait for the lock."""
        self._system_lock.acquire()
        return True

    def release(self) -> None:
        """Free the lock."""
        self._system_lock.release()


def _open_server(url: str) -> RDBStorage:
    try:
        import psycopg  # noqa: F401 - the driver, asked for here so that its lack is said well
    except ImportError:
        raise UserError(
            "sweep.storage: PostgreSQL needs a driver; install it with `pip install "
            "asl-exp[postgresql]`"
        ) from None
    driven = url.replace("postgresql://", "postgresql+psycopg://", 1)
    return _open_tables(without_login(url), driven, {"connect_timeout": _PROBE_S})


def _unreachable(url: str, error: Exception) -> UserError:
    told = getattr(error, "strerror", None) or first_line(error.__cause__ or error)
    return UserError(f"sweep.storage: {url} cannot be used ({told}); give one that can be")

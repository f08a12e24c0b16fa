"""Delivers while training goes on: one thread in the process that the user started.

It looks into the local store again and again and sends what is new, so training knows nothing of
it, and a server that is slow or down costs training nothing. It stands in the user's own process
also where worker processes train.
"""

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from mlflow.exceptions import MlflowException

from asl_exp.config.errors import UserError, first_line
from asl_exp.config.schema import TrackingConfig
from asl_exp.replica.api import NotNowError, RejectedError, ReplicaError
from asl_exp.replica.backlog import undelivered
from asl_exp.replica.delivery import Delivery, Outcome
from asl_exp.replica.ledger import Ledger
from asl_exp.replica.local_run import LocalRun
from asl_exp.replica.login import open_replica, refusal, replica_address
from asl_exp.runs.result import Result
from asl_exp.tracking.store import open_store

_REST_S: Final = 5.0  # between deliveries; twice as long after each failure
_LONGEST_REST_S: Final = 60.0
_REST_FOR_WORK: Final = 100  # seconds of rest for a second of this process's own time: 1 %

_PAGES: Final = 3  # that are named at the end; a study's many are found by its own
_threads: dict[tuple[Path, str], "Deliverer"] = {}


def begin_delivery(tracking: TrackingConfig, runs_dir: Path, say: Callable[[str], None]) -> None:
    """Make sure that the replica takes runs, and begin to deliver; once in a process.

    Raises:
        UserError: it does not, and ``tracking.required`` says that it must.
    """
    address = replica_address(tracking)
    if address is None or (runs_dir.resolve(), address) in _threads:
        return
    refused = refusal(tracking)
    if refused and tracking.required:
        raise UserError(f"{refused}; with tracking.required=false training begins all the same")
    if refused:
        say(f"{refused}; everything is recorded on this machine")
    deliverer = Deliverer(runs_dir.resolve(), address, tracking.flush_timeout_s)
    _threads[runs_dir.resolve(), address] = deliverer
    deliverer.start()


def deliver_run(tracking: TrackingConfig, runs_dir: Path, run_folder: Path) -> None:
    """Deliver this run as it grows, if delivery has begun."""
    address = replica_address(tracking)
    if address is not None and (runs_dir.resolve(), address) in _threads:
        _threads[runs_dir.resolve(), address].watch(run_folder)


def finish_delivery(say: Callable[[str], None], at_most_s: float | None = None) -> None:
    """Wait for what is still on its way, no longer than the user allowed, and say what is left."""
    for deliverer in _threads.values():
        deliverer.finish(at_most_s)
        for line in deliverer.summary():
            say(line)
    _threads.clear()


class Deliverer(threading.Thread):
    """Brings the runs of one folder to one replica."""

    def __init__(self, runs_dir: Path, address: str, flush_timeout_s: float) -> None:
        super().__init__(name=f"delivery to {address}", daemon=True)
        self.runs_dir, self.address, self.flush_timeout_s = runs_dir, address, flush_timeout_s
        self._folders: list[Path] = []
        self._parents: dict[str, None] = {}
        self._whole: dict[str, None] = {}  # own runs that ended and were delivered
        self._first = True
        self._outcomes: dict[str, Outcome] = {}
        self._pages: dict[str, str] = {}
        self._trouble: str | None = None
        self._wake, self._ending, self._done = (threading.Event() for _ in range(3))

    def watch(self, run_folder: Path) -> None:
        """Deliver the run of this folder, from when it has one."""
        self._folders.append(run_folder)

    def finish(self, at_most_s: float | None = None) -> None:
        """Wait until all is delivered, or time is up."""
        self._ending.set()
        self._wake.set()
        seconds = self.flush_timeout_s if at_most_s is None else at_most_s
        self._done.wait(min(seconds, self.flush_timeout_s))

    def run(self) -> None:
        """Look and send, again and again; rest after work, longer after failures."""
        rest_s = _REST_S
        while True:
            self._wake.wait(rest_s)
            self._wake.clear()
            ending, before_s = self._ending.is_set(), time.thread_time()
            again = self._pass(ending)
            if ending and not again:
                self._done.set()
                return
            if self._trouble:
                rest_s = 1.0 if ending else min(2 * rest_s, _LONGEST_REST_S)
            else:
                rest_s = max(_REST_S, _REST_FOR_WORK * (time.thread_time() - before_s))

    def _pass(self, ending: bool) -> bool:
        """Deliver everything once; return whether another pass may do better."""
        try:
            self._deliver_all(ending)
            self._trouble = None
        except (NotNowError, MlflowException, sqlite3.Error) as error:
            self._trouble = first_line(error)
            return True
        except ReplicaError as error:
            self._trouble = str(error)
        except Exception as error:  # whatever it is, it must not reach training
            self._trouble = f"{type(error).__name__}: {error}"
        return False

    def _deliver_all(self, ending: bool) -> None:
        """Deliver own runs, then their parents, then what earlier commands left behind."""
        client, ledger = open_store(self.runs_dir), Ledger(self.runs_dir)
        delivery = Delivery(client, ledger, open_replica(self.address))
        for run_id in self._own():
            outcome = self._deliver(delivery, run_id)
            parent_id = LocalRun.read(client, run_id).parent_id
            if parent_id is not None:
                self._parents[parent_id] = None
            if outcome.ended and not outcome.pending:
                self._whole[run_id] = None
        for run_id in self._parents if ending else ():
            self._deliver(delivery, run_id)
        if ending or self._first:  # at the end a study has written to its ended trials once more
            for run_id in undelivered(client, ledger, self.address, compare=ending):
                self._deliver(delivery, run_id)
        self._first = False
        late = [o.pending for o in self._outcomes.values() if o.pending]
        if late:
            raise NotNowError(late[-1])

    def _deliver(self, delivery: Delivery, run_id: str) -> Outcome:
        """Deliver one run; one that the server will not take is not in the way of others."""
        try:
            outcome = delivery.deliver(run_id)
        except RejectedError as error:
            outcome = Outcome(run_id, run_id, refused={"the run": str(error)})
        self._outcomes[run_id] = outcome
        if outcome.address is not None:
            self._pages[run_id] = outcome.address
        return outcome

    def _own(self) -> list[str]:
        """Return the ids of this process's runs that are not on the replica whole."""
        run_ids = []
        for folder in self._folders:
            result = None
            with suppress(UserError):
                result = Result.read(folder)
            run_id = result.mlflow_run_id if result is not None else None
            if run_id and run_id not in self._whole:
                run_ids.append(run_id)
        return run_ids

    def summary(self) -> list[str]:
        """Return what a person should know at the end."""
        lines = [
            f"tracking: {self.address} did not take {name} of '{outcome.name}': {reason}"
            for outcome in self._outcomes.values()
            for name, reason in outcome.refused.items()
        ]
        if self._done.is_set() and not self._trouble:
            pages = list(self._pages.values())
            told = pages if 0 < len(pages) <= _PAGES else [self.address]
            return [*lines, *(f"copy on: {page}" for page in told)] if self._outcomes else []
        reason = f" ({self._trouble})" if self._trouble else ""
        return [
            *lines,
            f"tracking: not everything is on {self.address} yet{reason}; all of it is here. "
            f"`python -m asl_exp.sync runs_dir={self.runs_dir}` delivers the rest, and so does "
            "the next run with this replica",
        ]

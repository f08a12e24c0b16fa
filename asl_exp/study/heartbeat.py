"""Stale trials: whether the process that works on a trial still does.

On one machine the system knows it at once. Of a process elsewhere only its heartbeat is seen: a
number that it keeps changing. No two clocks are compared.
"""

import os
import socket
import time
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psutil
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

HEARTBEAT_S = 30.0
"""Between the heartbeats of a trial, each a write to the storage that all agents share."""

GRACE_S = 4 * HEARTBEAT_S
"""Without a heartbeat a trial counts as dead: three writes in a row may be lost, for one, to a
storage that was restarted."""

PROCESS, HEARTBEAT = "process", "heartbeat"
"""User attributes of a trial."""


def this_process() -> dict[str, Any]:
    """Return what tells this process from every other."""
    own = psutil.Process()
    return {"machine": _machine(), "pid": own.pid, "started": own.create_time()}


def _machine() -> str:
    """Return a name of this machine, since its last start, and of the container within it."""
    boot, space = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    booted = boot.read_text().strip() if boot.is_file() else ""
    contained = os.readlink(space) if space.is_symlink() else ""  # noqa: PTH115 - no real file
    return f"{socket.gethostname()} {booted} {contained}".strip()


def _gone(process: dict[str, Any]) -> bool:
    """Return whether a process of this machine has ended."""
    try:
        there = psutil.Process(process["pid"])
        ended = there.status() == psutil.STATUS_ZOMBIE
        return bool(ended or abs(there.create_time() - process["started"]) > 1)
    except psutil.NoSuchProcess:
        return True


class StaleTrials:
    """The running trials whose process has died."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[Any, float]] = {}

    def includes(self, trial: FrozenTrial) -> bool:
        """Return whether a running trial's process is gone, or silent for too long."""
        process = trial.user_attrs.get(PROCESS)
        if process is None:
            return True  # it is written under the lock that the trial was claimed under
        if process["machine"] == _machine() and _gone(process):
            return True
        beat, now = trial.user_attrs.get(HEARTBEAT), time.monotonic()
        last, since = self._seen.setdefault(trial.number, (beat, now))
        if beat != last:
            self._seen[trial.number] = (beat, now)
            return False
        return now - since > GRACE_S


class Heart:
    """Beats for a trial, in a thread, while it runs."""

    def __init__(self, storage: BaseStorage, trial_id: int) -> None:
        self._storage, self._trial_id = storage, trial_id
        self._stopped = Event()
        self._thread = Thread(target=self._beat, daemon=True)

    def _beat(self) -> None:
        number = 0
        while not self._stopped.wait(HEARTBEAT_S):
            number += 1
            try:
                self._storage.set_trial_user_attr(self._trial_id, HEARTBEAT, number)
            except (UpdateFinishedTrialError, KeyError):
                return  # given up for dead; the run ends at its next epoch
            except Exception:
                continue

    def __enter__(self) -> "Heart":
        """Start."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._stopped.set()

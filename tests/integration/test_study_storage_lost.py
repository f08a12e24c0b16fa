"""A study whose storage is lost while it runs never ends as if all were well."""

import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from asl_exp.config.errors import RunError
from asl_exp.config.study_plan import plan_study
from asl_exp.study import agent, agent_launch
from asl_exp.study.claims import Outcome
from asl_exp.study.study import OpenStudy, open_study

Loss = Callable[[Path], object]
SWEEP = ("sweep=nadam_l2_dropout", "sweep.n_trials=4", "sweep.pruner.name=none", "sweep.name=s")


def replaced(file: Path) -> None:
    shutil.copyfile(file, file.with_suffix(".copy"))
    file.with_suffix(".copy").replace(file)


def begun_anew(file: Path) -> None:
    file.unlink()
    optuna.create_study(study_name="other", storage=f"sqlite:///{file}")


def emptied(file: Path) -> None:
    """As the file that an editor or a full disk leaves: the same inode."""
    os.truncate(file, 0)


def garbled(file: Path) -> None:
    file.write_bytes(b"not a database\n" * 9000)


def half_garbled(file: Path) -> None:
    with file.open("r+b") as pages:
        pages.seek(4096)
        pages.write(b"\xff" * (file.stat().st_size - 4096))


def copied_over(file: Path) -> None:
    """By ``cp other.db studies.db``, which writes into the file that is there."""
    other = file.with_name("other.db")
    optuna.create_study(study_name="other", storage=f"sqlite:///{other}")
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # else the log has all
    shutil.copyfile(other, file)


def told(statement: str) -> Loss:
    def lose(file: Path) -> None:
        with sqlite3.connect(file) as database:
            database.execute(statement)

    return lose


def locks_forbidden(file: Path) -> None:
    """As in a folder that became read-only: no lock can be opened any more."""
    lock = Path(f"{file}.trials_lock")
    lock.unlink(missing_ok=True)
    lock.mkdir()


def other_journal(file: Path) -> None:
    """By ``cp``: longer than the one that was there."""
    other = JournalStorage(JournalFileBackend(str(file.with_name("other.log"))))
    study = optuna.create_study(study_name="s", storage=other)
    for number in range(60):
        study.set_user_attr(f"key{number}", "value" * 20)
    shutil.copyfile(file.with_name("other.log"), file)


def made_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def added_to(file: Path) -> None:
    with file.open("ab") as journal:
        journal.write(b"not an entry\n")


LOSSES: dict[str, dict[str, tuple[int, Loss]]] = {
    "sqlite:///": {
        "deleted": (1, Path.unlink),
        "folder deleted": (4, lambda file: shutil.rmtree(file.parent)),
        "renamed": (1, lambda file: file.rename(file.with_suffix(".old"))),
        "replaced": (4, replaced),
        "begun anew": (1, begun_anew),
        "study deleted": (
            4,
            lambda file: optuna.delete_study(study_name="s", storage=f"sqlite:///{file}"),
        ),
        "emptied": (1, emptied),
        "garbled": (4, garbled),
        "half garbled": (1, half_garbled),
        "copied over": (4, copied_over),
        "tables dropped": (1, told("DROP TABLE trials")),
        "trials deleted": (4, told("DELETE FROM trials")),
        "first trial deleted": (1, told("DELETE FROM trials WHERE number = 0")),
        "one trial deleted": (4, told("DELETE FROM trials WHERE number = 0")),
        "locks forbidden": (1, locks_forbidden),
    },
    "journal:": {
        "deleted": (4, Path.unlink),
        "replaced": (1, replaced),
        "emptied": (4, emptied),
        "garbled": (1, garbled),
        "another": (4, other_journal),
        "made a folder": (1, made_a_folder),
        "cut off": (4, lambda file: os.truncate(file, file.stat().st_size // 2)),
        "last entry cut": (1, lambda file: os.truncate(file, file.stat().st_size - 20)),
        "added to": (4, added_to),
        "locks forbidden": (1, locks_forbidden),
    },
}
"""Of each kind of storage: in which trial it is lost, and how."""


@pytest.mark.parametrize(
    ("kind", "what"), [(kind, what) for kind, losses in LOSSES.items() for what in losses]
)
def test_a_study_that_lost_its_storage_is_no_success(
    kind: str, what: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, (when, lose) = folder / "storage" / "study", LOSSES[kind][what]
    tried = []

    def trial(opened: OpenStudy, claimed: Any, _: Any) -> Outcome:
        for parameter in opened.plan.space:
            claimed.suggest_float(parameter.key, 1e-5, 1.0)
        tried.append(claimed.number)
        if len(tried) == when:
            lose(file)
        return Outcome(optuna.trial.TrialState.COMPLETE, [0.5])

    monkeypatch.setattr(agent, "run_trial", trial)
    monkeypatch.setattr(agent, "_require_same_data", lambda _: None)
    opened = open_study(plan_study([*SWEEP, f"sweep.storage={kind}{file}"]))
    with pytest.raises(RunError, match=r"sweep\.storage: .*(deleted|out of reach)"):
        agent.work(opened, "a command")
    assert len(tried) == when, "no trial is tried in vain"


def test_the_lines_of_an_engines_agents_end_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def show() -> None:
        shown.set()
        raise optuna.exceptions.StorageInternalError

    shown, raised = threading.Event(), list[object]()
    monkeypatch.setattr(threading, "excepthook", raised.append)
    lines: Any = SimpleNamespace(show=show)
    with agent_launch._shown(lines):
        assert shown.wait(10)
    assert raised == []

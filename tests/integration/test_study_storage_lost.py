"""A study whose storage is lost while it runs never ends as if all were well."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from asl_exp.config.compose import asks_for_study
from asl_exp.config.errors import RunError
from asl_exp.config.study_plan import plan_study
from asl_exp.study import agent
from asl_exp.study.study import OpenStudy, open_study
from asl_exp.study.trial import Outcome

SWEEP = ("sweep=nadam_l2_dropout", "sweep.n_trials=4", "sweep.pruner.name=none")


def deleted(file: Path) -> None:
    file.unlink()


def folder_deleted(file: Path) -> None:
    shutil.rmtree(file.parent)


def renamed(file: Path) -> None:
    file.rename(file.with_suffix(".old"))


def replaced(file: Path) -> None:
    shutil.copyfile(file, file.with_suffix(".copy"))
    file.with_suffix(".copy").replace(file)


def begun_anew(file: Path) -> None:
    file.unlink()
    optuna.create_study(study_name="other", storage=f"sqlite:///{file}")


def study_deleted(file: Path) -> None:
    optuna.delete_study(study_name="s", storage=f"sqlite:///{file}")


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


def tables_dropped(file: Path) -> None:
    with sqlite3.connect(file) as database:
        database.execute("DROP TABLE trials")


def trials_deleted(file: Path) -> None:
    with sqlite3.connect(file) as database:
        database.execute("DELETE FROM trials")


def one_trial_deleted(file: Path) -> None:
    with sqlite3.connect(file) as database:
        database.execute("DELETE FROM trials WHERE number = 0")


def locks_forbidden(file: Path) -> None:
    """As in a folder that became read-only: no lock can be opened any more."""
    lock = Path(f"{file}.trials_lock")
    lock.unlink(missing_ok=True)
    lock.mkdir()


LOSSES = [deleted, folder_deleted, renamed, replaced, begun_anew, study_deleted, emptied, garbled,
          half_garbled, copied_over, tables_dropped, trials_deleted, one_trial_deleted,
          one_trial_deleted, locks_forbidden]  # fmt: skip


@pytest.mark.parametrize(
    ("lose", "when"), [(lose, (1, 4)[number % 2]) for number, lose in enumerate(LOSSES)]
)
def test_a_study_that_lost_its_storage_is_no_success(
    lose: Callable[[Path], None], when: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "storage" / "studies.db"
    require_told(f"sqlite:///{file}", file, lose, when, monkeypatch)


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


def cut_off(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def last_entry_cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 20)


def no_entry_added(file: Path) -> None:
    with file.open("ab") as journal:
        journal.write(b"not an entry\n")


JOURNAL_LOSSES = [deleted, replaced, emptied, garbled, other_journal, made_a_folder, cut_off,
                  last_entry_cut, no_entry_added, locks_forbidden]  # fmt: skip


@pytest.mark.parametrize(
    ("lose", "when"), [(lose, (4, 1)[number % 2]) for number, lose in enumerate(JOURNAL_LOSSES)]
)
def test_the_same_with_a_journal(
    lose: Callable[[Path], None], when: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "storage" / "study.log"
    require_told(f"journal:{file}", file, lose, when, monkeypatch)


def require_told(
    storage: str,
    file: Path,
    lose: Callable[[Path], None],
    when: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Lose a study's storage in a trial, and require that the study ends with a sentence of it."""
    assert asks_for_study(SWEEP)
    tried = []

    def trial(opened: OpenStudy, claimed: Any) -> Outcome:
        for parameter in opened.plan.space:
            claimed.suggest_float(parameter.key, 1e-5, 1.0)
        tried.append(claimed.number)
        if len(tried) == when:
            lose(file)
        return Outcome(optuna.trial.TrialState.COMPLETE, [0.5])

    monkeypatch.setattr(agent, "run_trial", trial)
    monkeypatch.setattr(agent, "_require_same_data", lambda _: None)
    monkeypatch.chdir(file.parents[1])
    opened = open_study(plan_study([*SWEEP, "sweep.name=s", f"sweep.storage={storage}"]))
    with pytest.raises(RunError, match=r"sweep\.storage: .*(deleted|out of reach)"):
        agent.work(opened, "a command", lambda: None)
    assert len(tried) == when, "no trial is tried in vain"

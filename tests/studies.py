"""Studies in tests: the command of a tiny one, and what its storage and MLflow say of it."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
from mlflow.tracking import MlflowClient
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial
from processes import Command, Forked

from asl_exp.tracking.store import every_run, store_uri

STUDY = (
    "--multirun", "sweep=nadam_l2_dropout", "sweep.name=s", "schedule.transfer.epochs=1",
    "schedule.finetune.epochs=0", "data.external=[]", "trainer.accelerator=cpu",
)  # fmt: skip
"""One epoch a trial."""

ENDS_WITHIN_S = 600
COUNTED = ("COMPLETE", "PRUNED")


def finish(
    folder: Path,
    *arguments: str,
    status: int = 0,
    kind: type[Command | Forked] = Forked,
    **options: Any,
) -> str:
    """Run a command to its end; return what it said."""
    with kind(folder, *arguments, **options) as command:
        assert command.wait(ENDS_WITHIN_S) == status, command.text()
        said: str = command.text()
    assert "Traceback" not in said
    return said


def trials_of(folder: Path, storage: str | None = None, name: str = "s") -> list[FrozenTrial]:
    """Return the trials of a study; none where it has not been begun."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if storage is None and not _has_study(folder / "runs" / "studies.db"):
        return []
    opened: Any = storage or f"sqlite:///{folder / 'runs' / 'studies.db'}"
    opened = opened.replace("postgresql:", "postgresql+psycopg:")
    if opened.startswith("journal:"):
        opened = JournalStorage(JournalFileBackend(opened.removeprefix("journal:")))
    return optuna.load_study(study_name=name, storage=opened).get_trials(deepcopy=False)


def watched(folder: Path, storage: str | None = None) -> list[FrozenTrial]:
    """Return the trials as ``trials_of``, a few times a second where it is asked for ever."""
    time.sleep(0.2)
    return trials_of(folder, storage)


def _has_study(file: Path) -> bool:
    """Look without making anything: the command under test makes its tables itself."""
    if not file.is_file():
        return False
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
            return bool(connection.execute("SELECT count(*) FROM studies").fetchone()[0])
    except sqlite3.OperationalError:
        return False


def counted(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    return [trial for trial in trials if trial.state.name in COUNTED]


def distinct(trials: list[FrozenTrial]) -> int:
    """Return how many different points were tried."""
    return len({tuple(sorted(trial.params.items())) for trial in trials})


def runs_of(folder: Path, *, children: bool = True) -> list[Any]:
    """Return the MLflow runs of trials, or those that are no trial's."""
    runs = every_run(MlflowClient(store_uri(folder / "runs")))
    return [run for run in runs if ("mlflow.parentRunId" in run.data.tags) == children]

"""What is kept with a trial beyond Optuna's own record."""

from pathlib import Path
from typing import Final

from optuna.trial import FrozenTrial, TrialState

from asl_exp.config import readable
from asl_exp.config.redact import scrubbed
from asl_exp.runs.result import outcome_of
from asl_exp.study.claims import REASON

RUN_FOLDER: Final = "run_folder"
MLFLOW_RUN: Final = "mlflow_run_id"
CAUTION: Final = "caution"
"""User attributes of a trial, set as it starts and as it ends."""


def given_folder(trial: FrozenTrial) -> str | None:
    """Return the folder in which a trial ran, on whatever machine that was."""
    return trial.user_attrs.get(RUN_FOLDER)


def run_folder(trial: FrozenTrial) -> Path | None:
    """Return the folder in which a trial ran, if it is on this machine."""
    given = given_folder(trial)
    return Path(given) if given and Path(given).is_dir() else None


def run_id(trial: FrozenTrial) -> str | None:
    """Return the MLflow run of a trial, also of one that was killed; None where none was made."""
    known = trial.user_attrs.get(MLFLOW_RUN)
    if known is None and (folder := run_folder(trial)) and (result := outcome_of(folder)):
        return result.mlflow_run_id
    return known


def caution(trial: FrozenTrial) -> str:
    """Return what must stand beside a trial's scores, or nothing."""
    return str(trial.user_attrs.get(CAUTION) or "")


def failure(trial: FrozenTrial) -> str:
    """Return why a trial failed, without secrets; nothing where it did not."""
    if trial.state != TrialState.FAIL:
        return ""
    return scrubbed(str(trial.user_attrs.get(REASON, "for an unknown reason")))


def took(trial: FrozenTrial) -> str:
    """Return how long a trial that has ended took, as people read it."""
    return readable.duration(seconds(trial) or 0.0)


def seconds(trial: FrozenTrial) -> float | None:
    """Return how long a trial took; None while it runs."""
    return trial.duration.total_seconds() if trial.duration else None

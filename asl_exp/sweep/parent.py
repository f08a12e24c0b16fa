"""The MLflow run of a whole study; its trials are that run's children.

One in each store, found again by its tags when the study is continued.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from filelock import FileLock
from mlflow.tracking import MlflowClient
from optuna.trial import FrozenTrial

from asl_exp.config.names import Tag
from asl_exp.sweep import trial_facts, words
from asl_exp.tracking.recorder import Recorder
from asl_exp.tracking.store import DATABASE, experiment_id, open_store

PARENT: Final = "mlflow.parentRunId"
NOTE: Final = "mlflow.note.content"
OBJECTIVE: Final = "objective"
TRIAL_SECONDS: Final = "trial_seconds"

STUDY, CONFIRMATION = "study", "confirmation"
"""Values of Tag.ROLE."""


def open_parent(
    study_name: str, experiment: str, runs_dir: Path, folder: Path | None = None
) -> str | None:
    """Return the id of a study's run, made on first use, however many agents ask at once.

    The run is RUNNING from then on. Not to be called with tracking=off.
    """
    client = open_store(runs_dir)
    with FileLock(runs_dir / f"{DATABASE}.studies.lock"):
        run_id = _find(client, experiment_id(client, runs_dir, experiment), study_name)
        recorder = Recorder.open(
            runs_dir, experiment, study_name, folder or runs_dir / study_name, run_id=run_id
        )
        if run_id is None:
            recorder.tags({Tag.STUDY: study_name, Tag.ROLE: STUDY})
    return recorder.run_id


def _find(client: MlflowClient, experiment: str, study_name: str) -> str | None:
    quoted = study_name.replace("'", "''")
    found = client.search_runs(
        [experiment],
        filter_string=f"tags.{Tag.STUDY} = '{quoted}' and tags.{Tag.ROLE} = '{STUDY}'",
        order_by=["attributes.start_time ASC"],
        max_results=1,
    )
    return str(found[0].info.run_id) if found else None


def parent_recorder(run_id: str | None, runs_dir: Path) -> Recorder:
    """Return what writes to a study's run; to nothing where there is none."""
    return Recorder(open_store(runs_dir), run_id) if run_id else Recorder(None, None)


def close_parent(run_id: str | None, runs_dir: Path, status: str) -> None:
    """Close a study's run: FINISHED, KILLED at an interrupt, FAILED."""
    parent_recorder(run_id, runs_dir).end(status)


def record_trial(trial: FrozenTrial, metrics: tuple[str, ...], runs_dir: Path) -> None:
    """Make a trial's values, objective, state and duration visible in its own MLflow run."""
    recorder = parent_recorder(trial_facts.run_id(trial), runs_dir)
    recorder.tags(_tags(trial))
    recorder.metrics(_metrics(trial, metrics), step=trial.last_step or 0)


def _tags(trial: FrozenTrial) -> Mapping[str, Any]:
    tags = {Tag.STATE: trial.state.name, Tag.TRIAL_VALUES: words.pairs(trial.params)}
    reason = trial_facts.failure(trial)
    return {**tags, Tag.FAILURE: reason} if reason else tags


def _metrics(trial: FrozenTrial, metrics: tuple[str, ...]) -> dict[str, float]:
    single = len(metrics) == 1
    values = {
        OBJECTIVE if single else f"{OBJECTIVE}/{metric}": value
        for metric, value in zip(metrics, trial.values or (), strict=False)
    }
    duration = trial_facts.seconds(trial)
    return values if duration is None else {**values, TRIAL_SECONDS: duration}

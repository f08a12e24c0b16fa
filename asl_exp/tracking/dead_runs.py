"""Closes runs whose process was killed: they would be shown as RUNNING for ever.

A run lives as long as a process holds its folder. A study's parent run has no folder that is held:
it lives as long as one of its trials does, and between two of them.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from asl_exp.compat.mlflow import MLFLOW_PARENT_RUN_ID
from asl_exp.config import names
from asl_exp.config.errors import UserError
from asl_exp.config.names import Artifact, Tag
from asl_exp.runs.result import ENDED, OUTCOME, Result, kept_scores
from asl_exp.runs.run_folder import checkpoints_on_disk, held
from asl_exp.tracking.recorder import Recorder
from asl_exp.tracking.store import every_run, open_store

_DIED: Final = "its process died"
_BETWEEN_TRIALS_S: Final = 300.0  # a study that lives begins its next trial in seconds


@dataclass(frozen=True)
class Closed:
    """A run that was closed.

    Attributes:
        last_epoch: that was recorded, counted across phases from 0; -1 if none was.
        status: KILLED, or what the run had come to when its record could not be written.
    """

    run_id: str
    name: str
    last_epoch: int
    status: str = "KILLED"


def close_dead_runs(runs_dir: Path, *, of_study: str | None = None) -> list[Closed]:
    """Mark every RUNNING run that has no process as KILLED; a living one is left alone.

    Args:
        of_study: id of a study's run, to look at its children alone.
    """
    client = open_store(runs_dir)
    condition = "attributes.status = 'RUNNING'"
    if of_study is not None:
        condition += f" and tags.`{MLFLOW_PARENT_RUN_ID}` = '{of_study}'"
    running = list(every_run(client, condition))
    tags = {run.info.run_id: run.data.tags for run in running}
    parents = {one for one, of in tags.items() if Tag.STUDY in of and Tag.TRIAL not in of}
    parents |= {of[MLFLOW_PARENT_RUN_ID] for of in tags.values() if MLFLOW_PARENT_RUN_ID in of}
    closed: list[Closed] = []
    for run in running:
        folder = recorded_folder(run, runs_dir)
        if run.info.run_id not in parents and folder is not None:
            closed += _close(client, run, folder)
    dead = {run.run_id for run in closed}
    for run in running:
        if run.info.run_id in parents and not _lives(client, run, runs_dir, dead):
            client.set_tag(run.info.run_id, Tag.FAILURE, _DIED)
            client.set_terminated(run.info.run_id, "KILLED")
            closed.append(Closed(run.info.run_id, run.info.run_name, -1))
    return closed


def recorded_folder(run: Run, runs_dir: Path) -> Path | None:
    """Return a run's folder, also where the folder of all runs was moved; None if it has none."""
    named = run.data.tags.get(Tag.RUN_FOLDER)
    if named is None:
        return None
    given = Path(named)
    moved = [runs_dir.joinpath(*given.parts[-depth:]) for depth in (1, 2)]  # grids nest
    return next((path for path in (given, *moved) if path.is_dir()), given)


def _close(client: MlflowClient, run: Run, folder: Path) -> Iterator[Closed]:
    if not folder.is_dir():
        yield _killed(client, run, folder, None)
        return
    with held(folder) as mine:
        if mine and client.get_run(run.info.run_id).info.status == "RUNNING":
            yield _killed(client, run, folder, _result(folder, run))


def _killed(client: MlflowClient, run: Run, folder: Path, result: Result | None) -> Closed:
    run_id = run.info.run_id
    recorder = Recorder(client, run_id, taken_up=True)
    epoch = recorder.last_step(names.TRAIN_LOSS)
    failure = f"{_DIED} after {epochs(epoch + 1)}"
    if result is not None and result.status in ENDED:  # MLflow alone was not told so
        recorder.metrics(kept_scores(result.metrics), step=max(epoch, 0))
        recorder.artifacts(folder, *OUTCOME, Artifact.RESULT)
        client.set_terminated(run_id, result.status, end_time=_last_sign(client, run))
        return Closed(run_id, run.info.run_name, epoch, result.status)
    if result is not None:
        result.status, result.failure = "KILLED", failure
        result.checkpoints = checkpoints_on_disk(folder)
        result.write(folder)
        recorder.artifacts(folder, Artifact.CHECKPOINTS, Artifact.RESULT)
    recorder.tags({Tag.FAILURE: failure, Tag.LAST_EPOCH: epoch})
    client.set_terminated(run_id, "KILLED", end_time=_last_sign(client, run))
    return Closed(run_id, run.info.run_name, epoch)


def epochs(count: int) -> str:
    """Return a number of epochs in words."""
    return "1 epoch" if count == 1 else f"{count} epochs" if count else "no epoch"


def _result(folder: Path, run: Run) -> Result | None:
    """Return what the folder says, if it is still this run's and can be read."""
    try:
        result = Result.read(folder)
    except UserError:
        return None
    return result if result is not None and result.mlflow_run_id == run.info.run_id else None


def _last_sign(client: MlflowClient, run: Run) -> int:
    """Return when the run last recorded an epoch, in milliseconds."""
    history = client.get_metric_history(run.info.run_id, names.TRAIN_LOSS)
    return max((int(point.timestamp) for point in history), default=int(run.info.start_time))


def _lives(client: MlflowClient, parent: Run, runs_dir: Path, dead: set[str]) -> bool:
    """Return whether a study goes on: a trial runs, or one ended a moment ago of itself."""
    folder = recorded_folder(parent, runs_dir)
    if folder is not None and folder.is_dir():
        with held(folder) as free:
            if not free:
                return True
    children = list(
        client.search_runs(
            [parent.info.experiment_id],
            f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent.info.run_id}'",
            max_results=1000,
            order_by=["start_time DESC"],
        )
    )
    if any(child.info.status == "RUNNING" and child.info.run_id not in dead for child in children):
        return True
    if any(child.info.run_id in dead for child in children):
        return False
    signs = [parent.info.start_time, *(child.info.end_time or 0 for child in children)]
    return time.time() - float(max(signs)) / 1000 < _BETWEEN_TRIALS_S

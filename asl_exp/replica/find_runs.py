"""Finds a run by its folder, its MLflow id or its id on a replica."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from asl_exp.config.errors import UserError
from asl_exp.config.names import Tag
from asl_exp.replica.ledger import Ledger
from asl_exp.runs.result import Result
from asl_exp.runs.run_folder import checkpoints_on_disk, run_folders
from asl_exp.tracking.store import every_run

ALL: Final = "all"


def find_runs(client: MlflowClient, ledger: Ledger, given: str) -> list[Run]:
    """Return the local runs that a person means.

    Args:
        client: of the local store.
        ledger: of the same folder.
        given: a run's folder or a file in it, a folder of runs, the id of a run here or on a
            replica, or ``all``.

    Raises:
        UserError: there is none.
    """
    if given == ALL:
        return list(every_run(client))
    ids = list(_ids_of_path(Path(given))) if Path(given).exists() else _ids(ledger, given)
    found = []
    for run_id in ids:
        try:
            found.append(client.get_run(run_id))
        except MlflowException:
            continue
    if not found:
        raise UserError(
            f"'{given}' is no run of this store: give a run's folder, a file in it, its MLflow id "
            "here or on a replica, or 'all'; runs_dir=FOLDER chooses another store"
        )
    return found


def _ids(ledger: Ledger, given: str) -> list[str]:
    there = [entry.run_id for entry in ledger.entries("replica_run_id = ?", given)]
    return there or [given]


def _ids_of_path(path: Path) -> Iterator[str]:
    """Yield the run of the nearest folder above that is one, or all runs below."""
    for folder in run_folders(path):
        result = None
        with suppress(UserError):  # one run's damaged file is not in the way of the others
            result = Result.read(folder)
        if result is not None and result.mlflow_run_id:
            yield result.mlflow_run_id


def where_lines(ledger: Ledger, run: Run, folder: Path | None) -> Iterator[str]:
    """Yield everything that names a run: ids, folder, kept checkpoints."""
    yield f"{run.info.run_name} ({run.info.status})"
    yield f"  MLflow run   {run.info.run_id}"
    if folder is not None:
        yield f"  folder       {folder}{'' if folder.is_dir() else ' (not there)'}"
        for checkpoint in checkpoints_on_disk(folder).values():
            yield f"  checkpoint   {folder / checkpoint}"
    yield f"  artifacts    {run.info.artifact_uri}"
    for entry in ledger.entries("run_id = ?", run.info.run_id):
        whole = "" if entry.settled else " (not whole yet)"
        yield f"  replica      {entry.address} run {entry.replica_run_id}{whole}"
    if run.data.tags.get(Tag.STUDY):
        yield f"  study        {run.data.tags[Tag.STUDY]} trial {run.data.tags.get(Tag.TRIAL, '-')}"

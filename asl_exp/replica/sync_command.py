"""What ``asl_exp.sync`` does and shows: dead runs are closed, runs delivered, a table printed.

A run is named by its folder, its MLflow id or its id on a replica.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from asl_exp.config import readable
from asl_exp.config.console import Console
from asl_exp.config.errors import StorageError, UserError
from asl_exp.config.names import Tag
from asl_exp.config.redact import printable
from asl_exp.config.schema import Config
from asl_exp.replica.backlog import Task, deliver_tasks, forget_lost, tasks_left, tasks_named
from asl_exp.replica.delivery import Outcome
from asl_exp.replica.ledger import NOTHING_LEFT, Ledger
from asl_exp.replica.login import refusal, replica_address
from asl_exp.replica.upload import Opened, open_plainly
from asl_exp.runs.result import Result
from asl_exp.runs.run_folder import checkpoints_on_disk, run_folders
from asl_exp.runs.writing import full_disk, unwritable
from asl_exp.tracking.dead_runs import close_dead_runs, epochs, recorded_folder
from asl_exp.tracking.store import every_run, open_store, unusable_store
from asl_exp.tracking.store_file import require_store

_console = Console()


def synchronize(config: Config, named: Sequence[str]) -> int:
    """Close dead runs and deliver; return 0, or 1 where something is still to be delivered.

    Raises:
        UserError: a run is unknown, or the replica that is named refuses.
    """
    runs_dir = require_store(Path(config.runs_dir))
    with _storage_named(runs_dir):
        return _synchronize(config, runs_dir, named)


@contextmanager
def _storage_named(runs_dir: Path) -> Iterator[None]:
    """Say in one sentence where the folder of runs takes nothing that has to be noted."""
    try:
        yield
    except (OSError, sqlite3.Error, MlflowException) as error:
        reason = unwritable(error)
        if reason is None and isinstance(error, MlflowException):
            raise unusable_store(runs_dir, error) from error
        if reason is None:
            raise
        told = f"runs_dir: cannot write to '{runs_dir}' ({reason}), where deliveries are noted; "
        if full_disk(error):
            raise StorageError(f"{told}make room, then the same command goes on") from error
        raise UserError(f"{told}make it writable, or copy it and give runs_dir=COPY") from error


def _synchronize(config: Config, runs_dir: Path, named: Sequence[str]) -> int:
    client, ledger = open_store(runs_dir), Ledger(runs_dir)
    run_ids = [run.info.run_id for given in named for run in find_runs(client, ledger, given)]
    address = replica_address(config.tracking)
    refused = refusal(config.tracking)
    if refused:
        raise UserError(refused)
    for dead in close_dead_runs(runs_dir):
        became = f"its process died after {epochs(dead.last_epoch + 1)}"
        if dead.status != "KILLED":
            became = f"it is {dead.status}, which MLflow had not been told"
        _console.say(f"closed: {dead.name} ({dead.run_id}), {became}")
    forget_lost(client, ledger, address)
    if named:
        tasks = tasks_named(
            client, ledger, dict.fromkeys(run_ids), address, skip_others=ALL in named
        )
    else:
        tasks = tasks_left(client, ledger, address)
    if not tasks:
        _console.say(NOTHING_LEFT)
        return 0
    with _opening() as open_file:
        outcomes = list(deliver_tasks(client, ledger, tasks, open_file))
    _show(outcomes)
    return int(any(outcome.pending or outcome.refused for _, outcome in outcomes))


def show_where(config: Config, named: Sequence[str]) -> int:
    """Print what names each run; return 0.

    Raises:
        UserError: a run is unknown.
    """
    runs_dir = require_store(Path(config.runs_dir))
    client, ledger = open_store(runs_dir), Ledger(runs_dir)
    for given in named:
        for run in find_runs(client, ledger, given):
            for line in where_lines(ledger, run, recorded_folder(run, runs_dir)):
                _console.say(line)
    return 0


@contextmanager
def _opening() -> Iterator[Opened]:
    """Give a way to open files: with bars where a person looks on."""
    if not _console.is_terminal:
        yield open_plainly
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=_console, transient=True) as progress:

        @contextmanager
        def watched(name: str, path: Path):  # type: ignore[no-untyped-def]
            task = progress.add_task(printable(name), total=path.stat().st_size)
            try:
                with path.open("rb") as file, progress.wrap_file(file, task_id=task) as shown:
                    yield shown
            finally:
                progress.remove_task(task)

        yield watched


def _show(outcomes: Sequence[tuple[Task, Outcome]]) -> None:
    table = Table(title_justify="left")
    table.add_column("run", overflow="fold")
    table.add_column("to", overflow="fold")
    table.add_column("delivered", overflow="fold")
    table.add_column("left", overflow="fold")
    for task, outcome in outcomes:
        table.add_row(outcome.name, task.address, _sent(outcome), _left(outcome))
    _console.print(table)


def _sent(outcome: Outcome) -> str:
    sent = outcome.sent
    parts = {
        "params": sent.params, "tags": sent.tags, "metric points": sent.points,
        "datasets": sent.inputs, "files": sent.artifacts,
    }  # fmt: skip
    counted = [f"{count:,} {name}" for name, count in parts.items() if count]
    if sent.size:
        counted[-1] += f" ({readable.size(sent.size)})"
    return ", ".join(counted) or "-"


def _left(outcome: Outcome) -> str:
    lines = [f"{name}: {reason}" for name, reason in outcome.refused.items()]
    lines += [outcome.pending] if outcome.pending else []
    if not outcome.ended and not outcome.pending:
        lines.append("it goes on")
    return "\n".join(lines) or "-"


ALL: Final = "all"


def find_runs(client: MlflowClient, ledger: Ledger, given: str) -> list[Run]:
    """Return the local runs that a person means.

    Args:
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

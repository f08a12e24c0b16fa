"""Records one run: parameters, tags, metrics, artifacts, and how it ended.

The run folder holds the same files as the MLflow run; on one disk they are hard links, so a
checkpoint takes its space once. Epochs' metrics are one batch each, or one a second where epochs
take less: a write to the local store takes 8 CPU ms, a fifth of an epoch of a head on stored
features, and as long as the disk wants, so training does not wait for it.
"""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mlflow.entities import DatasetInput, LifecycleStage, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.tracking import MlflowClient

from asl_exp.compat.mlflow import MLFLOW_RUN_NAME
from asl_exp.config import names
from asl_exp.config.errors import UserError
from asl_exp.config.names import Tag
from asl_exp.config.process_setup import signals_deferred
from asl_exp.runs.writing import full_disk
from asl_exp.tracking.local_server import ui_address
from asl_exp.tracking.store import (
    experiment_id,
    forget_store,
    open_store,
    run_path,
    same_file,
    to_stderr,
)
from asl_exp.tracking.store_file import local_path

_DEPTH = 4  # mlartifacts/<experiment>/<run>/artifacts
_MISSING: Final = ErrorCode.Name(RESOURCE_DOES_NOT_EXIST)
_PAUSE_S: Final = 30.0  # after a locked store: each try waits for it
_LEFT_OVER: Final = ".artifact.uploading."  # MLflow's name for a file that it had not written whole
_PARAM_BATCH, _PARAM_LENGTH, METRIC_BATCH = 100, 6000, 1000  # limits of the local store


@dataclass(frozen=True)
class Begin:
    """What a run of the local store begins with."""

    runs_dir: Path
    experiment: str
    run_name: str
    run_folder: Path
    tags: Mapping[str, str] = field(default_factory=dict)

    def run(self, client: MlflowClient, warn: Callable[[str], None]) -> str:
        """Make a run; return its id."""
        made = client.create_run(
            experiment_id(client, self.runs_dir, self.experiment, warn),
            run_name=self.run_name,
            tags={Tag.RUN_FOLDER: str(self.run_folder.resolve()), **self.tags},
        )
        return str(made.info.run_id)


Write = Callable[[MlflowClient, str], object]
"""Something told to MLflow about the run of an id; repeated, it changes nothing."""


class Recorder:
    """Writes to one MLflow run; with ``client`` None nothing is written (tracking=off).

    The record never costs a run: what goes wrong is said once, and training goes on. Everything
    that was told is remembered, so that what a locked store did not take is told again at the end,
    and a run that was deleted meanwhile gets one in its place. A full disk alone is raised.

    Attributes:
        run_id: of the run that is written to.
        taken_up: the run was begun by an earlier process.
        on_new_run: told the id of a run that took the place of a deleted one.
    """

    def __init__(
        self,
        client: MlflowClient | None,
        run_id: str | None,
        *,
        taken_up: bool = False,
        begin: Begin | None = None,
        warn: Callable[[str], None] = to_stderr,
    ) -> None:
        self.client = client
        self.run_id = run_id
        self.taken_up = taken_up
        self.on_new_run: Callable[[str], object] = lambda _: None
        self._begin, self._warn = begin, warn
        self._told: list[Write] = []
        self._missed: list[Write] = []
        self._warned: set[str] = set()
        self._pause_until = 0.0
        self._one_at_a_time = threading.RLock()
        self._file = same_file(begin.runs_dir) if begin else None

    @classmethod
    @signals_deferred()
    def open(
        cls, begin: Begin, *, run_id: str | None, warn: Callable[[str], None] = to_stderr
    ) -> "Recorder":
        """Start a run in the local store, or take up the run ``run_id`` again.

        Where that was deleted there is a new one; where MLflow fails, nothing is recorded.

        Raises:
            UserError: the store cannot be used; the message says the way on.
        """
        try:
            client = open_store(begin.runs_dir, warn)
            if run_id is None or _is_gone(client, run_id):
                recorder = cls(client, begin.run(client, warn), begin=begin, warn=warn)
                if run_id is not None:
                    recorder._trouble("new", _replaced(run_id, recorder.run_id))
                return recorder
            _take_up(client, run_id, begin.tags)
            return cls(client, run_id, taken_up=True, begin=begin, warn=warn)
        except UserError:
            raise
        except Exception as error:
            if full_disk(error):
                raise
            warn(f"MLflow records nothing of this run: {_reason(error)}; the run folder has it all")
            return cls(None, None)

    @classmethod
    def reopen(
        cls, runs_dir: Path, run_id: str, warn: Callable[[str], None] = to_stderr
    ) -> "Recorder":
        """Return what writes on to a run that was begun before; to nothing where it is gone."""
        recorder = cls(None, None, warn=warn)
        with recorder.spared():
            client = open_store(runs_dir, warn)
            if _is_gone(client, run_id):
                warn(f"MLflow's run {run_id} was deleted; the run folder has what it came to")
            else:
                recorder = cls(client, run_id, taken_up=True, warn=warn)
        return recorder

    @contextmanager
    def spared(self) -> Iterator[None]:
        """Let no failure of the record out of the block; it is said once. A full disk is raised."""
        try:
            yield
        except Exception as error:
            if full_disk(error):
                raise
            self._failed(error)

    @signals_deferred()
    def last_step(self, key: str) -> int:
        """Return the last step at which a metric was logged, -1 if it never was."""
        if not (self.client and self.run_id):
            return -1
        with self.spared(), self._one_at_a_time:
            history = self.client.get_metric_history(self.run_id, key)
            return max((int(point.step) for point in history), default=-1)
        return -1

    def address(self) -> str | None:
        """Return where ``make ui`` shows the run; None where it is not recorded."""
        with self.spared():
            if self.client and self.run_id:
                experiment = self.client.get_run(self.run_id).info.experiment_id
                return ui_address(run_path(experiment, self.run_id))
        return None

    def params(self, values: Mapping[str, Any]) -> None:
        """Log settings once, at the start; a run taken up again keeps those it began with."""
        params = [Param(key, str(value)[:_PARAM_LENGTH]) for key, value in values.items()]

        def write(client: MlflowClient, run_id: str) -> None:
            for start in range(0, len(params), _PARAM_BATCH):
                client.log_batch(run_id, params=params[start : start + _PARAM_BATCH])

        self._tell(write, only_new_runs=True)

    def inputs(self, datasets: list[DatasetInput]) -> None:
        """Log the data once, at the start."""
        self._tell(lambda client, run_id: client.log_inputs(run_id, datasets), only_new_runs=True)

    def tags(self, values: Mapping[str, Any]) -> None:
        """Set tags; a later value replaces an earlier one."""
        tags = [RunTag(key, str(value)) for key, value in values.items()]
        self._tell(lambda client, run_id: client.log_batch(run_id, tags=tags))

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log one batch; ``step`` is the epoch counted across phases."""
        now = int(time.time() * 1000)
        self.points([Metric(key, value, now, step) for key, value in values.items()])

    def points(self, metrics: Sequence[Metric]) -> None:
        """Log at most METRIC_BATCH points of metrics, of any steps."""
        self._tell(lambda client, run_id: client.log_batch(run_id, metrics=metrics))

    def artifacts(self, run_folder: Path, *names: str) -> None:
        """Make files or folders of the run folder artifacts under the same names."""

        def write(client: MlflowClient, run_id: str) -> None:
            root = artifact_folder(client, client.get_run(run_id))
            for name in names:
                link_tree(run_folder / name, root / name)
            remove_leftovers(root)

        self._tell(write)

    def rename(self, name: str) -> None:
        """Give the run another name: charts and comparisons of the UI show nothing else of it."""
        self._tell(lambda client, run_id: client.update_run(run_id, name=name))

    @signals_deferred()
    def end(self, status: str) -> None:
        """Close the run: FINISHED, FAILED or KILLED, after what was missed before."""
        with self._one_at_a_time:
            self._pause_until = 0.0
            missed, self._missed = self._missed, []
            for write in missed:
                self._attempt(write)
            self._tell(lambda client, run_id: client.set_terminated(run_id, status))

    @signals_deferred()
    def _tell(self, write: Write, *, only_new_runs: bool = False) -> None:
        """Write now, or, where that does not go, again at the end."""
        if not (self.client and self.run_id):
            return
        with self._one_at_a_time:
            self._told.append(write)
            if not (only_new_runs and self.taken_up):
                self._attempt(write)

    def _attempt(self, write: Write) -> None:
        if time.monotonic() < self._pause_until:
            self._missed.append(write)
            return
        try:
            if self._lost_file():
                raise _GoneError("mlflow.db was deleted or replaced")
            write(self._client(), str(self.run_id))
        except Exception as error:
            if full_disk(error):
                raise
            if self._was_deleted(error) and self._begin:
                self._replace(write)
            else:
                self._missed.append(write)
                self._pause_until = time.monotonic() + _PAUSE_S * ("locked" in str(error))
                self._failed(error)

    def _lost_file(self) -> bool:
        """Return whether the store's file is not the one that the run was begun in."""
        return self._begin is not None and self._file != same_file(self._begin.runs_dir)

    def _client(self) -> MlflowClient:
        assert self.client is not None
        return self.client

    def _was_deleted(self, error: Exception) -> bool:
        if isinstance(error, _GoneError) or self._lost_file():
            return True
        with suppress(Exception):
            return _is_gone(self._client(), str(self.run_id))
        return False

    def _replace(self, write: Write) -> None:
        """Begin another run in place of one that was deleted, and tell it everything."""
        begin, self._begin = self._begin, None  # one that is deleted as well stays so
        assert begin is not None
        try:
            forget_store(begin.runs_dir)
            self.client = open_store(begin.runs_dir, self._warn)
            experiment_id(self.client, begin.runs_dir, begin.experiment, self._warn)
            if not _is_gone(self.client, str(self.run_id)):  # restored with its experiment
                write(self.client, str(self.run_id))
                return
            gone, self.run_id = str(self.run_id), begin.run(self.client, self._warn)
            if self.taken_up:
                _copy(self.client, gone, self.run_id)
            self.taken_up, self._file = False, same_file(begin.runs_dir)
            self.on_new_run(self.run_id)
            self._trouble("new", _replaced(gone, self.run_id))
            for earlier in self._told:
                earlier(self.client, self.run_id)
        except Exception as error:
            if full_disk(error):
                raise
            self._missed = list(self._told)
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self._trouble(
            "failed",
            f"MLflow did not record everything of this run: {_reason(error)}; training goes on, "
            "and the run folder has it all",
        )

    def _trouble(self, kind: str, told: str) -> None:
        """Warn once of each kind."""
        if kind not in self._warned:
            self._warned.add(kind)
            self._warn(told)


class _GoneError(Exception):
    """The store's file is not the one that the run was begun in."""


def _is_gone(client: MlflowClient, run_id: str) -> bool:
    """Return whether a run was deleted, for good or into MLflow's bin."""
    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == LifecycleStage.DELETED)
    except MlflowException as error:
        if error.error_code == _MISSING:
            return True
        raise


def _replaced(gone: str, new: str | None) -> str:
    return f"MLflow's run {gone} was deleted; the record goes on in a new one, {new}"


def _reason(error: Exception) -> str:
    """Return an error's own words, in one line, without a database's statement."""
    words = str(error).partition("[SQL:")[0]
    return " ".join(words.split())[:300] or type(error).__name__


def _take_up(client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> None:
    client.update_run(run_id, status="RUNNING")
    there = client.get_run(run_id).data.tags.keys()
    for left_over in {Tag.FAILURE, Tag.LAST_EPOCH} & there:
        client.delete_tag(run_id, left_over)
    for key, value in tags.items():
        client.set_tag(run_id, key, value)


def _copy(client: MlflowClient, old: str, new: str) -> None:
    """Give a new run what earlier processes told the one that it takes the place of."""
    try:
        run = client.get_run(old)
    except MlflowException:
        return  # nothing is left of it
    points = [p for key in run.data.metrics for p in client.get_metric_history(old, key)]
    for start in range(0, len(points), METRIC_BATCH):
        client.log_batch(new, metrics=points[start : start + METRIC_BATCH])
    tags = [RunTag(k, v) for k, v in run.data.tags.items() if k != MLFLOW_RUN_NAME]
    client.log_batch(new, tags=tags)


def artifact_folder(client: MlflowClient, run: Run) -> Path:
    """Return the folder of a run's artifacts, also where the folder of all runs was moved."""
    named = local_path(run.info.artifact_uri)
    runs_dir = Path(client.tracking_uri.removeprefix("sqlite:///")).parent
    was_moved = not named.parents[_DEPTH - 1].is_dir()
    return runs_dir.joinpath(*named.parts[-_DEPTH:]) if was_moved else named


def link_tree(source: Path, target: Path) -> None:
    """Hard-link a file or a folder's files; copy where the file system cannot link."""
    if not source.exists():
        return
    if source.is_dir():
        for child in source.iterdir():
            being_written = child.name.startswith(".") or child.name.endswith(".part")
            if not being_written:  # or left so by a killed run
                link_tree(child, target / child.name)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def remove_leftovers(root: Path) -> None:
    """Remove what a process that was killed as it wrote has left among a run's artifacts."""
    for part in root.rglob(f"{_LEFT_OVER}*"):
        part.unlink(missing_ok=True)


_APART_S: Final = 1.0


class EpochLog:
    """Writes what it was told, at the latest where the ``with`` block ends, by an error as well.

    A write that failed is raised by the next one, or where the block ends.

    Args:
        phases: names in their order; the metric ``phase`` counts them.

    A run that is killed in between loses nothing: its state has the metrics of all epochs, and
    they are told again when it goes on.
    """

    def __init__(self, recorder: Recorder, phases: Sequence[str]) -> None:
        self._recorder, self._phases = recorder, phases
        self._recorded_to = recorder.last_step(names.VAL_LOSS) if recorder.taken_up else -1
        self._points: list[Metric] = []
        self._written_at = -_APART_S
        self._writer = ThreadPoolExecutor(1, "record")
        self._writing: Future[None] | None = None

    def add(self, row: Mapping[str, Any]) -> None:
        """Take an epoch's metrics, the epoch (counted across phases) and the phase's name.

        An epoch that the store has already is passed over.
        """
        if self._recorder.client is None or row["epoch"] <= self._recorded_to:
            return
        self._recorded_to = row["epoch"]
        # MLflow's page of compared runs opens with the metric that it was given first
        metrics = {key: row[key] for key in (names.VAL_ACCURACY, *names.EPOCH_METRICS)}
        metrics[names.PHASE] = self._phases.index(row["phase"])
        now = int(time.time() * 1000)
        self._points += [Metric(key, value, now, row["epoch"]) for key, value in metrics.items()]
        full = len(self._points) + len(metrics) > METRIC_BATCH
        if full or time.monotonic() - self._written_at >= _APART_S:
            self._write()

    def _write(self) -> None:
        self._finish_writing()
        points, self._points = self._points, []
        self._writing = self._writer.submit(self._recorder.points, points)
        self._written_at = time.monotonic()

    def _finish_writing(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def __enter__(self) -> "EpochLog":
        return self

    def __exit__(self, *_: object) -> None:
        """Write what is left."""
        try:
            if self._points:
                self._write()
            self._finish_writing()
        finally:
            self._writer.shutdown()

"""Records one run: parameters, tags, metrics, artifacts, and how it ended.

The run folder holds the same files as the MLflow run; on one disk they are hard links, so a
checkpoint takes its space once. Epochs' metrics are one batch each, or one a second where epochs
take less: a write to the local store takes 8 CPU ms, a fifth of an epoch of a head on stored
features, and as long as the disk wants, so training does not wait for it.
"""

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from mlflow.entities import DatasetInput, Metric, Param, Run, RunTag
from mlflow.tracking import MlflowClient

from asl_exp.config import names
from asl_exp.config.names import Tag
from asl_exp.tracking.deferred_signals import undisturbed
from asl_exp.tracking.store import experiment_id, open_store

_DEPTH = 4  # mlartifacts/<experiment>/<run>/artifacts
_PARAM_BATCH, _PARAM_LENGTH, METRIC_BATCH = 100, 6000, 1000  # limits of the local store


class Recorder:
    """Writes to one MLflow run; with ``client`` None nothing is written (tracking=off)."""

    def __init__(
        self, client: MlflowClient | None, run_id: str | None, *, taken_up: bool = False
    ) -> None:
        self.client = client
        self.run_id = run_id
        self.taken_up = taken_up

    @classmethod
    @undisturbed()
    def open(
        cls,
        runs_dir: Path,
        experiment: str,
        run_name: str,
        run_folder: Path,
        *,
        run_id: str | None,
        tags: Mapping[str, str] | None = None,
    ) -> "Recorder":
        """Start a run in the local store, or take up the run ``run_id`` again."""
        client = open_store(runs_dir)
        if run_id is not None:
            client.update_run(run_id, status="RUNNING")
            for left_over in {Tag.FAILURE, Tag.LAST_EPOCH} & client.get_run(
                run_id
            ).data.tags.keys():
                client.delete_tag(run_id, left_over)
            for key, value in (tags or {}).items():
                client.set_tag(run_id, key, value)
            return cls(client, run_id, taken_up=True)
        run = client.create_run(
            experiment_id(client, runs_dir, experiment),
            run_name=run_name,
            tags={Tag.RUN_FOLDER: str(run_folder.resolve()), **(tags or {})},
        )
        return cls(client, run.info.run_id)

    @undisturbed()
    def last_step(self, key: str) -> int:
        """Return the last step at which a metric was logged, -1 if it never was."""
        if not (self.client and self.run_id):
            return -1
        history = self.client.get_metric_history(self.run_id, key)
        return max((int(point.step) for point in history), default=-1)

    @undisturbed()
    def params(self, values: Mapping[str, Any]) -> None:
        """Log settings once, at the start; a run taken up again keeps those it began with."""
        if self.client and self.run_id and not self.taken_up:
            params = [Param(key, str(value)[:_PARAM_LENGTH]) for key, value in values.items()]
            for start in range(0, len(params), _PARAM_BATCH):
                self.client.log_batch(self.run_id, params=params[start : start + _PARAM_BATCH])

    @undisturbed()
    def inputs(self, datasets: list[DatasetInput]) -> None:
        """Log the data once, at the start."""
        if self.client and self.run_id and not self.taken_up:
            self.client.log_inputs(self.run_id, datasets)

    @undisturbed()
    def tags(self, values: Mapping[str, Any]) -> None:
        """Set tags; a later value replaces an earlier one."""
        if self.client and self.run_id:
            self.client.log_batch(
                self.run_id, tags=[RunTag(key, str(value)) for key, value in values.items()]
            )

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log one batch; ``step`` is the epoch counted across phases."""
        now = int(time.time() * 1000)
        self.points([Metric(key, value, now, step) for key, value in values.items()])

    @undisturbed()
    def points(self, metrics: Sequence[Metric]) -> None:
        """Log at most METRIC_BATCH points of metrics, of any steps."""
        if self.client and self.run_id:
            self.client.log_batch(self.run_id, metrics=metrics)

    @undisturbed()
    def artifacts(self, run_folder: Path, *names: str) -> None:
        """Make files or folders of the run folder artifacts under the same names."""
        if self.client and self.run_id:
            root = artifact_folder(self.client, self.client.get_run(self.run_id))
            for name in names:
                link_tree(run_folder / name, root / name)

    @undisturbed()
    def rename(self, name: str) -> None:
        """Give the run another name: charts and comparisons of the UI show nothing else of it."""
        if self.client and self.run_id:
            self.client.update_run(self.run_id, name=name)

    @undisturbed()
    def end(self, status: str) -> None:
        """Close the run: FINISHED, FAILED or KILLED."""
        if self.client and self.run_id:
            self.client.set_terminated(self.run_id, status)


def artifact_folder(client: MlflowClient, run: Run) -> Path:
    """Return the folder of a run's artifacts, also where the folder of all runs was moved."""
    uri = run.info.artifact_uri
    named = Path(unquote(urlsplit(uri).path)) if uri.startswith("file:") else Path(uri)
    runs_dir = Path(client.tracking_uri.removeprefix("sqlite:///")).parent
    was_moved = not named.parents[_DEPTH - 1].is_dir()
    return runs_dir.joinpath(*named.parts[-_DEPTH:]) if was_moved else named


def link_tree(source: Path, target: Path) -> None:
    """Hard-link a file or a folder's files; copy where the file system cannot link."""
    if not source.exists():
        return
    if source.is_dir():
        for child in source.iterdir():
            link_tree(child, target / child.name)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


_APART_S: Final = 1.0


class EpochLog:
    """Writes what it was told, at the latest where the ``with`` block ends, by an error as well.

    A write that failed is raised by the next one, or where the block ends.

    Args:
        recorder: of the run.
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write what is left."""
        try:
            if self._points:
                self._write()
            self._finish_writing()
        finally:
            self._writer.shutdown()

"""Reads one run of the local store as it is now: what a replica is to hold."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from asl_exp.compat.mlflow import MLFLOW_PARENT_RUN_ID
from asl_exp.runs.result import ENDED
from asl_exp.tracking.recorder import artifact_folder


class Point(NamedTuple):
    """One value of a metric: milliseconds since 1970, epoch, value."""

    timestamp: int
    step: int
    value: float


@dataclass(frozen=True)
class LocalRun:
    """One run, its files and its metrics."""

    client: MlflowClient
    run: Run

    @classmethod
    def read(cls, client: MlflowClient, run_id: str) -> "LocalRun":
        """Read everything but the metrics' points and the files."""
        return cls(client, client.get_run(run_id))

    @property
    def run_id(self) -> str:
        """Return the local store's id."""
        return str(self.run.info.run_id)

    @property
    def name(self) -> str:
        """Return the run's name."""
        return str(self.run.info.run_name)

    @property
    def params(self) -> dict[str, str]:
        """Return the settings."""
        return dict(self.run.data.params)

    @property
    def tags(self) -> dict[str, str]:
        """Return the tags."""
        return dict(self.run.data.tags)

    @property
    def parent_id(self) -> str | None:
        """Return the local id of the run that this one is a child of."""
        return self.tags.get(MLFLOW_PARENT_RUN_ID)

    @property
    def ended(self) -> bool:
        """Return whether no more epochs come."""
        return self.run.info.status in ENDED

    @cached_property
    def experiment(self) -> str:
        """The experiment's name."""
        return str(self.client.get_experiment(self.run.info.experiment_id).name)

    @cached_property
    def inputs(self) -> dict[str, dict[str, Any]]:
        """Datasets, by a text that is different for each, as the REST interface takes them."""
        found = {}
        for entry in self.run.inputs.dataset_inputs if self.run.inputs else []:
            dataset = entry.dataset
            tags = [{"key": tag.key, "value": tag.value} for tag in entry.tags]
            about = {
                key: getattr(dataset, key)
                for key in ("name", "digest", "source_type", "source", "schema", "profile")
                if getattr(dataset, key) is not None
            }
            entry_there = {"dataset": about, "tags": tags}
            found[input_key(entry_there)] = entry_there
        return found

    def points(self, key: str) -> list[Point]:
        """Return every point of a metric, oldest first."""
        history = self.client.get_metric_history(self.run_id, key)
        points = [Point(int(m.timestamp), int(m.step), float(m.value)) for m in history]
        return sorted(points, key=lambda point: point[:2])  # a value may be NaN

    @cached_property
    def artifact_root(self) -> Path:
        """Return the folder of the run's artifacts."""
        return artifact_folder(self.client, self.run)

    @cached_property
    def artifacts(self) -> dict[str, Path]:
        """Path within the run to file, small ones first: one that is too large stops none."""
        files = [path for path in self.artifact_root.rglob("*") if path.is_file()]
        files.sort(key=lambda path: path.stat().st_size)
        return {path.relative_to(self.artifact_root).as_posix(): path for path in files}

    def fingerprint(self) -> str:
        """Return a digest that changes when anything of an ended run changes."""
        info, data = self.run.info, self.run.data
        marks = {name: file_mark(path) for name, path in sorted(self.artifacts.items())}
        parts = (
            info.status, info.end_time, info.run_name, sorted(data.params.items()),
            sorted(data.tags.items()), sorted(data.metrics.items()), sorted(self.inputs), marks,
        )  # fmt: skip
        return digest(repr(parts))


def input_key(entry: Mapping[str, Any]) -> str:
    """Return a text that is different for each dataset input, as the REST interface has it."""
    marks = ",".join(sorted(f"{tag['key']}={tag['value']}" for tag in entry.get("tags", [])))
    return f"{entry['dataset']['name']} {entry['dataset']['digest']} {marks}"


def file_mark(path: Path) -> str:
    """Return what changes when a file is written anew: its size and when."""
    found = path.stat()
    return f"{found.st_size}:{found.st_mtime_ns}"


def digest(text: str) -> str:
    """Return 16 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]

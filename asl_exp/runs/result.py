"""result.json, what a run came to, and folds.json, what folds did; read and written here alone."""

import json
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from asl_exp.config.errors import UserError
from asl_exp.config.names import EPOCH_METRICS, FOLDS, KEPT, Artifact
from asl_exp.config.schema import Config
from asl_exp.runs.writing import replaced

ENDED: Final = ("FINISHED", "FAILED", "KILLED")
"""Statuses in MLflow of a run that goes on no more."""

OUTCOME: Final = (
    Artifact.CHECKPOINTS, Artifact.MODEL, Artifact.EVALUATION, Artifact.EPOCHS,
    Artifact.LEARNING_CURVES,
)  # fmt: skip
"""Files of what a run came to; a trial of a study has some of them."""


@dataclass
class Result:
    """The outcome of a run, filled as it goes.

    Attributes:
        signature: of all that decides what is computed; of ``resolved(config)``.
        status: RUNNING, FINISHED, FAILED, KILLED, or PRUNED by a study.
        metrics: of the kept checkpoint, under the metric keys.
        intervals: the 95 % interval of such a score, low and high, where it has one.
        calibration: temperature and abstain_below of the model folder, and told, on what they were
            fitted; empty where there is no model folder.
        checkpoints: phase to path within the run folder.
        kept_epochs: phase to epoch, counted across phases.
        stored_views: phase to the number of views of each image that it went from as stored
            features; 0 where it went from the images.
        on_images: phase to why this machine could not store its features, with features=auto.
        start: digests of the data and of the weights before training.
        batch_size: global; found out where the configuration says auto.
        threads: of a device's arithmetic on the CPU, on which the last bits of scores depend.
        split, split_leaks: the rule of the split, and whether near-copies may be on both sides.
        cautions: split or external set to what must stand beside its score.
        monitor, objective: the metric that chose the kept checkpoint, and its value.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    name: str
    signature: str
    mlflow_run_id: str | None = None
    status: str = "RUNNING"
    failure: str | None = None
    start: dict[str, str] = field(default_factory=dict)
    batch_size: int | None = None
    threads: int | None = None
    split: str | None = None
    split_leaks: bool | None = None
    cautions: dict[str, str] = field(default_factory=dict)
    monitor: str | None = None
    objective: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, list[float]] = field(default_factory=dict)
    calibration: dict[str, float | str | None] = field(default_factory=dict)
    checkpoints: dict[str, str] = field(default_factory=dict)
    kept_epochs: dict[str, int] = field(default_factory=dict)
    stored_views: dict[str, int] = field(default_factory=dict)
    on_images: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, run_folder: Path) -> "Result | None":
        """Return what a run folder says, or None if no run has begun in it.

        Raises:
            UserError: its file is damaged, or of another version of asl_exp.
        """
        return _read(run_folder / Artifact.RESULT, cls)

    def resolved(self, config: Config) -> Config:
        """Return a configuration with what the run found out in place of ``auto``."""
        schedule = {
            name: phase.model_copy(update={"features": "never"})
            if name in self.on_images
            else phase
            for name, phase in config.schedule.items()
        }
        data = config.data
        if data.batch_size == "auto" and self.batch_size is not None:
            data = data.model_copy(update={"batch_size": self.batch_size})
        return config.model_copy(update={"schedule": schedule, "data": data})

    def write(self, run_folder: Path) -> None:
        """Replace ``result.json`` in one step."""
        _write(run_folder / Artifact.RESULT, self)


FOLDS_FILE: Final = "folds.json"


@dataclass
class FoldsResult:
    """The outcome of folds, in the folder above theirs, filled as they go.

    Attributes:
        status: RUNNING or FINISHED; each fold's own result says more.
        folds: the accuracy of each.
        scores: of all answers together, under the metric keys.
        interval: of the accuracy of all, 95 %, where it has one.
        images: how many were answered.
        caution: what must stand beside the scores.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    status: str = "RUNNING"
    folds: dict[str, float] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    interval: tuple[float, float] | None = None
    images: int = 0
    caution: str = ""
    mlflow_run_id: str | None = None

    def write(self, folder: Path) -> None:
        """Replace ``folds.json`` in one step."""
        _write(folder / FOLDS_FILE, self)

    def as_run(self) -> Result:
        """Return it as a run's result, without what only a run has."""
        cautions = {FOLDS: self.caution} if self.caution else {}
        return Result("folds", "", self.mlflow_run_id, self.status, cautions=cautions,
                      metrics=self.scores)  # fmt: skip


def outcome_of(folder: Path) -> Result | None:
    """Return what a run, or the folds below a folder, came to; None where none has begun.

    Raises:
        UserError: the file is damaged, or of another version of asl_exp.
    """
    folds = _read(folder / FOLDS_FILE, FoldsResult)
    return Result.read(folder) if folds is None else folds.as_run()


def spelled_cautions(cautions: Mapping[str, str]) -> str:
    """Return ``groups unknown: may leak (val, test)``, each caution once; "none" without any."""
    told: dict[str, list[str]] = {}
    for name, caution in cautions.items():
        told.setdefault(caution, []).append(name)
    return "; ".join(f"{what} ({', '.join(names)})" for what, names in told.items()) or "none"


def kept_scores(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the kept checkpoint's metrics under keys that no epoch has."""
    of_epochs = {key: value for key, value in metrics.items() if key.startswith("val/")}
    return {key: value for key, value in metrics.items() if key not in EPOCH_METRICS} | {
        KEPT + key: value for key, value in of_epochs.items()
    }


T = TypeVar("T", Result, FoldsResult)

_one_at_a_time = threading.RLock()
"""A thread that records epochs may write as well."""


def _write(file: Path, content: Result | FoldsResult) -> None:
    with _one_at_a_time, replaced(file) as part:
        part.write_text(json.dumps(asdict(content), indent=2) + "\n", "utf-8")


_LARGEST: Final = 50_000_000
"""Bytes; a run's own has thousands."""


def _read(file: Path, kind: type[T]) -> T | None:
    if not file.is_file():
        return None
    try:
        if file.stat().st_size > _LARGEST:
            raise _unreadable(file, "it is too large")
        adapter = _adapter(kind)  # type: ignore[arg-type] # the class is hashable, its objects not
        content: T = adapter.validate_json(file.read_bytes())
        return content
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise _unreadable(file, f"{place + ': ' if place else ''}{first['msg']}") from error
    except OSError as error:
        raise _unreadable(file, error.strerror) from error


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Return what reads a file; made once, for it takes longer to make than a file to read."""
    return TypeAdapter(kind)


def _unreadable(file: Path, reason: object) -> UserError:
    return UserError(
        f"{file}: damaged, or of another version of asl_exp ({reason}); put back the copy among "
        "the run's MLflow artifacts, or repeat the run"
    )

"""The run in progress: the one object that the functions of this room take, and who watches it.

run.py makes it, once everything that a run needs is there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch

from asl_exp.config.schema import Config
from asl_exp.data.hands.found import detector_digest
from asl_exp.data.letters import LetterData
from asl_exp.model.backbone import Preprocessing
from asl_exp.model.classifier import LetterClassifier
from asl_exp.model.kept import checkpoint_metadata
from asl_exp.runs.result import Result
from asl_exp.tracking.recorder import EpochLog, Recorder
from asl_exp.training.state import State
from asl_exp.training.terminal import Stages

Evaluate = Literal["everything", "answers", "scores", "validation"]
"""What is made of the kept checkpoint: all files of a run; test and external scores with the table
of answers behind them; the scores alone; nothing more than the validation metrics of its epoch."""


@dataclass
class Observer:
    """Told of each epoch; may end the run, which this one never does; sent to worker processes.

    Attributes:
        tags: further tags of the MLflow run.
        features_gb: how much a phase's stored features may take with ``features=auto``, as the
            study decided for all its trials; None: as the run's own configuration says.
    """

    tags: Mapping[str, str] = field(default_factory=dict)
    features_gb: float | None = None

    def after_epoch(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Take an epoch's metrics, on rank 0; return whether the run ends here."""
        return False


@dataclass(frozen=True)
class PhaseResult:
    """What a finished phase came to.

    Attributes:
        first_epoch, n_epochs: counted across phases; early stopping may end before the plan.
        kept_epoch: whose weights are kept, counted across phases.
        monitor, kept_value: the metric that decided, and its value then.
        kept_metrics: every metric of the kept epoch.
        checkpoint: of the kept epoch, within the run folder.
    """

    name: str
    first_epoch: int
    n_epochs: int
    kept_epoch: int
    monitor: str
    kept_value: float
    kept_metrics: dict[str, float]
    checkpoint: str


@dataclass
class Run:
    """One experiment in progress, on one rank.

    Attributes:
        config: with ``data.batch_size=auto`` replaced by what was found.
        folder: of the run; rank 0 writes there.
        data: with the splits ``train`` and ``val``, and those that are scored at the end.
        model: the network; a phase starts from its weights and leaves those that it kept.
        recorder: of the MLflow run; on all ranks but 0 it writes nothing.
        result: what becomes ``result.json``.
        evaluate: how much is made of the kept checkpoint.
        epochs: epoch, phase and metrics of each epoch so far.
    """

    config: Config
    folder: Path
    device: torch.device
    data: LetterData
    model: LetterClassifier
    preprocessing: Preprocessing
    recorder: Recorder
    result: Result
    stages: Stages = field(default_factory=Stages)
    observer: Observer | None = None
    evaluate: Evaluate = "everything"
    state: State | None = None
    phases: list[PhaseResult] = field(default_factory=list)
    epochs: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Go on where the state ends."""
        if self.state is not None:
            self.phases = [PhaseResult(**done) for done in self.state.phases]
            self.epochs = list(self.state.rows)
        self.planned = [name for name, phase in self.config.schedule.items() if phase.epochs]
        self.epoch_log = EpochLog(self.recorder, self.planned)

    @property
    def phases_left(self) -> list[str]:
        """The names of the phases that are not finished, in order."""
        done = {phase.name for phase in self.phases}
        return [name for name in self.planned if name not in done]

    @property
    def first_epoch(self) -> int:
        """The first epoch of the phase in progress, counted across phases."""
        return sum(done.n_epochs for done in self.phases)

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """What every checkpoint carries beside the weights."""
        detector = detector_digest(self.config.hand, self.config.data.cache_dir)
        return checkpoint_metadata(self.config, self.data.classes, self.preprocessing, detector)

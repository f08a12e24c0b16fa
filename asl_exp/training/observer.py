"""What a study passes to a run: an observer told of each epoch, and how much is evaluated."""

from collections.abc import Mapping
from typing import Literal, Protocol

Evaluate = Literal["everything", "answers", "scores", "validation"]
"""What is made of the kept checkpoint: all files of a run; test and external scores with the table
of answers behind them; the scores alone; nothing more than the validation metrics of its epoch."""


class Observer(Protocol):
    """Told of each epoch; may end the run. Sent to worker processes, so it can be pickled.

    Attributes:
        tags: further tags of the MLflow run.
        features_gb: how much a phase's stored features may take with ``features=auto``, as the
            study decided for all its trials; None: as the run's own configuration says.
    """

    tags: Mapping[str, str]
    features_gb: float | None

    def after_epoch(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Take an epoch's metrics, on rank 0; return whether the run ends here."""
        ...

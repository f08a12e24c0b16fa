"""What may look on as a run trains: a study, which reports epochs and may end a run early."""

from collections.abc import Mapping
from typing import Literal, Protocol

Depth = Literal["everything", "scores", "validation"]
"""What a run makes of its kept checkpoint: all files; test and external scores alone; neither."""


class Watcher(Protocol):
    """Looks on; sent to the worker processes where there are several devices, so picklable.

    Attributes:
        tags: further tags of the MLflow run.
    """

    tags: Mapping[str, str]

    def after_epoch(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Take an epoch's metrics, on rank 0; return whether the run is to end here."""
        ...

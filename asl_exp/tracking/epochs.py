"""Records the metrics of epochs: one batch each, or one a second where epochs take less.

A write to the local store takes 8 CPU ms, a fifth of an epoch of a head on stored features, and as
long as the disk wants; training does not wait for it.
"""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Final

from mlflow.entities import Metric

from asl_exp.config import names
from asl_exp.tracking.recorder import METRIC_BATCH, Recorder

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

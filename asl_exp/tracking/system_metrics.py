"""Samples what the machine does while a run trains: processors, memory, disk, network, GPUs.

The figures and their names, ``system/...``, are those of MLflow's own monitor, so its UI shows them
on a page of their own. That monitor reads the whole run between any two samples and drops what a
short run has sampled; here the samples of half a minute become one batch, and so do those left at
the end. Their step counts batches, not epochs.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from asl_exp.compat.mlflow import MONITORS, gpu_monitors
from asl_exp.tracking.recorder import Recorder

PREFIX: Final = "system/"
_SAMPLE_S: Final = 5.0  # 12 points a minute in the UI's charts
_SAMPLES: Final = 6  # of a batch


@contextmanager
def sampled(recorder: Recorder) -> Iterator[None]:
    """Sample in a thread of its own while the block runs; nothing where nothing is recorded."""
    if recorder.run_id is None:
        yield
        return
    sampler = None
    with recorder.spared():
        sampler = _Sampler(recorder)
        sampler.start()
    try:
        yield
    finally:
        if sampler is not None:
            sampler.stop()


class _Sampler(threading.Thread):
    def __init__(self, recorder: Recorder) -> None:
        super().__init__(name="system metrics", daemon=True)
        self._recorder = recorder
        self._ending = threading.Event()
        self._monitors: list[Any] = [make() for make in MONITORS] + gpu_monitors()
        self._step = 0
        self._n_samples = 0

    def run(self) -> None:
        """Sample until told to end, or until the record cannot be written: training will say it."""
        try:
            self._step = self._recorder.last_step(f"{PREFIX}cpu_utilization_percentage") + 1
            while not self._ending.wait(_SAMPLE_S):
                for monitor in self._monitors:
                    monitor.collect_metrics()
                self._n_samples += 1
                if self._n_samples == _SAMPLES:
                    self._log()
            if self._n_samples:
                self._log()
        except Exception:
            return

    def stop(self) -> None:
        """End, with what is left written."""
        self._ending.set()
        self.join()

    def _log(self) -> None:
        values: dict[str, float] = {}
        for monitor in self._monitors:
            values |= monitor.aggregate_metrics()
            monitor.clear_metrics()
        self._recorder.metrics({PREFIX + key: v for key, v in values.items()}, step=self._step)
        self._step += 1
        self._n_samples = 0

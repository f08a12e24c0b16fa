"""Batches of stored features, in the very order in which their images would come."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from asl_exp.data.batches import Batch, BatchLoader
from asl_exp.data.kept import Rows
from asl_exp.data.letters import Split

_RESIDENT_BYTES = 2_000_000_000
"""So much is held on the device; more is read batch by batch."""


class FeatureLoader(BatchLoader):
    """Iterates over one rank's batches; another view of the images every epoch.

    Args:
        split: whose features they are.
        views: one source of rows each; they take turns, from the first epoch on.
        first_epoch: of the phase, counted across phases.
        device: where the batches are put.
        **order: batch_size, shuffle, seed, rank, world_size: as in BatchLoader.
    """

    def __init__(
        self,
        split: Split,
        views: Sequence[Rows],
        *,
        first_epoch: int,
        device: torch.device,
        **order: Any,
    ) -> None:
        super().__init__(split, **order)
        self._views = views
        self._first_epoch = first_epoch
        self._device = device
        self._resident: dict[int, torch.Tensor] = {}
        self._on_device = self._labels.to(device)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the epoch's batches: features (B, ...) float32, labels (B,), rows (B,)."""
        if self._n_bytes() > _RESIDENT_BYTES:
            yield from super().__iter__()
            return
        view = self._view()
        if view not in self._resident:
            everything = self._views[view].gather(np.arange(len(self._split)))
            self._resident[view] = torch.from_numpy(everything).to(self._device)
        for share in self._shares():
            rows = torch.from_numpy(share).to(self._device)
            yield self._resident[view].index_select(0, rows), self._on_device[rows], rows

    def _batch(self, rows: NDArray[np.int64]) -> Batch:
        features = torch.from_numpy(self._views[self._view()].gather(rows))
        positions = torch.from_numpy(rows)
        return features, self._labels[positions], positions

    def _view(self) -> int:
        return (self._epoch - self._first_epoch) % len(self._views)

    def _n_bytes(self) -> int:
        return len(self._split) * len(self._views) * self._views[0].n_bytes

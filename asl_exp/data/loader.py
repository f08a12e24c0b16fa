"""Batches of stored pixels in an order that depends on seed and epoch alone.

The order of an epoch is one permutation of the whole split, cut into global batches; a device takes
its share of each. So two devices see together, step by step, exactly what one would see.
"""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from asl_exp.data.dataset import Split

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Images (B, 3, S, S) uint8 in channels-last memory, labels (B,) int64, rows (B,) int64."""

_AHEAD: Final = 2
"""Batches gathered before they are asked for."""

_POLL_S: Final = 0.1


class BatchLoader:
    """Iterates over one rank's batches of a split.

    Args:
        split: where the images come from.
        batch_size: images a step on this rank.
        shuffle: another order every epoch; off for evaluation.
        seed: of the order.
        share: this device's rank, and the number of devices among which each step is divided.
        pairs: show an image that would be alone in its batch twice; BatchNorm has no variance of
            one value.

    Attributes:
        pin_memory: put batches where a GPU copies them from without waiting; off at first.

    With shuffle off, nothing is padded: every image is on one rank, once, and ranks may differ by a
    batch. With shuffle on, all ranks take equally many steps; where the last global batch has fewer
    images than there are ranks, the ranks left over repeat its images.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int,
        share: tuple[int, int] = (0, 1),
        pairs: bool = False,
    ) -> None:
        rank, world_size = share
        if batch_size < 1 or not 0 <= rank < world_size:
            raise ValueError(f"batch_size={batch_size}, rank={rank} of {world_size}")
        self._split = split
        self._labels = torch.from_numpy(split.labels)
        self._global_size = batch_size * world_size
        self._shuffle = shuffle
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self.pin_memory = False
        self._pairs = pairs
        self._epoch = 0
        self._first_batch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration."""
        self._epoch = epoch

    def start_at(self, epoch: int, batch: int) -> None:
        """Begin the next iteration inside an epoch, at this batch; later ones begin at 0."""
        self._epoch, self._first_batch = epoch, batch

    def __len__(self) -> int:
        """Return the number of this rank's batches."""
        full, rest = divmod(len(self._split), self._global_size)
        return full + int(rest > 0 and (self._shuffle or rest > self._rank))

    def __iter__(self) -> Iterator[Batch]:
        """Yield the epoch's batches, gathered by a thread that ends with the iteration."""
        return _ahead(self._batch, map(self._paired, self._shares()))

    def _paired(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return rows.repeat(2) if self._pairs and len(rows) == 1 else rows

    def _shares(self) -> Iterator[NDArray[np.int64]]:
        """Yield this rank's positions within the split, batch by batch."""
        order, first = self._order(), self._first_batch * self._global_size
        self._first_batch = 0
        for start in range(first, len(order), self._global_size):
            share = _share(order[start : start + self._global_size], self._rank, self._world_size)
            if len(share):
                yield share
            elif self._shuffle:
                rest = order[start:]
                yield rest[[self._rank % len(rest)]]

    def _order(self) -> NDArray[np.int64]:
        if not self._shuffle:
            return np.arange(len(self._split))
        return np.random.default_rng([self._seed, self._epoch]).permutation(len(self._split))

    def _batch(self, rows: NDArray[np.int64]) -> Batch:
        # (B, S, S, 3) seen as (B, 3, S, S) is channels-last memory: nothing is copied.
        images = torch.from_numpy(self._split.gather(rows)).permute(0, 3, 1, 2)
        positions = torch.from_numpy(rows)
        batch = (images, self._labels[positions], positions)
        if self.pin_memory:
            images, labels, positions = (tensor.pin_memory() for tensor in batch)
            return images, labels, positions
        return batch


def _share(batch: NDArray[np.int64], rank: int, world_size: int) -> NDArray[np.int64]:
    """Return a rank's contiguous part; the first ranks may have one image more."""
    return np.array_split(batch, world_size)[rank]


class _StoppedError(Exception):
    """The consumer has gone."""


def _ahead(
    make: Callable[[NDArray[np.int64]], Batch], shares: Iterator[NDArray[np.int64]]
) -> Iterator[Batch]:
    """Yield make(share) of each share, made in a thread; raise here what is raised there."""
    made: queue.Queue[Batch | BaseException | None] = queue.Queue(_AHEAD)
    stop = threading.Event()

    def put(item: Batch | BaseException | None) -> None:
        while not stop.is_set():
            try:
                return made.put(item, timeout=_POLL_S)
            except queue.Full:
                continue
        raise _StoppedError

    def produce() -> None:
        try:
            for share in shares:
                put(make(share))
            put(None)
        except _StoppedError:
            return
        except BaseException as error:
            with suppress(_StoppedError):
                put(error)

    thread = threading.Thread(target=produce, name="batches", daemon=True)
    thread.start()
    try:
        while (item := made.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()

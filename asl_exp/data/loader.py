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

from asl_exp.data.letters import Split

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Images (B, 3, S, S) uint8 in channels-last memory, labels (B,) int64, rows (B,) int64.

Rows are positions within the split; what is known of an image beside its pixels is found by them.
Where no pixels are seen, images are (B, 0).
"""

_AHEAD: Final = 2
"""Batches gathered before they are asked for."""

_POLL_S: Final = 0.1  # until a thread sees that nobody takes its batches any more


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
        self._cells = split.cells if shuffle else None
        self._n_rows = split.n_epoch if shuffle else len(split)
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
        full, rest = divmod(self._n_rows, self._global_size)
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
            batch = order[start : start + self._global_size]
            share = np.array_split(batch, self._world_size)[self._rank]  # the first may have more
            if len(share):
                yield share
            elif self._shuffle:
                rest = order[start:]
                yield rest[[self._rank % len(rest)]]

    def _order(self) -> NDArray[np.int64]:
        if not self._shuffle:
            return np.arange(len(self._split))
        generator = np.random.default_rng([self._seed, self._epoch])
        if self._cells is None:
            return generator.permutation(len(self._split))
        return balanced_order(self._cells, self._split.at_most, generator)

    def _batch(self, rows: NDArray[np.int64]) -> Batch:
        if self._split.sees_pixels:
            # (B, S, S, 3) seen as (B, 3, S, S) is channels-last memory: nothing is copied.
            images = torch.from_numpy(self._split.gather(rows)).permute(0, 3, 1, 2)
        else:
            images = torch.empty(len(rows), 0)
        positions = torch.from_numpy(rows)
        batch = (images, self._labels[positions], positions)
        if self.pin_memory:
            images, labels, positions = (tensor.pin_memory() for tensor in batch)
            return images, labels, positions
        return batch


class HandRows:
    """What is known of the hands of a split's rows, on the device of whoever asks."""

    def __init__(self, split: Split) -> None:
        if split.joints is None:
            raise ValueError(f"no hand was looked for in {split.name}")
        self._joints = torch.from_numpy(split.joints)
        without = (split.rows < 0).any()
        self._has_image = torch.from_numpy(split.rows >= 0) if without else None
        self._rejected = None if split.rejected is None else torch.from_numpy(split.rejected)

    def of(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the arguments beside images of the network's `forward`: joints and has_image."""
        self._joints = self._joints.to(rows.device)
        given = {"joints": self._joints[rows]}
        if self._has_image is not None:
            self._has_image = self._has_image.to(rows.device)
            given["has_image"] = self._has_image[rows]
        return given

    def rejected_of(self, rows: torch.Tensor) -> torch.Tensor | None:
        """Return (B,) bool, which are answered "no hand"; None where none can be."""
        if self._rejected is None:
            return None
        self._rejected = self._rejected.to(rows.device)
        return self._rejected[rows]


def balanced_order(
    cells: NDArray[np.int64], at_most: int | None, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Return the rows of an epoch, in which every cell comes up equally often.

    With ``at_most``, so many rows of each cell, chosen anew, or all of a cell that has fewer.
    Without, N rows: each of the K cells gets N // K of them, and N % K cells, by lot, one more; a
    cell's rows are taken in random order, again from the beginning where they are too few.

    Args:
        cells: (N,) the cell of each row.
        at_most: rows of a cell.
        generator: of the order.
    """
    _, cell_of, sizes = np.unique(cells, return_inverse=True, return_counts=True)
    rows_of = np.split(np.argsort(cell_of, kind="stable"), np.cumsum(sizes)[:-1])
    if at_most is None:
        quotas = np.full(len(sizes), len(cells) // len(sizes))
        quotas[generator.permutation(len(sizes))[: len(cells) % len(sizes)]] += 1
    else:
        quotas = np.minimum(sizes, at_most)
    chosen = [
        np.concatenate([generator.permutation(rows) for _ in range(-(-quota // len(rows)))])[:quota]
        for rows, quota in zip(rows_of, quotas.tolist(), strict=True)
        if quota
    ]
    return generator.permutation(np.concatenate(chosen))


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

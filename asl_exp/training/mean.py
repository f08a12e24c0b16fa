"""Means over the images of an epoch, on the device, over all ranks.

A step only keeps what it counted; many steps are added at once. Where a step trains a head on
stored features it takes microseconds, and three of torchmetrics's means took a fifth of it. (Its
MeanMetric also looks for NaN at every update, which waits for the device, and drops what it finds.)
"""

import torch

from asl_exp.training.ranks import sum_over_ranks

_KEPT = 256  # batches until they are added, which waits for the device


class ImageMeans:
    """Sums batch means times images, batch after batch in float64; a NaN stays to be seen.

    Args:
        n: of numbers a batch.
    """

    def __init__(self, n: int) -> None:
        self._sums = [0.0] * (n + 1)  # of n numbers, and of images
        self._kept: list[tuple[int, tuple[torch.Tensor, ...]]] = []
        self._device = torch.device("cpu")

    def add(self, n_images: int, *means: torch.Tensor) -> None:
        """Count a batch of so many images."""
        self._device = means[0].device
        self._kept.append((n_images, tuple(mean.detach().float() for mean in means)))
        if len(self._kept) == _KEPT:
            self.settle()

    def settle(self) -> list[list[float]]:
        """Add what was kept; return the means of those batches."""
        if not self._kept:
            return []
        values = torch.stack([mean for _, means in self._kept for mean in means])
        batches = values.reshape(len(self._kept), -1).tolist()
        for (n_images, _), means in zip(self._kept, batches, strict=True):
            for place, value in enumerate((*means, 1.0)):
                self._sums[place] += n_images * value
        self._kept.clear()
        return batches

    @property
    def sums(self) -> torch.Tensor:
        """All that was counted: (n + 1,) float64, of n numbers and of images."""
        self.settle()
        return torch.tensor(self._sums, dtype=torch.float64, device=self._device)

    @sums.setter
    def sums(self, sums: torch.Tensor) -> None:
        self._kept.clear()
        self._sums = sums.tolist()

    def take(self) -> list[float]:
        """Return the means over the images of all ranks, and begin again."""
        *totals, n_images = sum_over_ranks(self.sums).tolist()
        self._sums = [0.0] * len(self._sums)
        return [total / n_images for total in totals]

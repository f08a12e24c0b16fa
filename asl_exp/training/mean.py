"""Means over the images of an epoch, on the device, over all ranks.

One tensor for all of them, so that a step adds once: where a step trains a head on stored features
it takes microseconds, and three of torchmetrics's means took a fifth of it. (Its MeanMetric also
looks for NaN at every update, which waits for the device, and drops what it finds.)
"""

import torch

from asl_exp.training.ranks import sum_over_ranks


class ImageMeans:
    """Sums batch means times images; a NaN stays to be seen.

    Attributes:
        sums: (n + 1,) float64, on the device of what is added: of n numbers, and of images.
    """

    def __init__(self, n: int) -> None:
        self.sums = torch.zeros(n + 1, dtype=torch.float64)

    def add(self, n_images: int, *means: torch.Tensor) -> None:
        """Count a batch of so many images."""
        batch = torch.stack([mean.detach().double() for mean in means])
        if self.sums.device != batch.device:
            self.sums = self.sums.to(batch.device)
        self.sums[:-1].add_(batch, alpha=n_images)
        self.sums[-1] += n_images

    def take(self) -> list[float]:
        """Return the means over the images of all ranks, and begin again."""
        *totals, n_images = sum_over_ranks(self.sums).tolist()
        self.sums = torch.zeros_like(self.sums)
        return [total / n_images for total in totals]

"""The mean of a number over images, on the device, over all ranks.

torchmetrics's MeanMetric looks for NaN at every update, which waits for the device, and drops what
it finds; with that switched off (nan_strategy="disable") version 1.9 drops the weights instead.
"""

import torch
from torchmetrics import Metric


class ImageMean(Metric):
    """Sums batch means times images; a NaN stays to be seen."""

    total: torch.Tensor
    n_images: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("n_images", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, mean: torch.Tensor, n_images: int) -> None:
        """Count a batch of so many images."""
        self.total += mean.detach() * n_images
        self.n_images += n_images

    def compute(self) -> torch.Tensor:
        """Return the mean over the images of all batches."""
        return self.total / self.n_images

"""The random numbers of one batch: drawn on the CPU, so that every device gets the same."""

import numpy as np
import torch
from torch import Tensor


class Chances:
    """Draws numbers for each of B images; equal seeds and equal questions give equal numbers.

    Attributes:
        n_images: B.
        device: where the tensors are put.
    """

    def __init__(self, seed: int, n_images: int, device: torch.device) -> None:
        self.n_images = n_images
        self.device = device
        self._generator = np.random.default_rng(seed)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Return (B, *shape) float32 of low..high."""
        return self._tensor(self._generator.uniform(low, high, (self.n_images, *shape)))

    def events(self, probability: float) -> Tensor:
        """Return (B,) bool, true with the probability given."""
        return self.uniform(0.0, 1.0) < probability

    def beta(self, alpha: float) -> Tensor:
        """Return (B,) float32 from Beta(alpha, alpha)."""
        return self._tensor(self._generator.beta(alpha, alpha, self.n_images))

    def order(self) -> Tensor:
        """Return a permutation (B,) of the images."""
        return torch.from_numpy(self._generator.permutation(self.n_images)).to(self.device)

    def normal_like(self, images: Tensor) -> Tensor:
        """Return standard normal numbers of the shape of images, drawn on their device."""
        generator = torch.Generator(self.device)
        generator.manual_seed(int(self._generator.integers(2**62)))
        n_images, channels, height, width = images.shape
        # Drawn into plain memory: into channels-last memory it takes three times as long.
        numbers = torch.empty(n_images, height, width, channels, device=self.device)
        return numbers.normal_(generator=generator).permute(0, 3, 1, 2)

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(self.device, non_blocking=True)

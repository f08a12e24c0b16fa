"""torch's private parts: the base of all normalisations, and generators of GPUs."""

import torch
from torch.nn.modules.batchnorm import _NormBase as NormBase

__all__ = ["NormBase", "seed_gpu"]


def seed_gpu(seed: int, device: torch.device) -> None:
    """Seed one GPU's generator; torch's public functions seed the current device or all."""
    torch.cuda.default_generators[device.index or 0].manual_seed(seed)

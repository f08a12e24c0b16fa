"""torch's private parts: the base of all normalisations, generators of GPUs; and its warnings."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch
from torch.nn.modules.batchnorm import _NormBase as NormBase

__all__ = ["NormBase", "seed_gpu", "without_export_remarks"]

_OF_EXPORT: Final = (
    ".*LeafSpec.*",  # torch 2.15 calls a name of its own old
    ".*symbolic dimension.*",  # 2.15: names that torch gives to dynamic sizes
    ".*axis name: batch will not be used, since it shares.*",  # two inputs, one size
    ".*`copyreg`.*",
)


def seed_gpu(seed: int, device: torch.device) -> None:
    """Seed one GPU's generator; torch's public functions seed the current device or all."""
    torch.cuda.default_generators[device.index or 0].manual_seed(seed)


@contextmanager
def without_export_remarks() -> Iterator[None]:
    """Keep back warnings of torch.export and the ONNX exporter about their own insides."""
    with warnings.catch_warnings():
        for message in _OF_EXPORT:
            warnings.filterwarnings("ignore", message=message)
        yield

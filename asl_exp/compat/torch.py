"""torch's private parts: the base of all normalisations, generators of GPUs, the step of Adam that
passes over memory once; and its warnings."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch
from torch.nn.modules.batchnorm import _NormBase as NormBase

__all__ = ["NormBase", "fused_adam", "seed_gpu", "without_export_remarks"]

_OF_EXPORT: Final = (
    ".*LeafSpec.*",  # torch 2.15 calls a name of its own old
    ".*symbolic dimension.*",  # 2.15: names that torch gives to dynamic sizes
    ".*axis name: batch will not be used, since it shares.*",  # two inputs, one size
    ".*`copyreg`.*",
)


def seed_gpu(seed: int, device: torch.device) -> None:
    """Seed one GPU's generator; torch's public functions seed the current device or all."""
    torch.cuda.default_generators[device.index or 0].manual_seed(seed)


def fused_adam(
    tensors: tuple[torch.Tensor, ...],
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> None:
    """Take one step of Adam in place; torch.optim.Adam, its only user, first loads the compiler.

    Args:
        tensors: the weight, its gradient, the means of gradient and of its square, and a scalar:
            the steps with this one. They are contiguous.
        lr, betas, eps: Adam's.
        weight_decay: times the weight, is added to the gradient.
    """
    weight, gradient, mean, of_square, n_steps = ([tensor] for tensor in tensors)
    torch._fused_adam_(
        weight, gradient, mean, of_square, [], n_steps,
        lr=lr, beta1=betas[0], beta2=betas[1], weight_decay=weight_decay, eps=eps,
        amsgrad=False, maximize=False,
    )  # fmt: skip


@contextmanager
def without_export_remarks() -> Iterator[None]:
    """Keep back warnings of torch.export and the ONNX exporter about their own insides."""
    with warnings.catch_warnings():
        for message in _OF_EXPORT:
            warnings.filterwarnings("ignore", message=message)
        yield

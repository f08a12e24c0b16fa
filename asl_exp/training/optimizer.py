"""The optimizer of a phase: parameter groups and the published formulas."""

from collections.abc import Iterator
from typing import Any

import torch
from timm.models import group_parameters
from torch import nn

from asl_exp.config.errors import ConfigError
from asl_exp.config.schema import OptimizerConfig
from asl_exp.model.classifier import LetterClassifier


def make_optimizer(
    model: LetterClassifier, config: OptimizerConfig, *, lr: float, layer_decay: float
) -> torch.optim.Optimizer:
    """Return the optimizer of everything that has a gradient, the head first.

    The L2 penalty is not here: it is part of the loss, exact for every optimizer.
    """
    groups = list(_groups(model, lr, layer_decay, config.weight_decay))
    betas = (config.betas[0], config.betas[1])
    if config.name == "nadam":
        return torch.optim.NAdam(
            groups,
            lr=lr,
            betas=betas,
            eps=config.eps,
            momentum_decay=config.momentum_decay,
            weight_decay=0.0,
        )
    if config.name == "adamw":
        return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=config.eps, weight_decay=0.0)
    return torch.optim.SGD(groups, lr=lr, momentum=config.momentum, weight_decay=0.0)


def _groups(
    model: LetterClassifier, lr: float, layer_decay: float, weight_decay: float
) -> Iterator[dict[str, Any]]:
    """Yield groups of equal rate and decay; biases and norms never decay (decoupled, AdamW)."""
    rates: dict[float, list[nn.Parameter]] = {lr: list(model.head.parameters())}
    trains = any(parameter.requires_grad for parameter in model.backbone.parameters())
    depths = _depths(model) if layer_decay < 1.0 and trains else {}
    for name, parameter in model.backbone.named_parameters():
        if parameter.requires_grad:
            rate = lr * layer_decay ** (1 + depths[name]) if depths else lr
            rates.setdefault(rate, []).append(parameter)
    for rate, parameters in rates.items():
        if not weight_decay:
            yield {"params": parameters, "lr": rate}
            continue
        kernels = [p for p in parameters if p.ndim > 1]
        others = [p for p in parameters if p.ndim <= 1]
        yield {"params": kernels, "lr": rate, "weight_decay": weight_decay}
        yield {"params": others, "lr": rate}


def _depths(model: LetterClassifier) -> dict[str, int]:
    """Return how many groups of layers lie between each backbone parameter and the head."""
    if not hasattr(model.backbone, "group_matcher"):
        raise ConfigError(
            ["lr.layer_decay: this backbone does not say how its layers are grouped; use 1.0"]
        )
    matcher = model.backbone.group_matcher(coarse=False)  # type: ignore[operator]
    group_of: dict[str, int] = group_parameters(model.backbone, matcher, reverse=True)
    last = max(group_of.values())
    return {name: last - group for name, group in group_of.items()}

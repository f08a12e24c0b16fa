"""The optimizer of a phase, its parameter groups, and the learning rate over the phase.

The formulas are the published systems'. The rate is a linear warm-up, then constant, half a cosine,
or plateaus.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from timm.models import group_parameters
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from asl_exp.config.errors import ConfigError
from asl_exp.config.schema import LearningRateConfig, OptimizerConfig
from asl_exp.model.classifier import LetterClassifier
from asl_exp.training.nadam import Nadam


def make_optimizer(
    model: LetterClassifier, config: OptimizerConfig, *, lr: float, layer_decay: float
) -> torch.optim.Optimizer:
    """Return the optimizer of everything that has a gradient, the head first.

    The L2 penalty is not here: it is part of the loss, exact for every optimizer.
    """
    groups = list(_groups(model, lr, layer_decay, config.weight_decay))
    betas = (config.betas[0], config.betas[1])
    if config.name == "nadam":
        return Nadam(
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
    joints = list(model.joints.parameters()) if model.joints is not None else []
    rates: dict[float, list[nn.Parameter]] = {lr: [*model.head.parameters(), *joints]}
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


class RateShape(LRScheduler):
    """Scales every group's rate by one factor, step by step; its state resumes with the optimizer.

    Args:
        optimizer: its groups' rates are the full rates.
        config: shape, warm-up and plateau settings.
        steps_per_epoch: optimizer steps in one epoch.
        epochs: of the phase.
    """

    def __init__(
        self, optimizer: Optimizer, config: LearningRateConfig, *, steps_per_epoch: int, epochs: int
    ) -> None:
        self.shape = config.shape
        self.warmup_steps = config.warmup_epochs * steps_per_epoch
        self.total_steps = steps_per_epoch * epochs
        self.final_fraction = config.final_fraction
        self.plateau_patience = config.plateau_patience
        self.plateau_factor = config.plateau_factor
        self.plateau_scale = 1.0
        self.lowest_loss = math.inf
        self.epochs_without_improvement = 0
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:  # type: ignore[override]
        """Return the rate of every group at the current step."""
        factor = self._factor(self.last_epoch)
        return [float(base) * factor for base in self.base_lrs]

    def _factor(self, step: int) -> float:
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        if self.shape == "plateau":
            return self.plateau_scale
        if self.shape == "cosine":
            progress = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
            cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
            return self.final_fraction + (1 - self.final_fraction) * cosine
        return 1.0

    def observe(self, val_loss: float) -> None:
        """Tell the validation loss of an epoch; only the plateau shape listens."""
        if val_loss < self.lowest_loss:
            self.lowest_loss, self.epochs_without_improvement = val_loss, 0
            return
        self.epochs_without_improvement += 1
        if self.shape == "plateau" and self.epochs_without_improvement >= self.plateau_patience:
            self.plateau_scale *= self.plateau_factor
            self.epochs_without_improvement = 0
            for group, rate in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
                group["lr"] = rate  # from the next step on, not the one after it

"""The learning rate over a phase: linear warm-up, then constant, half a cosine, or plateaus."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from asl_exp.config.schema import LearningRateConfig


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

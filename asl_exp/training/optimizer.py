"""The optimizer of a phase, its parameter groups, and the learning rate over the phase.

The formulas are the published systems'. The rate is a linear warm-up, then constant, half a cosine,
or plateaus. NAdam is Dozat's Adam with Nesterov's momentum: torch's numbers, without what torch
loads for them. On a CPU a step goes over a weight in pieces that stay in the processor's cache;
torch passes eight times over all of it, and its steps load its compiler, which takes 2 s. A head's
own steps are so short that even this was a third of them: those are taken in a single pass.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from timm.models import group_parameters
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from asl_exp.compat.torch import fused_adam
from asl_exp.config.errors import ConfigError
from asl_exp.config.schema import LearningRateConfig, OptimizerConfig
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


_PIECE: Final = 32_768  # numbers: with gradient, moments and a buffer 640 KB


class Nadam(torch.optim.NAdam):
    """torch's NAdam, equal to the bit and with the same state; on a GPU torch's own step."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every weight that has a gradient on."""
        if not all(_is_ours(group) for group in self.param_groups):
            return super().step(closure)
        with torch.enable_grad():
            loss = closure() if closure is not None else None
        with torch.no_grad():
            for group in self.param_groups:
                for weight in group["params"]:
                    if weight.grad is not None:
                        _move(weight, self._state_of(weight), group)
        return loss

    def _state_of(self, weight: torch.Tensor) -> dict[str, torch.Tensor]:
        state: dict[str, torch.Tensor] = self.state[weight]
        if not state:
            state["step"], state["mu_product"] = torch.tensor(0.0), torch.tensor(1.0)
            state["exp_avg"], state["exp_avg_sq"] = (torch.zeros_like(weight) for _ in range(2))
        return state


class NadamInOnePass:
    """Takes the steps of `Nadam` over one group of weights on the CPU, equal up to rounding.

    NAdam moves a weight along a g + b m', with m' = beta1 m + (1 - beta1) g. So does an Adam that
    begins at m, whose beta1 is b beta1 / (a + b) and whose rate is a + b. The mean that it comes to
    is on the line from m through m'.

    Args:
        optimizer: after one step at least; its state is what is moved on.
        l2: of the weights under a penalty l2 * sum(w^2), which is not in their gradients.
    """

    def __init__(self, optimizer: Nadam, l2: Mapping[torch.Tensor, float]) -> None:
        (self.group,) = optimizer.param_groups
        self.weights: list[torch.Tensor] = [w for w in self.group["params"] if w.requires_grad]
        self.states = [optimizer.state[weight] for weight in self.weights]
        self._means = [torch.empty_like(weight) for weight in self.weights]
        self._decays = [2 * l2.get(weight, 0.0) for weight in self.weights]

    @torch.no_grad()
    def __call__(self, gradients: Iterable[torch.Tensor]) -> None:
        """Move every weight on."""
        group, states = self.group, self.states
        (beta1, beta2), eps = group["betas"], group["eps"]
        a, b, _ = next_factors(states, {**group, "lr": -1.0})
        beta = beta1 * b / (a + b)
        lr = float(group["lr"]) * (a + b) * (1 - beta ** states[0]["step"].item())
        each = zip(self.weights, gradients, states, self._means, self._decays, strict=True)
        for weight, gradient, state, mean, decay in each:
            first, second = state["exp_avg"], state["exp_avg_sq"]
            tensors = weight, gradient.contiguous(), mean.copy_(first), second, state["step"]
            fused_adam(tensors, lr=lr, betas=(beta, beta2), eps=eps, weight_decay=decay)
            first.lerp_(mean, (1 - beta1) / (1 - beta))


def _move(weight: torch.Tensor, state: dict[str, torch.Tensor], group: dict[str, Any]) -> None:
    """Take one step of one weight; its state is moved on as well."""
    of_gradient, of_mean, of_second = next_factors([state], group)
    beta1, beta2 = group["betas"]
    assert weight.grad is not None
    tensors = weight.detach(), weight.grad, state["exp_avg"], state["exp_avg_sq"]
    for piece, gradient, first, second in _pieces(tensors):
        first.lerp_(gradient, 1 - beta1)
        second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        below = second.div(of_second).sqrt_().add_(group["eps"])
        piece.addcdiv_(gradient, below, value=of_gradient)
        piece.addcdiv_(first, below, value=of_mean)


def _is_ours(group: dict[str, Any]) -> bool:
    return not group["weight_decay"] and all(not weight.is_cuda for weight in group["params"])


def _pieces(tensors: tuple[torch.Tensor, ...]) -> Iterable[tuple[torch.Tensor, ...]]:
    if not all(tensor.is_contiguous() for tensor in tensors):
        return [tensors]
    return zip(*(torch.split(tensor.view(-1), _PIECE) for tensor in tensors), strict=True)


def next_factors(
    states: Sequence[dict[str, torch.Tensor]], group: dict[str, Any]
) -> tuple[float, float, float]:
    """Return what the next step multiplies by, see `nadam_factors`, and count it in the states."""
    n_steps, product = int(states[0]["step"].item()) + 1, float(states[0]["mu_product"].item())
    *factors, product = nadam_factors(n_steps, product, group)
    for state in states:
        state["step"].fill_(n_steps)
        state["mu_product"].fill_(product)
    return factors[0], factors[1], factors[2]


def nadam_factors(
    n_steps: int, product: float, group: dict[str, Any]
) -> tuple[float, float, float, float]:
    """Return the numbers of NAdam's step n: -lr (1 - m_n) / (1 - M_n), -lr m_n+1 / (1 - M_n+1),
    1 - beta2^n, and M_n.

    Here m_n = beta1 (1 - 0.96^(n decay) / 2) and M_n their product up to n: Dozat's schedule, as in
    Keras and torch.

    Args:
        n_steps: n, from 1.
        product: M of the step before; 1 at first.
        group: of torch's NAdam: lr, betas, momentum_decay.
    """
    (beta1, beta2), decay = group["betas"], group["momentum_decay"]
    here = beta1 * (1 - 0.5 * 0.96 ** (n_steps * decay))
    after = beta1 * (1 - 0.5 * 0.96 ** ((n_steps + 1) * decay))
    product = float(np.float32(product) * np.float32(here))  # as torch keeps it
    lr = float(group["lr"])
    of_gradient = -lr * (1 - here) / (1 - product)
    return of_gradient, -lr * after / (1 - product * after), 1 - beta2**n_steps, product


def nadam_step(
    tensors: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    gradient: torch.Tensor,
    factors: torch.Tensor,
    group: dict[str, Any],
) -> None:
    """Move a weight and its two moments on, in place.

    Args:
        tensors: the weight, and the means of its gradient and of the gradient's square.
        gradient: of the weight.
        factors: (3,) the first three of `nadam_factors`.
        group: of torch's NAdam: betas, eps.
    """
    weight, first, second = tensors
    beta1, beta2 = group["betas"]
    first.lerp_(gradient, 1 - beta1)
    second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    below = (second / factors[2]).sqrt_().add_(group["eps"])
    weight.addcdiv_(gradient * factors[0], below)
    weight.addcdiv_(first * factors[1], below)

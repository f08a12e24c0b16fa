"""NAdam, Dozat's Adam with Nesterov's momentum: torch's numbers, without what torch loads for them.

On a CPU a step goes over a weight in pieces that stay in the processor's cache; torch passes eight
times over all of it, and its optimizers' steps load its compiler, which takes 2 s.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np
import torch

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


def _move(weight: torch.Tensor, state: dict[str, torch.Tensor], group: dict[str, Any]) -> None:
    """Take one step of one weight; its state is moved on as well."""
    state["step"] += 1
    n_steps, (beta1, beta2) = int(state["step"].item()), group["betas"]
    before = float(state["mu_product"].item())
    of_gradient, of_mean, of_second, product = nadam_factors(n_steps, before, group)
    state["mu_product"].fill_(product)
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

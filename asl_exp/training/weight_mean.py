"""The exponential mean of the weights over the steps of a phase: what is validated and kept.

It belongs to the module that trains, moves after every optimizer step, and is a part of the state
that a run goes on from. Ranks have equal weights after every step, so their means are equal too.
"""

import torch
from torch import nn


class WeightMean:
    """The mean of all trained weights: mean + (1 - d) (weights - mean), d the decay.

    The first steps count more: d is the least of the decay and (1 + n) / (10 + n) after n steps.

    Args:
        decay: of a step, 0 to 1.
        module: whose trained parameters it is of.
    """

    def __init__(self, decay: float, module: nn.Module) -> None:
        self._decay, self._n_steps = decay, 0
        self._weights = {n: p for n, p in module.named_parameters() if p.requires_grad}
        self._mean = {name: weight.detach().clone() for name, weight in self._weights.items()}

    @torch.no_grad()
    def step(self) -> None:
        """Take in the weights after an optimizer step."""
        self._n_steps += 1
        decay = min(self._decay, (1 + self._n_steps) / (10 + self._n_steps))
        for name, weight in self._weights.items():
            self._mean[name] = self._mean[name].to(weight.device)
            self._mean[name].lerp_(weight, 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the module's weights and the mean, bit for bit."""
        for name, weight in self._weights.items():
            held = weight.detach().clone()
            weight.copy_(self._mean[name])
            self._mean[name] = held

    def state(self) -> dict[str, object]:
        """Return what `load_state` goes on from."""
        return {"n_steps": self._n_steps, "mean": dict(self._mean)}

    def load_state(self, state: dict[str, object]) -> None:
        """Go on where `state` was taken."""
        n_steps, mean = state["n_steps"], state["mean"]
        assert isinstance(n_steps, int)
        assert isinstance(mean, dict)
        self._n_steps = n_steps
        for name, weight in self._weights.items():
            self._mean[name] = mean[name].to(weight.device).clone()

    def put_into(self, tensors: dict[str, torch.Tensor]) -> None:
        """Replace the weights of a state dict of the module by the mean."""
        tensors.update({name: mean for name, mean in self._mean.items() if name in tensors})

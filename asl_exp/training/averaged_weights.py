"""Averages of weights: their exponential mean over a phase's steps, and the mix of two phases.

The mean is what is validated and kept. It belongs to the module that trains, moves after every
optimizer step, and is a part of the state that a run goes on from; ranks have equal weights after
every step, so their means are equal too.

The mix is of a phase's weights with those it started from: WiSE-FT, Wortsman et al., CVPR 2022.
Fine-tuning gains on images like those trained on and loses some of what was known of others; in
between both may be better. What is best on val is kept: with people in val that are not in train,
that is a choice for other people.
"""

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import nn

from asl_exp.config import names
from asl_exp.config.names import Artifact
from asl_exp.evaluation import report
from asl_exp.evaluation.inference import probabilities, with_no_hand
from asl_exp.model.checkpoint import save_kept_model, take_weights
from asl_exp.training.batch_size import step_images
from asl_exp.training.current_run import PhaseResult, Run
from asl_exp.training.ranks import rank, send_from_rank_zero
from asl_exp.training.terminal import say

SHARES: Final = tuple(tenth / 10 for tenth in range(11))
"""Of the phase's own weights."""

_LEAST: Final = 1e-12


def keep_best_mix(run: Run, kept: PhaseResult) -> PhaseResult:
    """Put the best mix into the network and beside the phase's checkpoint; return what it came to.

    Rank 0 tries the mixes while the others wait. Of mixes that are equal by the phase's monitor the
    one with the lowest val/loss is kept.

    Args:
        run: in progress; its network has the weights that the phase kept.
    """
    earlier = run.phases[-1]
    checkpoint = f"{Artifact.CHECKPOINTS}/{kept.name}_mixed.ckpt"
    scores: list[dict[str, float]] = [{}]
    if rank() == 0:
        share, scores[0] = _best(run, run.folder / earlier.checkpoint, kept)
        about = {**run.metadata, "phase": kept.name, "epoch": kept.kept_epoch, "mix": share}
        save_kept_model(run.model, about, run.folder / checkpoint)
        say(
            f"{kept.name}: {share:.0%} of its own weights and {1 - share:.0%} of {earlier.name}'s "
            f"are best on val, {kept.monitor} {scores[0][kept.monitor]:.4f} ({kept.kept_value:.4f})"
        )
    send_from_rank_zero(run.model, scores)
    return replace(
        kept,
        kept_value=scores[0][kept.monitor],
        kept_metrics=kept.kept_metrics | scores[0],
        checkpoint=checkpoint,
    )


def _best(run: Run, earlier: Path, kept: PhaseResult) -> tuple[float, dict[str, float]]:
    """Leave the best mix in the network; return the share of the phase's own and its scores."""
    own = _copy(run.model)
    take_weights(run.model, earlier)
    start = _copy(run.model)
    tried: list[tuple[float, dict[str, float]]] = []
    for share in SHARES:
        run.model.load_state_dict(mixed(start, own, share))
        tried.append((share, _scores(run)))
    sign = -1 if names.falls(kept.monitor) else 1
    best = max(tried, key=lambda one: (sign * one[1][kept.monitor], -one[1][names.VAL_LOSS]))
    run.model.load_state_dict(mixed(start, own, best[0]))
    return best


def mixed(
    start: dict[str, torch.Tensor], own: dict[str, torch.Tensor], share: float
) -> dict[str, torch.Tensor]:
    """Return (1 - share) start + share own, bit for bit one of them at 0 and 1.

    Running statistics are mixed as weights are; whole numbers are those of `own`.
    """
    return {
        name: torch.lerp(start[name], end, share) if end.is_floating_point() else end
        for name, end in own.items()
    }


def _copy(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.cpu().clone() for name, tensor in model.state_dict().items()}


def _scores(run: Run) -> dict[str, float]:
    """Return val's metrics, as the epochs of a phase have them."""
    val, batch_size = run.data.splits["val"], step_images(run.config)
    answers = probabilities(run.model, val, batch_size=batch_size, device=run.device)
    run.model.cpu()
    of_labels = answers[np.arange(len(val)), val.labels].astype(np.float64)
    answered, _ = with_no_hand(answers, run.data.classes, val.rejected)
    told = report.summary(answered, val.labels)
    return {
        names.VAL_LOSS: float(-np.log(of_labels.clip(_LEAST)).mean()),
        names.VAL_ACCURACY: told["accuracy"],
        names.VAL_F1_MACRO: told["f1_macro"],
    }


class WeightMean:
    """The mean of all trained weights: mean + (1 - d) (weights - mean), d the decay.

    The first steps count more: d is the least of the decay and (1 + n) / (10 + n) after n steps.
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

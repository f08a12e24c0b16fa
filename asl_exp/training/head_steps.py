"""Many steps of a head in one call: Lightning's loop takes longer around a step than the step does.

What a step computes is the module's, in the same order and with the same random numbers as one by
one. On a GPU, where launching the many small kernels of a step takes longer than their work, a full
batch's step is recorded once as a CUDA graph and replayed.
"""

from typing import Any

import torch
from torch import nn

from asl_exp.config.schema import Config
from asl_exp.training.features import Group
from asl_exp.training.optimizer import NadamInOnePass, RateShape, nadam_step, next_factors
from asl_exp.training.phase_module import PhaseModule
from asl_exp.training.ranks import world_size
from asl_exp.training.terminal import say


def takes_many_steps(config: Config) -> bool:
    """Return whether the steps of a head can be taken together.

    Several devices average their gradients at every step; half precision with a scaler and
    accumulated steps are left to Lightning.
    """
    trainer = config.trainer
    return world_size() == 1 and trainer.accumulate == 1 and trainer.precision != "16-mixed"


class HeadSteps:
    """Takes the steps of a group of batches.

    Args:
        module: that trains a head alone, on one device.
    """

    def __init__(self, module: PhaseModule) -> None:
        self._module = module
        self._recorded: RecordedStep | None = None
        self._records = _can_be_recorded(module)
        self._plain = _steps_by_nadam_alone(module)
        self._nadam: NadamInOnePass | None = None

    def __call__(self, group: Group) -> None:
        """Take one step a batch."""
        features, labels, batches, first = group
        optimizer = self._module.optimizers(use_pl_optimizer=False)
        shape = self._module.lr_schedulers()
        assert isinstance(optimizer, torch.optim.Optimizer)
        assert isinstance(shape, RateShape)
        for number, rows in enumerate(batches, first):
            recorded = self._recording(optimizer, features, len(rows))
            if recorded is not None:
                recorded(features, labels, rows, number)
            else:
                batch = features.index_select(0, rows), labels[rows], rows
                self._step(optimizer, batch, number)
            shape.step()

    def _step(self, optimizer: torch.optim.Optimizer, batch: Any, number: int) -> None:
        module = self._module
        if self._plain and batch[0].device.type == "cpu" and optimizer.state:
            self._step_in_one_pass(optimizer, batch, number)
        else:
            loss = module.loss_of(batch, number)
            with torch.autocast(loss.device.type, enabled=False):
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                if clip := module.config.optimizer.clip_norm:
                    parameters = [p for group in optimizer.param_groups for p in group["params"]]
                    nn.utils.clip_grad_norm_(parameters, clip)
                optimizer.step()
        if module.weight_mean:
            module.weight_mean.step()

    def _step_in_one_pass(self, optimizer: Any, batch: Any, number: int) -> None:
        """Take a step with the penalty's gradient left to the optimizer."""
        module = self._module
        if self._nadam is None:
            kernels = module.network.head.penalised_kernels()
            l2 = dict.fromkeys(kernels, module.config.regularization.l2)
            self._nadam = NadamInOnePass(optimizer, l2)
        loss, hits = module.fit_to(batch, number)
        with torch.autocast("cpu", enabled=False):
            gradients = torch.autograd.grad(loss, self._nadam.weights)
            with torch.no_grad():
                penalty = module.l2_penalty()
            module.count(len(batch[1]), number, loss, hits, penalty)
            self._nadam(gradients)

    def _recording(
        self, optimizer: torch.optim.Optimizer, features: torch.Tensor, n_images: int
    ) -> "RecordedStep | None":
        """Return the recorded step of full batches; None: this step is taken kernel by kernel.

        The first step of all is, so that the optimizer has its state.
        """
        full = n_images == self._module.config.data.batch_size
        if not (self._records and full and features.is_cuda and optimizer.state):
            return None
        if self._recorded is None:
            try:
                self._recorded = RecordedStep(self._module, optimizer, features, n_images)
            except RuntimeError as error:
                self._records = False
                say(f"steps of the head are not recorded as a CUDA graph: {error}", warning=True)
        return self._recorded


def _can_be_recorded(module: PhaseModule) -> bool:
    """Return whether nothing but batch, rate and seed changes from step to step."""
    plain = _steps_by_nadam_alone(module)
    return plain and module.weight_mean is None and module.network.joints is None


def _steps_by_nadam_alone(module: PhaseModule) -> bool:
    optimizer = module.config.optimizer
    return optimizer.name == "nadam" and not optimizer.weight_decay and not optimizer.clip_norm


class RecordedStep:
    """One step of a head with NAdam, recorded as a CUDA graph.

    Args:
        module: that trains the head.
        optimizer: torch's NAdam, after one step at least; its state is what is moved on.
        features: (N, ...) of all images.
        n_images: of a batch.
    """

    def __init__(
        self, module: PhaseModule, optimizer: Any, features: torch.Tensor, n_images: int
    ) -> None:
        self._module = module
        (self._group,) = optimizer.param_groups
        self._weights = [p for p in self._group["params"] if p.requires_grad]
        self._states = [optimizer.state[weight] for weight in self._weights]
        self._first = [state["exp_avg"] for state in self._states]
        self._second = [state["exp_avg_sq"] for state in self._states]
        device = features.device
        self._features = features.new_empty(n_images, *features.shape[1:])
        self._labels = torch.zeros(n_images, dtype=torch.int64, device=device)
        self._factors = torch.zeros(3, device=device)
        self._means = torch.zeros(3, device=device)
        self._graph = torch.cuda.CUDAGraph()
        self._record()

    def __call__(
        self, features: torch.Tensor, labels: torch.Tensor, rows: torch.Tensor, number: int
    ) -> None:
        """Take the step of a batch."""
        with torch.no_grad():
            torch.index_select(features, 0, rows, out=self._features)
            torch.index_select(labels, 0, rows, out=self._labels)
            factors = next_factors(self._states, self._group)
            self._factors.copy_(torch.tensor(factors), non_blocking=True)
        self._module.seed_dropout(self._module.step_seed(number))
        self._graph.replay()
        self._module.count(len(rows), number, *self._means.clone())

    def _record(self) -> None:
        """Run the step a few times, as recording wants, undo that, and record it."""
        changed = [*self._weights, *self._first, *self._second]
        held = [tensor.detach().clone() for tensor in changed]
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(stream):
                for _ in range(3):
                    self._compute()
            torch.cuda.current_stream().wait_stream(stream)
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                self._compute()
        finally:  # also where it cannot be recorded, and the run goes on without
            with torch.no_grad():
                for tensor, value in zip(changed, held, strict=True):
                    tensor.copy_(value)

    def _compute(self) -> None:
        half = {"bf16-mixed": torch.bfloat16}.get(self._module.config.trainer.precision)
        # The casts of weights must be a part of the graph, not what an earlier step left.
        with torch.autocast("cuda", half, enabled=half is not None, cache_enabled=False):
            scores = self._module.network.scores(self._features)
            loss = self._module.loss(scores, self._labels)
        penalty = self._module.l2_penalty()
        gradients = torch.autograd.grad(loss + penalty, self._weights)
        with torch.no_grad():
            hits = (scores.argmax(1) == self._labels).float().mean()
            self._means.copy_(torch.stack([loss, hits, penalty]))
            moments = zip(self._weights, gradients, self._first, self._second, strict=True)
            for weight, gradient, first, second in moments:
                nadam_step((weight, first, second), gradient, self._factors, self._group)

"""The LightningModule of one phase: steps, losses, and the metrics of an epoch.

Losses and counts stay on the device until the epoch ends; nothing in a step waits for them. All
randomness of a step is a function of seed, epoch, batch and rank, so a run can be resumed anywhere
without the state of any random generator.
"""

import math
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import nn

from asl_exp.compat.torch import seed_gpu
from asl_exp.config import names
from asl_exp.config.errors import NonFiniteLossError
from asl_exp.config.schema import PhaseConfig
from asl_exp.data.augmentation import Augmentation
from asl_exp.data.hands.augment_joints import JointAugmentation
from asl_exp.data.loader import HandRows
from asl_exp.evaluation.scores import f1_by_class
from asl_exp.model.classifier import LetterClassifier
from asl_exp.model.feature_cut import Cut
from asl_exp.training.averaged_weights import WeightMean
from asl_exp.training.batch_size import step_images
from asl_exp.training.current_run import Run
from asl_exp.training.optimizer import RateShape, make_optimizer
from asl_exp.training.ranks import average_statistics, sum_over_ranks
from asl_exp.training.trainable import (
    hold_frozen,
    saves_part,
    set_trainable,
    trained_layers,
    trained_names,
)

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Images uint8 ``(B, 3, S, S)``, labels int64 ``(B,)``, rows int64 ``(B,)``."""

_LOOK_EVERY = 50
"""Steps between looks for a non-finite loss; each look waits for the device."""


class PhaseModule(pl.LightningModule):
    """Trains what a phase trains.

    Args:
        run: in progress; its network has the weights that the phase starts from.
        phase_name: a key of ``config.schedule``.
        cut: batches are stored features from there, not images.
    """

    def __init__(self, run: Run, phase_name: str, cut: Cut | None = None) -> None:
        super().__init__()
        self.config, self.phase_name, self.cut = run.config, phase_name, cut
        self.phase: PhaseConfig = run.config.schedule[phase_name]
        self.n_classes = n_classes = len(run.data.classes)
        self.n_train_images = run.data.splits["train"].n_epoch  # over all ranks
        self.first_epoch = run.first_epoch  # makes orders and augmentations differ by phase
        self.metadata = run.metadata
        self.hands = _hands(run)
        model, config = run.model, run.config
        part = saves_part(self.phase, cut)
        self.trains_head_alone = cut is not None and not cut.module
        head_alone = part and self.trains_head_alone
        # Lightning sets the mode of every module it knows several times an epoch: of a network of
        # 200 that would be a sixth of the time of an epoch of its head.
        self.model = _head(model) if head_alone else model
        self._network = (model.eval() if head_alone else model,)
        self.augmentation = Augmentation(config.augmentation, n_classes)
        self.joint_augmentation = JointAugmentation(config.augmentation, config.hand.variation)
        self.loss = nn.CrossEntropyLoss(label_smoothing=config.regularization.label_smoothing)
        self.train_means, self.val_loss = ImageMeans(3), ImageMeans(1)  # loss, hits, penalty
        self._answers: list[torch.Tensor] = []  # of validation: label * (C + 1) + answer
        self.validation: dict[str, float] = {}
        self._last_batch, self._seeds_of = -1, -1
        self._seeds: list[int] = []
        self._n_images, self._train_s, self._started = 0, 0.0, 0.0
        self._sigterm = signal.getsignal(signal.SIGTERM)
        set_trainable(model, self.phase)
        self._saved = trained_names(self, model, self.phase) if part else None
        decay = config.regularization.weight_mean
        self.weight_mean = WeightMean(decay, self) if decay else None
        self.strict_loading = self._saved is None
        self.head_steps: Callable[[Any], None] | None = None  # takes groups of batches
        self.steps_a_call = 1

    @property
    def network(self) -> LetterClassifier:
        """The whole network, also where only its head is a part of this module."""
        return self._network[0]

    @property
    def epoch(self) -> int:
        """The epoch counted across phases, from 0."""
        return self.first_epoch + int(self.current_epoch)

    def train(self, mode: bool = True) -> "PhaseModule":
        """Set the mode of everything that trains; frozen parts stay in eval mode."""
        super().train(mode)
        if mode and self.model is self.network:
            hold_frozen(self.network, self.phase)
        return self

    def configure_optimizers(self) -> Any:
        """Return the phase's optimizer and the shape of its rate."""
        optimizer = make_optimizer(
            self.network,
            self.config.optimizer,
            lr=self.phase.lr,
            layer_decay=self.config.lr.layer_decay,
        )
        shape = RateShape(
            optimizer,
            self.config.lr,
            steps_per_epoch=self._steps_per_epoch(),
            epochs=self.phase.epochs,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": shape, "interval": "step"}}

    def _steps_per_epoch(self) -> int:
        if self.head_steps is not None:
            return math.ceil(self.n_train_images / step_images(self.config))
        return int(self.trainer.estimated_stepping_batches) // self.phase.epochs

    def on_train_start(self) -> None:
        """Set the modes, which Lightning leaves as it finds them, also inside a resumed epoch.

        Take SIGTERM back as well: Lightning's handler broadcasts between the ranks wherever the
        signal finds them, and hangs where they are in the middle of another exchange.
        """
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._sigterm)
        self.train()
        self._started = time.perf_counter()

    def on_train_epoch_start(self) -> None:
        """Set modes and the order of this epoch's images, which depends on seed and epoch alone."""
        self.train()
        assert self.trainer.train_dataloader is not None
        self.trainer.train_dataloader.set_epoch(self.epoch)
        self._n_images, self._started = 0, time.perf_counter()

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor | None:
        """Return cross-entropy plus the L2 penalty of a batch; None: all steps of a group are done.

        Args:
            batch: one batch, or a group of a head's.
            batch_idx: its number in the epoch.
        """
        if self.head_steps is None:
            return self.loss_of(batch, batch_idx)
        self.head_steps(batch)
        return None

    def loss_of(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Return what a step makes smaller, and count the batch."""
        loss, hits = self.fit_to(batch, batch_idx)
        penalty = self.l2_penalty()
        n_own = self._own_images(len(batch[1]), batch_idx)
        self.count(n_own, batch_idx, loss, hits, penalty)
        of_loss, of_penalty = self._weights(n_own, batch_idx)
        return of_loss * loss + of_penalty * penalty

    def fit_to(self, batch: Batch, batch_idx: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the cross-entropy of a batch and the share of hits."""
        inputs, labels, rows = batch
        targets, seed = labels, self.step_seed(batch_idx)
        if self.cut is None and self.network.sees_pixels:
            inputs, targets = self.augmentation(inputs.float() / 255.0, labels, seed=seed)
            if self.config.trainer.channels_last:
                inputs = inputs.contiguous(memory_format=torch.channels_last)
        beside = self._beside("train", rows)
        if (joints := beside.get("joints")) is not None:
            beside["joints"] = self.joint_augmentation(joints, seed=seed)
        self.seed_dropout(seed)
        logits = self._scores(inputs, beside)
        with torch.no_grad():
            hits = (logits.argmax(1) == labels).float().mean()
        return self.loss(logits, targets), hits

    def _beside(self, split: str, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return what the network sees beside the pixels of these rows."""
        return {} if self.network.joints is None else self.hands[split].of(rows)

    def _scores(self, inputs: torch.Tensor, beside: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return scores (B, C) of images, or of stored features where the phase goes from them."""
        if self.cut:
            return self.cut.above(self.network, inputs, **beside)
        return self.network(inputs, **beside)  # type: ignore[no-any-return]

    def _own_images(self, n_images: int, batch_idx: int) -> int:
        """Return how many of a batch's images count here: none where they are another rank's.

        A last batch of fewer images than ranks is repeated by the ranks left over, and an image
        that is alone may be there twice.
        """
        part_size = step_images(self.config) // self.config.trainer.accumulate
        left = self.n_train_images - batch_idx * part_size
        share = math.ceil((left - self.global_rank) / int(self.trainer.world_size))
        return max(0, min(n_images, share))

    def _weights(self, n_images: int, batch_idx: int) -> tuple[float, float]:
        """Return the weights of a batch's loss and penalty that make every image count the same.

        DDP averages over ranks and Lightning over the parts of an accumulated step, as if all had
        equally many images; in the last, incomplete step of an epoch they have not.
        """
        n_ranks, parts = int(self.trainer.world_size), self.config.trainer.accumulate
        step_size = step_images(self.config)
        part_size = step_size // parts
        counted = min(step_size, self.n_train_images - batch_idx // parts * step_size)
        return n_images * n_ranks * parts / counted, parts / math.ceil(counted / part_size)

    def l2_penalty(self) -> torch.Tensor:
        """Return l2 * sum(w^2) over the head's kernels, as Keras's kernel_regularizer has it."""
        l2 = self.config.regularization.l2
        kernels = self.network.head.penalised_kernels() if l2 else []
        total = torch.zeros((), device=self.device)
        for kernel in kernels:
            total = total + sum_of_squares(kernel)
        return l2 * total

    def step_seed(self, batch_idx: int) -> int:
        """Return another seed for each batch of each epoch on each rank."""
        if self._seeds_of != self.epoch:
            sequence = np.random.SeedSequence((self.config.seed, self.epoch, self.global_rank))
            n_batches = int(self.trainer.num_training_batches) * self.steps_a_call
            self._seeds = (sequence.generate_state(n_batches, np.uint64) >> np.uint64(1)).tolist()
            self._seeds_of = self.epoch
        return self._seeds[batch_idx]

    def seed_dropout(self, seed: int) -> None:
        """Seed the device's generator; torch.manual_seed also prepares devices that are not there,
        which on a CPU takes 1.5 ms, more than a head's step."""
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            seed_gpu(seed, self.device)

    def count(self, n_images: int, batch_idx: int, *means: torch.Tensor) -> None:
        """Count a batch: loss, hits and penalty, each the mean of its images."""
        self.train_means.add(n_images, *means)
        self._n_images += n_images
        self._last_batch = batch_idx
        if (batch_idx + 1) % _LOOK_EVERY == 0:
            self._stop_if_not_finite()

    def _stop_if_not_finite(self) -> None:
        losses = [loss for loss, _, _ in self.train_means.settle()]
        bad = next((place for place, loss in enumerate(losses) if not math.isfinite(loss)), None)
        if bad is not None:
            step = self._last_batch - len(losses) + 1 + bad
            raise NonFiniteLossError(
                f"the training loss became non-finite in phase '{self.phase_name}', epoch "
                f"{self.epoch - self.first_epoch + 1}, batch {step + 1}; try a smaller learning "
                f"rate (schedule.{self.phase_name}.lr is {self.phase.lr:g}) or "
                "optimizer.clip_norm=1.0"
            )

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        """Take the step, then its weights into their mean; a group takes all its steps itself."""
        if self.head_steps is not None:
            arguments[-1]()
            return
        super().optimizer_step(*arguments, **named)
        if self.weight_mean:
            self.weight_mean.step()

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Let the rate follow the step; a group has done so itself."""
        if self.head_steps is None:
            scheduler.step()

    def on_validation_epoch_start(self) -> None:
        """Stop the clock of training, which validation is no part of; equalise the ranks.

        The mean of the weights takes their place, where there is one.
        """
        if self.weight_mean:
            self.weight_mean.swap()
        self._train_s = time.perf_counter() - self._started
        if self.phase.norm_statistics == "trained":
            average_statistics(trained_layers(self.network, self.phase))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count one batch, each image once."""
        inputs, labels, rows = batch
        if self.cut is None:
            inputs = inputs.float() / 255.0
        logits = self._scores(inputs, self._beside("val", rows))
        self.val_loss.add(len(labels), nn.functional.cross_entropy(logits.float(), labels))
        answers = logits.argmax(1)
        if self.hands and (rejected := self.hands["val"].rejected_of(rows)) is not None:
            answers = torch.where(rejected, self.n_classes, answers)
        self._answers.append(labels * (self.n_classes + 1) + answers)

    def on_validation_epoch_end(self) -> None:
        """Log the validation metrics that checkpoints and early stopping look at."""
        confusion = self._confusion()
        self.validation = {
            names.VAL_LOSS: self.val_loss.take()[0],
            names.VAL_ACCURACY: float(confusion.trace() / confusion.sum()),
            names.VAL_F1_MACRO: float(np.nanmean(f1_by_class(confusion))),
        }
        # What callbacks look at; Lightning's log() comes to the same in 2 ms, a head's whole step.
        self.trainer.callback_metrics.update(
            {name: torch.tensor(value) for name, value in self.validation.items()}
        )
        if self.weight_mean:
            self.weight_mean.swap()

    def _confusion(self) -> NDArray[np.int64]:
        """Return how often each class (row) was taken for each (column), over all ranks.

        The last row and column are those of the answer "no hand", which is no label.
        """
        answers, n_answers = torch.cat(self._answers).cpu().numpy(), self.n_classes + 1
        self._answers.clear()
        counts = torch.from_numpy(np.bincount(answers, minlength=n_answers**2))
        return sum_over_ranks(counts.to(self.device)).cpu().numpy().reshape(n_answers, -1)

    def on_train_epoch_end(self) -> None:
        """Let the rate follow the validation loss."""
        shape = self.lr_schedulers()
        assert isinstance(shape, RateShape)
        shape.observe(self.validation[names.VAL_LOSS])

    def epoch_metrics(self) -> dict[str, float]:
        """Return the metrics of the epoch that ends, and begin to count anew; all ranks take part.

        Raises:
            NonFiniteLossError: a loss of training or validation was not finite.
        """
        self._stop_if_not_finite()
        if not math.isfinite(self.validation[names.VAL_LOSS]):
            raise NonFiniteLossError(
                f"the validation loss became non-finite in phase '{self.phase_name}', epoch "
                f"{self.epoch - self.first_epoch + 1}, after its last batch; try a smaller "
                "learning rate"
            )
        loss, accuracy, penalty = self.train_means.take()
        return {
            names.TRAIN_LOSS: loss,
            names.TRAIN_ACCURACY: accuracy,
            names.TRAIN_L2_PENALTY: penalty,
            names.LEARNING_RATE: float(self.optimizers().param_groups[0]["lr"]),  # type: ignore[union-attr]
            names.IMAGES_PER_SECOND: self._n_images * self.trainer.world_size / self._train_s,
            **self.validation,
        }

    def epoch_sums(self) -> torch.Tensor:
        """Return what this rank has counted in the epoch so far."""
        self._stop_if_not_finite()
        return self.train_means.sums.cpu()

    def resume_sums(self, sums: torch.Tensor) -> None:
        """Go on counting from what ``epoch_sums`` returned."""
        self.train_means.sums = sums

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what is needed to make the network again without this run's configuration.

        Where the phase goes from stored features, leave out what is as the phase found it. What is
        kept is the mean of the weights; a state has both.
        """
        if self.weight_mean and "optimizer_states" in checkpoint:
            checkpoint["asl_exp_mean"] = self.weight_mean.state()
        elif self.weight_mean:
            self.weight_mean.put_into(checkpoint["state_dict"])
        if self._saved is not None:
            tensors = checkpoint["state_dict"]
            checkpoint["state_dict"] = {key: tensors[key] for key in tensors if key in self._saved}
        checkpoint["asl_exp"] = {**self.metadata, "phase": self.phase_name, "epoch": self.epoch}

    @property
    def batches_done(self) -> int:
        """How many batches of the epoch have been trained on."""
        return self._last_batch + 1

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the mean of the weights as it was, and inside an epoch with its calls.

        Lightning counts calls, of which an epoch has others where batches go in groups.
        """
        if batch := checkpoint.get("asl_exp_state", {}).get("batch", 0):
            part_size = step_images(self.config) // self.config.trainer.accumulate
            n_batches = math.ceil(self.n_train_images / part_size)
            n_calls, left = (
                math.ceil(n / self.steps_a_call) for n in (n_batches, n_batches - batch)
            )
            done = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
            more = n_calls - left - done["ready"]
            done.update({name: count + more for name, count in done.items()})
        if self.weight_mean:
            self.weight_mean.load_state(checkpoint["asl_exp_mean"])


def _hands(run: Run) -> dict[str, HandRows]:
    """Return the hands of what a phase trains and validates on; nothing where none are seen."""
    splits = {name: run.data.splits[name] for name in ("train", "val")}
    return {name: HandRows(split) for name, split in splits.items() if split.joints is not None}


class _SumOfSquares(torch.autograd.Function):
    """Its gradient is one product; that of everyday PyTorch takes a third of a head's step."""

    @staticmethod
    def forward(ctx: Any, kernel: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(kernel)
        flat = kernel.flatten()
        return torch.dot(flat, flat)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        (kernel,) = ctx.saved_tensors
        return kernel * (2 * gradient)  # type: ignore[no-any-return]


def sum_of_squares(kernel: torch.Tensor) -> torch.Tensor:
    """Return the sum of w^2 over all elements, a scalar with a gradient."""
    return _SumOfSquares.apply(kernel)  # type: ignore[no-any-return]


def _head(model: LetterClassifier) -> nn.ModuleDict:
    """Return what trains in every phase, under the names that it has in the whole network."""
    joints = {} if model.joints is None else {"joints": model.joints}
    return nn.ModuleDict({"head": model.head, **joints})


_KEPT = 256
"""Batches until they are added, which waits for the device."""


class ImageMeans:
    """Means over the images of an epoch, of all ranks; a NaN stays to be seen.

    Sums batch means times images in float64. A step only keeps what it counted; many steps are
    added at once: where a step trains a head on stored features it takes microseconds, and three of
    torchmetrics's means took a fifth of it. (Its MeanMetric also looks for NaN at every update,
    which waits for the device, and drops what it finds.)
    """

    def __init__(self, n: int) -> None:
        self._sums = [0.0] * (n + 1)  # of n numbers, and of images
        self._kept: list[tuple[int, tuple[torch.Tensor, ...]]] = []
        self._device = torch.device("cpu")

    def add(self, n_images: int, *means: torch.Tensor) -> None:
        """Count a batch of so many images."""
        self._device = means[0].device
        self._kept.append((n_images, tuple(mean.detach().float() for mean in means)))
        if len(self._kept) == _KEPT:
            self.settle()

    def settle(self) -> list[list[float]]:
        """Add what was kept; return the means of those batches."""
        if not self._kept:
            return []
        values = torch.stack([mean for _, means in self._kept for mean in means])
        batches = values.reshape(len(self._kept), -1).tolist()
        for (n_images, _), means in zip(self._kept, batches, strict=True):
            for place, value in enumerate((*means, 1.0)):
                self._sums[place] += n_images * value
        self._kept.clear()
        return batches

    @property
    def sums(self) -> torch.Tensor:
        """All that was counted: (n + 1,) float64, of n numbers and of images."""
        self.settle()
        return torch.tensor(self._sums, dtype=torch.float64, device=self._device)

    @sums.setter
    def sums(self, sums: torch.Tensor) -> None:
        self._kept.clear()
        self._sums = sums.tolist()

    def take(self) -> list[float]:
        """Return the means over the images of all ranks, and begin again."""
        *totals, n_images = sum_over_ranks(self.sums).tolist()
        self._sums = [0.0] * len(self._sums)
        return [total / n_images for total in totals]

"""Runs one phase: a fit of its own that keeps its best epoch.

Each phase has a fresh Trainer and optimizer. A backbone unfrozen inside a running fit is not
averaged between devices, and freezes again when resumed; two fits have neither fault.
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint

from asl_exp.config.schema import Config, PhaseConfig
from asl_exp.data.batches import BatchLoader
from asl_exp.data.letters import LetterData
from asl_exp.model.checkpoint import model_state
from asl_exp.model.classifier import LetterClassifier
from asl_exp.training.display import PhaseProgress
from asl_exp.training.module import PhaseModule

EpochMetrics = dict[str, float]


@dataclass(frozen=True)
class PhaseResult:
    """What a phase came to.

    Attributes:
        name: of the phase.
        first_epoch, n_epochs: counted across phases; early stopping may end before the plan.
        kept_epoch: whose weights are kept, counted across phases.
        monitor, kept_value: the metric that decided, and its value then.
        kept_metrics: every metric of the kept epoch.
        checkpoint: of the kept epoch.
        seconds: wall time.
    """

    name: str
    first_epoch: int
    n_epochs: int
    kept_epoch: int
    monitor: str
    kept_value: float
    kept_metrics: EpochMetrics
    checkpoint: Path
    seconds: float


def run_phase(
    model: LetterClassifier,
    data: LetterData,
    config: Config,
    name: str,
    *,
    first_epoch: int,
    folder: Path,
    metadata: dict[str, Any],
    record_epoch: Callable[[int, str, EpochMetrics], None],
) -> PhaseResult:
    """Fit ``model`` as the phase says and leave the weights of its kept epoch in it.

    Args:
        model: with the weights to start from; changed in place.
        data: with the splits ``train`` and ``val``.
        config: the whole experiment; ``config.schedule[name]`` is the phase.
        name: of the phase; the checkpoint is ``folder/<name>.ckpt``.
        first_epoch: number of epochs that earlier phases took.
        folder: of the checkpoints.
        metadata: what checkpoints carry beside the weights.
        record_epoch: told epoch, phase and metrics after every epoch.

    Raises:
        NonFiniteLossError: the loss became NaN or infinite.
    """
    phase, started = config.schedule[name], time.perf_counter()
    epochs: dict[int, EpochMetrics] = {}

    def on_epoch(epoch: int, metrics: EpochMetrics) -> None:
        epochs[epoch] = metrics
        progress.show_epoch(epoch - first_epoch, metrics)
        record_epoch(epoch, name, metrics)

    pl.seed_everything(config.seed + first_epoch, verbose=False)
    module = PhaseModule(
        model,
        config,
        name,
        n_classes=len(data.classes),
        first_epoch=first_epoch,
        metadata=metadata,
        on_epoch=on_epoch,
    )
    keeper, progress = _keeper(name, phase, folder), PhaseProgress(name, phase)
    callbacks = [keeper, *_further_callbacks(name, phase, folder), progress]
    trainer = _trainer(config, phase, callbacks, folder)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning 2.6 on torch 2.15
        warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
        trainer.fit(module, *_loaders(data, config, trainer))
    kept = Path(keeper.best_model_path)
    content = torch.load(kept, map_location="cpu", weights_only=True)
    model.cpu().load_state_dict(model_state(content))
    kept_epoch = int(content["asl_exp"]["epoch"])
    return PhaseResult(
        name,
        first_epoch,
        len(epochs),
        kept_epoch,
        phase.monitor,
        epochs[kept_epoch][phase.monitor],
        epochs[kept_epoch],
        kept,
        time.perf_counter() - started,
    )


def _keeper(name: str, phase: PhaseConfig, folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(
        folder,
        filename=name,
        monitor=phase.monitor,
        mode=best_is(phase.monitor),
        save_top_k=1,
        save_weights_only=True,
        enable_version_counter=False,
    )


def best_is(monitor: str) -> str:
    """Return ``min`` for a loss and ``max`` for a score."""
    return "min" if monitor.endswith("loss") else "max"


def _further_callbacks(name: str, phase: PhaseConfig, folder: Path) -> list[Callback]:
    callbacks: list[Callback] = []
    if phase.keep_every_epoch:
        callbacks.append(
            ModelCheckpoint(
                folder / f"{name}_epochs",
                filename="epoch{epoch:03d}-val_loss{val/loss:.4f}",
                auto_insert_metric_name=False,
                save_top_k=-1,
                save_weights_only=True,
            )
        )
    if phase.patience is not None:
        callbacks.append(
            EarlyStopping(
                phase.monitor,
                patience=phase.patience,
                mode=best_is(phase.monitor),
                check_finite=False,  # a non-finite loss is an error here, not an early end
            )
        )
    return callbacks


def _trainer(
    config: Config, phase: PhaseConfig, callbacks: list[Callback], folder: Path
) -> pl.Trainer:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*GPU available but not used.*")
        return pl.Trainer(
            accelerator=config.trainer.accelerator,
            devices=config.trainer.devices,
            num_nodes=config.trainer.num_nodes,
            precision=config.trainer.precision,
            deterministic="warn" if config.trainer.deterministic else None,
            max_epochs=phase.epochs,
            gradient_clip_val=config.optimizer.clip_norm,
            callbacks=callbacks,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,  # it would pad; BatchLoader shares each batch exactly
            default_root_dir=folder,
        )


def _loaders(
    data: LetterData, config: Config, trainer: pl.Trainer
) -> tuple[BatchLoader, BatchLoader]:
    batch_size = config.data.batch_size // trainer.world_size
    pin_memory = trainer.strategy.root_device.type == "cuda"
    train, val = (
        BatchLoader(
            data.splits[split],
            batch_size,
            shuffle=split == "train",
            seed=config.seed,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            pin_memory=pin_memory,
        )
        for split in ("train", "val")
    )
    return train, val

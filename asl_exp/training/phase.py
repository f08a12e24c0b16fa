"""Runs one phase: a fit of its own that keeps its best epoch.

Each phase has a fresh Trainer and optimizer. A backbone unfrozen inside a running fit is not
averaged between devices, and freezes again when resumed; two fits have neither fault.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from pytorch_lightning.strategies import DDPStrategy

from asl_exp.compat.lightning import (
    LightningEnvironment,
    TorchElasticEnvironment,
    without_known_warnings,
)
from asl_exp.config import names
from asl_exp.config.errors import OutOfMemoryError, UserError
from asl_exp.config.names import Artifact, Tag
from asl_exp.config.schema import Config, PhaseConfig
from asl_exp.data.loader import BatchLoader
from asl_exp.model.checkpoint import save_kept_model, take_weights
from asl_exp.training.averaged_weights import keep_best_mix
from asl_exp.training.batch_size import step_images
from asl_exp.training.callbacks import EpochHistory, StateWriter
from asl_exp.training.current_run import PhaseResult, Run
from asl_exp.training.debug import profiled, say_learned, until_learned
from asl_exp.training.device import one_thread
from asl_exp.training.features import STEPS, FeatureLoader, StoredFeatures, stored_features
from asl_exp.training.head_steps import HeadSteps, takes_many_steps
from asl_exp.training.phase_module import PhaseModule
from asl_exp.training.ranks import (
    gather,
    rank,
    require_equal,
    send_from_rank_zero,
    state_digest,
    world_size,
)
from asl_exp.training.record import record_views
from asl_exp.training.state import FOLDER as STATE
from asl_exp.training.state import State
from asl_exp.training.terminal import PhaseProgress
from asl_exp.training.trainable import saves_part

_STATES_APART_S = 1.0
"""Where an epoch takes milliseconds, writing a state after each would take most of the time."""

_SMALL_STEP_FLOP = 300e6
"""Below it a second thread takes longer to wake than it saves; the smallest steps took 5 times."""

_VALIDATED_TOGETHER = 512
"""Stored features in a batch of validation, whose size changes nothing that is counted."""


def train_phase(run: Run, name: str) -> None:
    """Fit the network as a phase says, leave the kept epoch's weights in it, note the result.

    Args:
        run: in progress; the phase goes on from the run's state, if that is of this phase.
        name: of the phase; its checkpoint is ``checkpoints/<name>.ckpt`` in the run folder.

    Raises:
        NonFiniteLossError: the loss became NaN or infinite.
        OutOfMemoryError: with the settings that would help.
        RanksDifferError: the ranks' weights are not equal at the end.
    """
    run.recorder.tags({Tag.PHASE: name})
    with run.stages(name):
        state = run.state if run.state and run.state.phase == name else None
        if not (state and state.is_done(run.config.schedule[name].epochs)):
            with run.stages("features"):
                features = stored_features(run, name)
            record_views(run, name, len(features.train) if features else 0)
            _fit(run, name, features, state)
        say_learned(run, name)
        kept = _take_kept(run, name)
        run.phases.append(keep_best_mix(run, kept) if run.config.schedule[name].mix else kept)


def _fit(run: Run, name: str, features: StoredFeatures | None, state: State | None) -> None:
    phase, cut = run.config.schedule[name], features.cut if features else None
    module = PhaseModule(run, name, cut)
    earlier = run.epochs[run.first_epoch :]
    progress = PhaseProgress(name, phase, [row[phase.monitor] for row in earlier])
    callbacks = [
        EpochHistory(run, name, progress),
        *_keepers(run, name, part=saves_part(phase, cut)),
        StateWriter(run, name, apart_s=_STATES_APART_S if cut else 0.0),
        *([until_learned()] if run.config.debug.one_batch else _stopper(phase)),
        progress,
    ]
    with without_known_warnings():
        trainer = _trainer(run, phase, callbacks)
        train, val = _loaders(run, trainer, phase, features)
        if isinstance(train, FeatureLoader) and train.together:
            module.head_steps, module.steps_a_call = HeadSteps(module), STEPS
        if state and state.batch:
            train.start_at(len(run.epochs), state.batch)
            sums = state.sums_of(rank(), world_size())
            if sums is not None:
                module.resume_sums(sums)
        with (
            memory_named(run.config, name),
            _kept_completed(run, name),
            one_thread(run.device.type == "cpu" and _small_steps(module)),
            profiled(run, name),
        ):
            trainer.fit(module, train, val, ckpt_path=state.path if state else None)
    run.model.cpu()
    require_equal({"weights": state_digest(run.model)})


def _small_steps(module: PhaseModule) -> bool:
    """Return whether a step is that of a small head, which a second thread would slow down."""
    weights = sum(parameter.numel() for parameter in module.network.head.parameters())
    flop = 4 * _batch_size(module.config) * weights  # forward, and the weights' gradient
    return module.trains_head_alone and flop < _SMALL_STEP_FLOP


@contextmanager
def memory_named(config: Config, name: str) -> Iterator[None]:
    """Turn an out-of-memory error into one that names the settings that would help."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        has_class = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not has_class and "can't allocate memory" not in str(error):  # of torch on the CPU
            raise
        parts = config.trainer.accumulate
        raise OutOfMemoryError(
            f"out of memory in phase '{name}': raise trainer.accumulate (now {parts}; "
            f"{2 * parts} halves what a step needs and trains the same), or lower data.batch_size "
            f"(now {config.data.batch_size}) or backbone.image_size"
        ) from error


def _take_kept(run: Run, name: str) -> PhaseResult:
    """Load the kept epoch's weights, on all ranks from rank 0's disk."""
    checkpoint, monitor = f"{Artifact.CHECKPOINTS}/{name}.ckpt", run.config.schedule[name].monitor
    kept_epoch = [-1]
    if rank() == 0:
        part_kept = _kept_part(run, name).exists()
        kept_epoch = [
            _complete_kept(run, name)
            if part_kept
            else take_weights(run.model, run.folder / checkpoint)
        ]
    send_from_rank_zero(run.model, kept_epoch)
    row, first = run.epochs[kept_epoch[0]], run.first_epoch
    metrics = {key: value for key, value in row.items() if key in names.EPOCH_METRICS}
    return PhaseResult(
        name=name,
        first_epoch=first,
        n_epochs=len(run.epochs) - first,
        kept_epoch=kept_epoch[0],
        monitor=monitor,
        kept_value=metrics[monitor],
        kept_metrics=metrics,
        checkpoint=checkpoint,
    )


def _kept_part(run: Run, name: str) -> Path:
    """Return where a phase on stored features keeps its best epoch until it ends."""
    return run.folder / STATE / f"kept_{name}.ckpt"


def _complete_kept(run: Run, name: str) -> int:
    """Write the best epoch's checkpoint with its frozen part; return the epoch."""
    epoch = take_weights(run.model, _kept_part(run, name))
    about = {**run.metadata, "phase": name, "epoch": epoch}
    save_kept_model(run.model, about, run.folder / Artifact.CHECKPOINTS / f"{name}.ckpt")
    return epoch


@contextmanager
def _kept_completed(run: Run, name: str) -> Iterator[None]:
    """Leave a checkpoint that can be used also where the phase does not come to its end."""
    try:
        yield
    except BaseException:
        if rank() == 0 and _kept_part(run, name).exists():
            _complete_kept(run, name)
        raise


def _keepers(run: Run, name: str, *, part: bool) -> Iterator[ModelCheckpoint]:
    phase, folder = run.config.schedule[name], run.folder / Artifact.CHECKPOINTS
    kept = _kept_part(run, name) if part else folder / f"{name}.ckpt"
    yield ModelCheckpoint(
        kept.parent,
        filename=kept.stem,
        monitor=phase.monitor if phase.keep == "best" else None,  # None: each epoch replaces it
        mode=best_is(phase.monitor),
        save_top_k=1,
        save_weights_only=True,
        enable_version_counter=False,
    )
    if phase.keep_every_epoch:
        yield ModelCheckpoint(
            folder / f"{name}_epochs",
            filename="epoch{epoch:03d}-val_loss{val/loss:.4f}",
            auto_insert_metric_name=False,
            save_top_k=-1,
            save_weights_only=True,
            enable_version_counter=False,
        )


def best_is(monitor: str) -> str:
    """Return ``min`` for a loss and ``max`` for a score."""
    return "min" if names.falls(monitor) else "max"


def _stopper(phase: PhaseConfig) -> Iterator[EarlyStopping]:
    if phase.patience is not None:
        yield EarlyStopping(
            phase.monitor,
            patience=phase.patience,
            mode=best_is(phase.monitor),
            check_finite=False,  # a non-finite loss is an error here, not an early end
        )


class _Devices(DDPStrategy):
    """Sends what Lightning decides on rank 0 as JSON too; its own way unpickles what arrives."""

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        """Return the value of the rank ``src``."""
        return gather(obj)[src]


def _trainer(run: Run, phase: PhaseConfig, callbacks: list[Callback]) -> pl.Trainer:
    config = run.config
    return pl.Trainer(
        accelerator=run.device.type,
        devices=config.trainer.devices,
        # Buffers are equalised once an epoch; DDP would do it at every step, and in validation,
        # where ranks may have different numbers of batches, wait for ever.
        strategy=_Devices(broadcast_buffers=False) if world_size() > 1 else "auto",
        num_nodes=config.trainer.num_nodes,
        # Left to look for itself, Lightning takes a SLURM job's tasks for the run's devices.
        plugins=[TorchElasticEnvironment() if world_size() > 1 else LightningEnvironment()],
        precision=config.trainer.precision,
        max_epochs=phase.epochs,
        accumulate_grad_batches=config.trainer.accumulate,
        gradient_clip_val=config.optimizer.clip_norm,
        callbacks=callbacks,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # it would pad; BatchLoader shares each batch exactly
        default_root_dir=run.folder,
    )


def _batch_size(config: Config) -> int:
    """Return the images of a batch on one rank."""
    return step_images(config) // world_size() // config.trainer.accumulate


def _loaders(
    run: Run, trainer: pl.Trainer, phase: PhaseConfig, features: StoredFeatures | None
) -> tuple[BatchLoader, BatchLoader]:
    data, config = run.data, run.config
    if len(data.splits["val"]) < trainer.world_size:  # a rank without any would never report
        raise UserError(
            f"trainer.devices: {trainer.world_size} devices in all, but val has only "
            f"{len(data.splits['val'])} images; use fewer devices or a larger data.val_fraction"
        )
    shared: dict[str, Any] = {
        "batch_size": _batch_size(config),
        "seed": config.seed,
        "share": (trainer.global_rank, trainer.world_size),
    }
    train, val = data.splits["train"], data.splits["val"]
    if features is None:
        pairs = phase.norm_statistics == "trained"
        of_train = BatchLoader(train, shuffle=True, pairs=pairs, **shared)
        of_val = BatchLoader(val, shuffle=False, **shared)
        of_train.pin_memory = of_val.pin_memory = run.device.type == "cuda"
        return of_train, of_val
    shared |= {"device": run.device, "first_epoch": run.first_epoch}
    validated = {**shared, "batch_size": max(shared["batch_size"], _VALIDATED_TOGETHER)}
    together = not features.cut.module and takes_many_steps(config)
    return (
        FeatureLoader(train, features.train, shuffle=True, together=together, **shared),
        FeatureLoader(val, [features.val], shuffle=False, **validated),
    )

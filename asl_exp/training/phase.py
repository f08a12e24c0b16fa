"""Runs one phase: a fit of its own that keeps its best epoch.

Each phase has a fresh Trainer and optimizer. A backbone unfrozen inside a running fit is not
averaged between devices, and freezes again when resumed; two fits have neither fault.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from pytorch_lightning.strategies import DDPStrategy

from asl_exp.config import names
from asl_exp.config.errors import OutOfMemoryError, UserError
from asl_exp.config.names import Artifact
from asl_exp.config.schema import Config, PhaseConfig
from asl_exp.data.dataset import LetterData
from asl_exp.data.loader import BatchLoader
from asl_exp.model.checkpoint import save_kept_model, take_weights
from asl_exp.model.classifier import LetterClassifier
from asl_exp.training.batch_size import step_images
from asl_exp.training.features import FeatureLoader, StoredFeatures, stored_features
from asl_exp.training.phase_module import PhaseModule
from asl_exp.training.ranks import (
    rank,
    require_equal,
    send_from_rank_zero,
    state_digest,
    world_size,
)
from asl_exp.training.state import FOLDER as STATE
from asl_exp.training.state import State, StateKeeper
from asl_exp.training.terminal import PhaseProgress, Stages
from asl_exp.training.trainable import saves_part

_STATES_APART_S = 1.0
"""Where an epoch takes milliseconds, writing a state after each would take most of the time."""

_SMALL_STEP_FLOP = 300e6
"""Below it a second thread takes longer to wake than it saves; the smallest steps took 5 times."""

_VALIDATED_TOGETHER = 512
"""Stored features in a batch of validation, whose size changes nothing that is counted."""

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
    """

    name: str
    first_epoch: int
    n_epochs: int
    kept_epoch: int
    monitor: str
    kept_value: float
    kept_metrics: EpochMetrics
    checkpoint: str


def run_phase(
    model: LetterClassifier,
    data: LetterData,
    config: Config,
    name: str,
    *,
    run_folder: Path,
    device: torch.device,
    stages: Stages,
    finished: list[PhaseResult],
    rows: list[dict[str, Any]],
    metadata: dict[str, Any],
    record_epoch: Callable[[int, EpochMetrics], None],
    record_views: Callable[[str, int], None],
    state: State | None = None,
) -> PhaseResult:
    """Fit ``model`` as the phase says and leave the weights of its kept epoch in it.

    Args:
        model: with the weights to start from; changed in place.
        data: with the splits ``train`` and ``val``.
        config: the whole experiment; ``config.schedule[name]`` is the phase.
        name: of the phase; its checkpoint is ``run_folder/checkpoints/<name>.ckpt``.
        run_folder: of the run.
        device: of this rank.
        stages: told how long stored features took.
        finished: the phases before this one.
        rows: the metrics of every epoch so far; this phase's are added.
        metadata: what checkpoints carry beside the weights.
        record_epoch: told epoch and metrics after every epoch.
        record_views: told the phase and how many views it goes from as stored features.
        state: to go on from, if it is of this phase.

    Raises:
        NonFiniteLossError: the loss became NaN or infinite.
        RanksDifferError: the ranks' weights are not equal at the end.
    """
    phase = config.schedule[name]
    first_epoch = sum(done.n_epochs for done in finished)
    progress = PhaseProgress(name, phase, [row[phase.monitor] for row in rows[first_epoch:]])

    def on_epoch(epoch: int, metrics: EpochMetrics) -> None:
        rows.append({"epoch": epoch, "phase": name, **metrics})
        progress.show_epoch(epoch - first_epoch, metrics)
        record_epoch(epoch, metrics)

    if not (state and state.phase_done):
        with stages("features"):
            features = stored_features(model, data, config, name, device)
        record_views(name, len(features.train) if features else 0)
        cut = features.cut if features else None
        module = PhaseModule(
            model, config, name, n_classes=len(data.classes),
            n_train_images=len(data.splits["train"]), first_epoch=first_epoch,
            metadata=metadata, on_epoch=on_epoch, cut=cut,
        )  # fmt: skip
        before = [asdict(done) for done in finished]
        keeper = StateKeeper(
            run_folder, name, before, rows, config.trainer.state_minutes,
            apart_s=_STATES_APART_S if cut else 0.0,
        )  # fmt: skip
        keepers = _keepers(name, phase, run_folder, part=saves_part(phase, cut))
        callbacks = [*keepers, keeper, *_stopper(phase), progress]
        trainer = _trainer(config, phase, callbacks, run_folder)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning 2.6, torch 2.15
            warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
            warnings.filterwarnings("ignore", message=".*in eval mode at the start.*")  # frozen
            warnings.filterwarnings("ignore", message=".*dataloader is not resumable.*")  # start_at
            warnings.filterwarnings("ignore", message=".*Grad strides do not match.*")
            warnings.filterwarnings("ignore", message=".*sync_dist=True.*")  # equal on all ranks
            warnings.filterwarnings("ignore", message=".*broadcast_buffers.*deprecated.*")
            warnings.filterwarnings("ignore", message=".*`srun` command is available.*")
            train, val = _loaders(data, config, trainer, features, first_epoch)
            if state and state.batch:
                train.start_at(len(rows), state.batch)
                sums = state.sums_of(rank(), world_size())
                if sums is not None:
                    module.take_up_sums(sums)
            with (
                _memory_named(config, name),
                _kept_whole(model, name, run_folder, metadata),
                _threads(module, _batch_size(config), device),
            ):
                trainer.fit(module, train, val, ckpt_path=state.path if state else None)
        model.cpu()
        require_equal({"weights": state_digest(model)})
    return _take_kept(model, name, phase, run_folder, first_epoch, rows, metadata)


@contextmanager
def _threads(module: PhaseModule, batch_size: int, device: torch.device) -> Iterator[None]:
    """Leave small steps of a head to one thread of the CPU."""
    before = torch.get_num_threads()
    if device.type == "cpu" and module.trains_head_alone:
        weights = sum(parameter.numel() for parameter in module.network.head.parameters())
        if 4 * batch_size * weights < _SMALL_STEP_FLOP:  # forward, and the weights' gradient
            torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _memory_named(config: Config, name: str) -> Iterator[None]:
    """Turn the end of memory into the settings that would help."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _is_memory(error):
            raise
        parts = config.trainer.accumulate
        raise OutOfMemoryError(
            f"out of memory in phase '{name}': raise trainer.accumulate (now {parts}; "
            f"{2 * parts} halves what a step needs and trains the same), or lower data.batch_size "
            f"(now {config.data.batch_size}) or backbone.image_size"
        ) from error


def _is_memory(error: RuntimeError) -> bool:
    """Return whether torch says so; its CPU allocator has no error class of its own."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _take_kept(
    model: LetterClassifier,
    name: str,
    phase: PhaseConfig,
    run_folder: Path,
    first_epoch: int,
    rows: list[dict[str, Any]],
    metadata: dict[str, Any],
) -> PhaseResult:
    """Load the kept epoch's weights, on all ranks from rank 0's disk."""
    checkpoint = f"{Artifact.CHECKPOINTS}/{name}.ckpt"
    kept_epoch = [-1]
    if rank() == 0:
        kept_epoch = [
            _make_whole(model, name, run_folder, metadata)
            if _kept_part(run_folder, name).exists()
            else take_weights(model, run_folder / checkpoint)
        ]
    send_from_rank_zero(model, kept_epoch)
    metrics = {
        key: value for key, value in rows[kept_epoch[0]].items() if key in names.EPOCH_METRICS
    }
    return PhaseResult(
        name, first_epoch, len(rows) - first_epoch, kept_epoch[0], phase.monitor,
        metrics[phase.monitor], metrics, checkpoint,
    )  # fmt: skip


def _kept_part(run_folder: Path, name: str) -> Path:
    """Return where a phase on stored features keeps its best epoch until it ends."""
    return run_folder / STATE / f"kept_{name}.ckpt"


def _make_whole(
    model: LetterClassifier, name: str, run_folder: Path, metadata: dict[str, Any]
) -> int:
    """Write the best epoch's checkpoint with the frozen part, as all have it; return the epoch."""
    epoch = take_weights(model, _kept_part(run_folder, name))
    about = {**metadata, "phase": name, "epoch": epoch}
    save_kept_model(model, about, run_folder / Artifact.CHECKPOINTS / f"{name}.ckpt")
    return epoch


@contextmanager
def _kept_whole(
    model: LetterClassifier, name: str, run_folder: Path, metadata: dict[str, Any]
) -> Iterator[None]:
    """Leave a checkpoint that can be used also where the phase does not come to its end."""
    try:
        yield
    except BaseException:
        if rank() == 0 and _kept_part(run_folder, name).exists():
            _make_whole(model, name, run_folder, metadata)
        raise


def _keepers(
    name: str, phase: PhaseConfig, run_folder: Path, *, part: bool
) -> Iterator[ModelCheckpoint]:
    folder = run_folder / Artifact.CHECKPOINTS
    kept = _kept_part(run_folder, name) if part else folder / f"{name}.ckpt"
    yield ModelCheckpoint(
        kept.parent,
        filename=kept.stem,
        monitor=phase.monitor,
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
    return "min" if monitor.endswith("loss") else "max"


def _stopper(phase: PhaseConfig) -> Iterator[EarlyStopping]:
    if phase.patience is not None:
        yield EarlyStopping(
            phase.monitor,
            patience=phase.patience,
            mode=best_is(phase.monitor),
            check_finite=False,  # a non-finite loss is an error here, not an early end
        )


def _trainer(
    config: Config, phase: PhaseConfig, callbacks: list[Callback], run_folder: Path
) -> pl.Trainer:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*GPU available but not used.*")
        return pl.Trainer(
            accelerator=config.trainer.accelerator,
            devices=config.trainer.devices,
            # Buffers are equalised once an epoch; DDP would do it at every step, and in validation,
            # where ranks may have different numbers of batches, wait for ever.
            strategy=DDPStrategy(broadcast_buffers=False) if world_size() > 1 else "auto",
            num_nodes=config.trainer.num_nodes,
            # Left to look for itself, Lightning takes a SLURM job's tasks for the run's devices.
            plugins=[TorchElasticEnvironment() if world_size() > 1 else LightningEnvironment()],
            precision=config.trainer.precision,
            deterministic="warn" if config.trainer.deterministic else None,
            max_epochs=phase.epochs,
            accumulate_grad_batches=config.trainer.accumulate,
            gradient_clip_val=config.optimizer.clip_norm,
            callbacks=callbacks,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,  # it would pad; BatchLoader shares each batch exactly
            default_root_dir=run_folder,
        )


def _batch_size(config: Config) -> int:
    """Return the images of a batch on one rank."""
    return step_images(config) // world_size() // config.trainer.accumulate


def _loaders(
    data: LetterData,
    config: Config,
    trainer: pl.Trainer,
    features: StoredFeatures | None,
    first_epoch: int,
) -> tuple[BatchLoader, BatchLoader]:
    if len(data.splits["val"]) < trainer.world_size:  # a rank without any would never report
        raise UserError(
            f"trainer.devices: {trainer.world_size} devices in all, but val has only "
            f"{len(data.splits['val'])} images; use fewer devices or a larger data.val_fraction"
        )
    device = trainer.strategy.root_device
    shared: dict[str, Any] = {
        "batch_size": _batch_size(config),
        "seed": config.seed,
        "rank": trainer.global_rank,
        "world_size": trainer.world_size,
    }
    train, val = data.splits["train"], data.splits["val"]
    if features is None:
        shared["pin_memory"] = device.type == "cuda"
        return BatchLoader(train, shuffle=True, **shared), BatchLoader(val, shuffle=False, **shared)
    shared |= {"device": device, "first_epoch": first_epoch}
    of_val = {**shared, "batch_size": max(shared["batch_size"], _VALIDATED_TOGETHER)}
    return (
        FeatureLoader(train, features.train, shuffle=True, **shared),
        FeatureLoader(val, [features.val], shuffle=False, **of_val),
    )

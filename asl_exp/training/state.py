"""The state of a running experiment on disk: written after every epoch, read to go on.

A state holds everything that decides the rest of the run: weights, optimizer, rate, loops, best
values, and the metrics so far. Random generators are not in it, since every step's randomness is a
function of seed, epoch, batch and rank.
"""

import hashlib
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint

from asl_exp.training.phase_module import PhaseModule
from asl_exp.training.ranks import gather

FOLDER = "state"
_ASK_EVERY = 20  # batches between looks at rank 0's clock, where ranks must agree on it
_KEPT = 2  # the newest, and the one before in case the newest is damaged


@dataclass(frozen=True)
class State:
    """A state that was found whole.

    Attributes:
        path: of the checkpoint, for ``Trainer.fit(ckpt_path=...)``.
        phase: in which it was written.
        phase_done: that phase had ended (all epochs, or early stopping).
        batch: of the epoch that had begun, the next to train; 0 at an epoch's end.
        sums: what each rank had counted in that epoch.
        phases: the finished phases before it, as plain values.
        rows: the metrics of every epoch so far.
        world_size: devices of the run then.
    """

    path: Path
    phase: str
    phase_done: bool
    batch: int
    sums: list[torch.Tensor]
    phases: list[dict[str, Any]]
    rows: list[dict[str, Any]]
    world_size: int

    def sums_of(self, rank: int, world_size: int) -> torch.Tensor | None:
        """Return what a rank of so many goes on counting from; None: from nothing.

        With another number of ranks than before, rank 0 takes all that was counted.
        """
        if len(self.sums) == world_size:
            return self.sums[rank]
        if rank > 0 or not self.sums:
            return None
        return torch.stack(self.sums).sum(0)


class StateKeeper(Checkpoint):
    """Writes the state after every epoch, once the best is kept, and every few minutes inside.

    Args:
        run_folder: the state lies in ``run_folder/state``.
        phase: the phase being fitted.
        phases: the finished phases, as plain values.
        rows: the metrics so far; read when the state is written.
        minutes: between states inside an epoch.
        apart_s: an epoch that ends sooner than this after the last state writes none, unless the
            phase ends with it.
    """

    def __init__(
        self,
        run_folder: Path,
        phase: str,
        phases: list[dict[str, Any]],
        rows: list[dict[str, Any]],
        minutes: float,
        apart_s: float = 0.0,
    ) -> None:
        self.folder = run_folder / FOLDER
        self.phase, self.phases, self.rows = phase, phases, rows
        self.seconds = 60.0 * minutes
        self.apart_s = apart_s
        self._written_at = time.monotonic()
        self._between: dict[str, Any] | None = None

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Write the state inside an epoch, where rank 0's clock says so."""
        last = batch_idx + 1 >= trainer.num_training_batches
        if last or (trainer.world_size > 1 and batch_idx % _ASK_EVERY):
            return
        if trainer.strategy.broadcast(time.monotonic() - self._written_at > self.seconds):
            assert isinstance(pl_module, PhaseModule)
            sums = gather(pl_module.epoch_sums())
            self._write(trainer, phase_done=False, batch=batch_idx + 1, sums=sums)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the state between epochs."""
        last = trainer.current_epoch + 1 >= (trainer.max_epochs or 0)
        done = bool(last or trainer.should_stop)
        soon = self.apart_s > 0 and time.monotonic() - self._written_at < self.apart_s
        if done or not self.apart_s or not trainer.strategy.broadcast(soon):
            self._write(trainer, phase_done=done, batch=0, sums=[])

    def _write(self, trainer: pl.Trainer, **where: Any) -> None:
        """Write and make it the newest; all ranks take part, rank 0 writes."""
        written = self.folder / ".writing"
        self._between = {
            "phase": self.phase,
            "phases": self.phases,
            "rows": self.rows,
            "world_size": trainer.world_size,
            **where,
        }
        try:
            trainer.save_checkpoint(written)
            if trainer.is_global_zero:
                _add(written)
        except OSError:
            written.unlink(missing_ok=True)  # on a full disk, room to say how the run ended
            raise
        finally:
            self._between = None
        trainer.strategy.barrier("state")
        self._written_at = time.monotonic()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add what Lightning does not know: where the run is among its phases and batches."""
        if self._between is not None:
            checkpoint["asl_exp_state"] = self._between


def find_state(run_folder: Path) -> State | None:
    """Return the newest state that is whole, or the one before it, or None."""
    for path in _newest_first(run_folder / FOLDER):
        if path.stem.split("-")[1] == _digest(path):
            content = torch.load(path, map_location="cpu", weights_only=True)
            return State(path=path, **content["asl_exp_state"])
    return None


def state_names(run_folder: Path) -> list[str]:
    """Return the names of all states there, which tell their content."""
    return [path.name for path in _newest_first(run_folder / FOLDER)]


def remove_state(run_folder: Path) -> None:
    """Remove the state of a finished run; its kept checkpoints stay."""
    shutil.rmtree(run_folder / FOLDER, ignore_errors=True)


def _add(written: Path) -> None:
    """Make a written file the newest state in one step, then remove old ones.

    The name carries the digest of the content, so that a damaged file betrays itself.
    """
    with written.open("rb") as file:
        os.fsync(file.fileno())
    there = _newest_first(written.parent)
    number = 1 + (int(there[0].stem.split("-")[0]) if there else 0)
    written.replace(written.with_name(f"{number:06d}-{_digest(written)}.ckpt"))
    for old in there[_KEPT - 1 :]:
        old.unlink()


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("*-*.ckpt"), reverse=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]

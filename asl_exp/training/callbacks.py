"""Lightning callbacks of a phase: the way of an epoch's metrics, and the state to resume from."""

import time
from dataclasses import asdict
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, Checkpoint

from asl_exp.config.errors import PrunedError
from asl_exp.training.current_run import Run
from asl_exp.training.phase_module import PhaseModule
from asl_exp.training.ranks import gather, rank
from asl_exp.training.state import FOLDER, add_state
from asl_exp.training.terminal import PhaseProgress

_ASK_EVERY = 20
"""Batches between looks at rank 0's clock, where ranks must agree on it: each look is a broadcast,
for which all wait, and 20 steps are seconds at most, of the minutes between states."""


class EpochHistory(Callback):
    """Hands on the metrics of each epoch: to the run, the terminal, MLflow and the observer.

    Lightning calls it before it keeps the best epoch, looks at early stopping and writes the state:
    an epoch that the observer ends leaves none of these.
    """

    def __init__(self, run: Run, phase: str, progress: PhaseProgress) -> None:
        self.run, self.phase, self.progress = run, phase, progress

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the epoch's metrics from the module.

        Raises:
            NonFiniteLossError: a loss was not finite.
            PrunedError: the observer ended the run.
        """
        assert isinstance(pl_module, PhaseModule)
        run, epoch, metrics = self.run, pl_module.epoch, pl_module.epoch_metrics()
        run.epochs.append({"epoch": epoch, "phase": self.phase, **metrics})
        self.progress.show_epoch(epoch - run.first_epoch, metrics)
        run.epoch_log.add(run.epochs[-1])
        if run.observer is not None:
            ends = rank() == 0 and run.observer.after_epoch(epoch, metrics)
            if gather(ends)[0]:  # all ranks end, or none
                raise PrunedError(f"pruned after {epoch + 1} epochs")


class StateWriter(Checkpoint):
    """Writes the state after every epoch, once the best is kept, and every few minutes inside.

    Args:
        run: in progress; the state has its epochs so far.
        apart_s: an epoch that ends sooner than this after the last state writes none, unless the
            phase ends with it.
    """

    def __init__(self, run: Run, phase: str, apart_s: float = 0.0) -> None:
        self.run, self.phase = run, phase
        self.finished = [asdict(done) for done in run.phases]
        self.inside_s = 60.0 * run.config.trainer.state_minutes
        self.apart_s = apart_s
        self._written_at = time.monotonic()
        self._content: dict[str, Any] | None = None

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
        if trainer.strategy.broadcast(time.monotonic() - self._written_at > self.inside_s):
            assert isinstance(pl_module, PhaseModule)
            sums = [
                torch.tensor(one, dtype=torch.float64)
                for one in gather(pl_module.epoch_sums().tolist())
            ]
            self._write(
                trainer, phase_done=False, stopped=False, batch=pl_module.batches_done, sums=sums
            )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the state between epochs."""
        last = trainer.current_epoch + 1 >= (trainer.max_epochs or 0)
        stopped = bool(trainer.should_stop)
        done = last or stopped
        soon = self.apart_s > 0 and time.monotonic() - self._written_at < self.apart_s
        if done or not self.apart_s or not trainer.strategy.broadcast(soon):
            self._write(trainer, phase_done=done, stopped=stopped, batch=0, sums=[])

    def _write(self, trainer: pl.Trainer, **where: Any) -> None:
        """Write the newest state; all ranks take part, rank 0 writes."""
        part = self.run.folder / FOLDER / ".writing"
        self._content = {
            "phase": self.phase,
            "phases": self.finished,
            "rows": self.run.epochs,
            "world_size": trainer.world_size,
            **where,
        }
        try:
            trainer.save_checkpoint(part)
            if trainer.is_global_zero:
                add_state(part)
        except OSError:
            part.unlink(missing_ok=True)  # on a full disk, room to say how the run ended
            raise
        finally:
            self._content = None
        trainer.strategy.barrier("state")
        self._written_at = time.monotonic()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add what Lightning does not know: where the run is among its phases and batches."""
        if self._content is not None:
            checkpoint["asl_exp_state"] = self._content

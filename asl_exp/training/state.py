"""The state of a run on disk, from which it is resumed; callbacks.py writes it after every epoch.

A state holds everything that decides the rest of the run: weights, optimizer, rate, loops, best
values, and the metrics so far. Random generators are not in it, since every step's randomness is a
function of seed, epoch, batch and rank.
"""

import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from asl_exp.data.cache_files import file_digest

FOLDER = "state"
_NAME = re.compile(r"\d{6,}-[0-9a-f]{16}\.ckpt")  # number and digest of the content
_KEPT = 2  # the newest, and the one before in case the newest is damaged


@dataclass(frozen=True)
class State:
    """A complete state.

    Attributes:
        path: of the checkpoint, for ``Trainer.fit(ckpt_path=...)``.
        phase_done: that phase had ended (all epochs, or early stopping).
        stopped: it had ended by early stopping; states of before this was noted count as such.
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
    stopped: bool = True

    def is_done(self, epochs: int) -> bool:
        """Return whether the phase has nothing left to do if it is given so many epochs."""
        n_done = sum(row["phase"] == self.phase for row in self.rows)
        return self.phase_done and (self.stopped or n_done >= epochs)

    def sums_of(self, rank: int, world_size: int) -> torch.Tensor | None:
        """Return what a rank of so many goes on counting from; None: from nothing.

        With another number of ranks than before, rank 0 takes all that was counted.
        """
        if len(self.sums) == world_size:
            return self.sums[rank]
        if rank > 0 or not self.sums:
            return None
        return torch.stack(self.sums).sum(0)


def find_state(
    run_folder: Path, model: nn.Module | None = None, warn: Callable[[str], None] = lambda _: None
) -> State | None:
    """Return the newest state that is whole, or the one before it, or None.

    Args:
        model: whose weights it has to fit.
        warn: told of each file that is no state, and what follows.
    """
    there = _newest_first(run_folder / FOLDER)
    for path in there:
        reason = "is damaged"
        with suppress(OSError):
            if path.stem.split("-")[1] == file_digest(path)[:16]:
                state, reason = _read(path, model)
                if state is not None:
                    return state
        warn(f"{path}: {reason}; it is passed over")
    if there:
        warn("no state of the run can be read: it begins again with its first epoch")
    return None


def _read(path: Path, model: nn.Module | None) -> tuple[State | None, str]:
    """Return the state in a file; or None, and why it is none."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        state = State(path=path, **content["asl_exp_state"])
        if not (isinstance(content["loops"], dict) and all("epoch" in row for row in state.rows)):
            return None, "holds no state of a run"
        if model is not None and not _fits(content["state_dict"], model):
            return None, "is the state of another network"
    except Exception as error:  # foreign bytes make torch.load raise eight kinds of errors
        return None, f"holds no state of a run ({type(error).__name__})"
    return state, ""


def _fits(saved: dict[str, torch.Tensor], model: nn.Module) -> bool:
    """Return whether a state's weights, whole or of what trains, are of this network."""
    shapes = {f"model.{name}": tensor.shape for name, tensor in model.state_dict().items()}
    own = {name: tensor.shape for name, tensor in saved.items() if name.startswith("model.")}
    return bool(own) and own.items() <= shapes.items()


def state_names(run_folder: Path) -> list[str]:
    """Return the names of all states there, which tell their content."""
    return [path.name for path in _newest_first(run_folder / FOLDER)]


def remove_state(run_folder: Path, *, but_newest: bool = False) -> None:
    """Remove the state of a run that has ended, or all of it but the newest file.

    Its kept checkpoints stay.
    """
    if not but_newest:
        shutil.rmtree(run_folder / FOLDER, ignore_errors=True)
    for old in _newest_first(run_folder / FOLDER)[1:]:
        old.unlink()


def add_state(written: Path) -> None:
    """Make a written file the newest state in one step, then remove old ones.

    The name carries the digest of the content, so that a damaged file betrays itself.
    """
    with written.open("rb") as file:
        os.fsync(file.fileno())
    there = _newest_first(written.parent)
    number = 1 + (int(there[0].stem.split("-")[0]) if there else 0)
    written.replace(written.with_name(f"{number:06d}-{file_digest(written)[:16]}.ckpt"))
    for old in there[_KEPT - 1 :]:
        old.unlink()


def _newest_first(folder: Path) -> list[Path]:
    return sorted((f for f in folder.glob("*-*.ckpt") if _NAME.fullmatch(f.name)), reverse=True)

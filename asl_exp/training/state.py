"""The state of a run on disk, from which it is resumed; callbacks.py writes it after every epoch.

A state holds everything that decides the rest of the run: weights, optimizer, rate, loops, best
values, and the metrics so far. Random generators are not in it, since every step's randomness is a
function of seed, epoch, batch and rank.
"""

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

FOLDER = "state"
_KEPT = 2  # the newest, and the one before in case the newest is damaged


@dataclass(frozen=True)
class State:
    """A complete state.

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


def find_state(run_folder: Path) -> State | None:
    """Return the newest complete state, or the one before it, or None."""
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


def add_state(written: Path) -> None:
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

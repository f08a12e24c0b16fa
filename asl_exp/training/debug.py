"""Debug runs: fewer images, one batch until it is learned, and where the time goes.

A debug run goes the way of every run. What it is stands beside its scores as a caution.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning.callbacks import EarlyStopping

from asl_exp.config import readable
from asl_exp.config.debug import debug_caution, joined
from asl_exp.config.names import VAL_ACCURACY, Artifact
from asl_exp.config.schema import Config, DebugConfig
from asl_exp.data.letters import LetterData, Split
from asl_exp.training.current_run import Run
from asl_exp.training.ranks import rank
from asl_exp.training.terminal import say

_UNKNOWN_BATCH: Final = 64
"""Images of a batch where its size is to be found out."""

_OPERATORS: Final = 40


def with_less(config: Config, data: LetterData) -> LetterData:
    """Return what a debug run sees of the data, the caution with it."""
    debug = config.debug
    if not (said := debug_caution(debug)):
        return data
    batch = config.data.batch_size
    size = batch if isinstance(batch, int) else _UNKNOWN_BATCH
    splits = {name: _less(split, debug, size) for name, split in data.splits.items()}
    if debug.one_batch:
        one = splits["train"].take(_spread(splits["train"], size))
        splits |= {"train": one, "val": replace(one, name="val")}
    marked = {
        name: split if name == "train" else replace(split, caution=joined(said, split.caution))
        for name, split in splits.items()
    }
    sizes = ",".join(str(len(split)) for split in splits.values())
    return replace(
        data, splits=marked, caution=joined(said, data.caution), digest=f"{data.digest}:{sizes}"
    )


def _less(split: Split, debug: DebugConfig, batch: int) -> Split:
    wanted = round(len(split) * debug.share)
    if debug.batches is not None:
        wanted = min(wanted, debug.batches * batch)
    return split if wanted >= len(split) else split.take(_spread(split, max(wanted, 1)))


def _spread(split: Split, wanted: int) -> NDArray[np.int64]:
    """Return positions of so many images, equally often of each class as far as there are any."""
    turn = np.zeros(len(split), np.int64)
    for label in np.unique(split.labels):
        own = np.flatnonzero(split.labels == label)
        turn[np.random.default_rng(0).permutation(own)] = np.arange(len(own))
    return np.sort(np.argsort(turn, kind="stable")[:wanted])


def until_learned() -> EarlyStopping:
    """Return what ends a phase that has one batch: every answer is right.

    In place of the phase's own patience: BatchNorm's statistics come some 40 steps later.
    """
    return EarlyStopping(
        VAL_ACCURACY,
        mode="max",
        patience=1_000_000,
        stopping_threshold=1 - 1e-6,
        check_finite=False,
    )


def say_learned(run: Run, phase: str) -> None:
    """Say whether a phase learned its one batch."""
    if not run.config.debug.one_batch:
        return
    rows = [row for row in run.epochs if row["phase"] == phase]
    n, best = len(run.data.splits["train"]), max(row[VAL_ACCURACY] for row in rows)
    if best >= 1:
        say(f"debug: phase {phase} learned its batch of {n} images in {len(rows)} epochs")
    else:
        say(
            f"debug: phase {phase} did not learn its batch of {n} images in {len(rows)} epochs "
            f"(val/accuracy {readable.score(best)}): the rate, the network, what is frozen, or the "
            "labels are at fault",
            warning=True,
        )


@contextmanager
def profiled(run: Run, phase: str) -> Iterator[None]:
    """Measure the operators of a fit, if asked for, and add their table to the run's file."""
    if not run.config.debug.profile or rank() != 0:
        yield
        return
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if run.device.type == "cuda":
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as profiler:
        yield
    order = "self_cuda_time_total" if run.device.type == "cuda" else "self_cpu_time_total"
    table = profiler.key_averages().table(
        sort_by=order, row_limit=_OPERATORS, max_name_column_width=60
    )
    with _file(run).open("a", encoding="utf-8") as file:
        file.write(f"operators of phase {phase}, by their own time\n{table}\n\n")


def write_stages(run: Run) -> None:
    """Put the seconds of each stage in front of the operators, if asked for."""
    if not run.config.debug.profile or rank() != 0:
        return
    whole = sum(run.stages.seconds.values())
    lines = [
        f"{name:<24} {seconds:>9.2f} s {seconds / whole:>6.1%}"
        for name, seconds in sorted(run.stages.seconds.items(), key=lambda one: -one[1])
    ]
    file = _file(run)
    operators = file.read_text("utf-8") if file.is_file() else ""
    file.write_text("\n".join(["stages", *lines, "", operators]), "utf-8")
    say(f"debug: {file}")


def _file(run: Run) -> Path:
    return run.folder / Artifact.PROFILE

"""The terminal: the configuration, a bar for each phase, the result table, and the stages' clock.

Bars at a terminal, plain lines (one an epoch) in a log file.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from asl_exp.config import names, readable
from asl_exp.config.console import Console, score_table
from asl_exp.config.schema import Config, PhaseConfig
from asl_exp.config.signature import told_settings
from asl_exp.data.letters import LetterData
from asl_exp.runs.result import Result
from asl_exp.training.ranks import rank

console = Console()
_hushed = False


@contextmanager
def hushed(wanted: bool) -> Iterator[None]:
    """Print nothing of a run: a study says a line for each trial itself."""
    global _hushed
    before, _hushed = _hushed, wanted
    try:
        yield
    finally:
        _hushed = before


def say(text: str, *, warning: bool = False) -> None:
    """Print a line, on rank 0."""
    if rank() == 0 and not _hushed:
        console.say(text, warning=warning)


def show_config(config: Config) -> None:
    """Print what the experiment is: what it names, and what differs from the defaults."""
    if _hushed:
        return
    table = Table(title="Experiment", title_justify="left", show_header=False, box=None)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for group, settings in told_settings(config).items():
        pairs = (f"{key}={value}" if key else value for key, value in settings.items())
        table.add_row(group, "  ".join(pairs))
    console.print(table)


class PhaseProgress(Callback):
    """A line for each epoch that stays, and at a terminal a bar for the phase with the time left.

    Args:
        phase: for its number of epochs and its monitor.
        earlier: the monitor's values in the epochs before a resume.
    """

    def __init__(self, name: str, phase: PhaseConfig, earlier: Sequence[float] = ()) -> None:
        self.name = name
        self.n_epochs = phase.epochs
        self.n_earlier = len(earlier)
        self.monitor = phase.monitor
        self.sign = -1 if names.falls(phase.monitor) else 1
        self.best = max((self.sign * value for value in earlier), default=-math.inf)
        self.progress: Progress | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar, on rank 0 and at a terminal."""
        if not trainer.is_global_zero or _hushed:
            return
        if console.is_terminal:
            self.progress = Progress(
                TextColumn("{task.description}", style="bold", markup=False),
                TextColumn("epoch {task.fields[epoch]}"),
                BarColumn(bar_width=None),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=console,
                expand=True,
            )
            self.progress.start()
            batches = int(trainer.num_training_batches)
            self.progress.add_task(
                self.name,
                total=self.n_epochs * batches,
                completed=self.n_earlier * batches,
                epoch=f"{self.n_earlier + 1}/{self.n_epochs}",
            )
        else:
            say(f"phase {self.name}: {self.n_epochs} epochs")

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Move the bar."""
        if self.progress:
            self.progress.advance(self.progress.task_ids[0])

    def show_epoch(self, epoch_in_phase: int, metrics: Mapping[str, float]) -> None:
        """Show the metrics of a finished epoch, and whether it is the best so far."""
        value = self.sign * metrics[self.monitor]
        better = value > self.best
        self.best = value if better else self.best
        keys = (names.TRAIN_LOSS, names.TRAIN_ACCURACY, names.VAL_LOSS, names.VAL_ACCURACY)
        train_loss, train_accuracy, val_loss, val_accuracy = (
            readable.score(metrics[key]) for key in keys
        )
        line = (
            f"loss {train_loss} acc {train_accuracy} | "
            f"val {val_loss} {val_accuracy} | "
            f"{metrics[names.IMAGES_PER_SECOND]:.0f} img/s"
        )
        if rank() > 0:
            return
        count = f"{epoch_in_phase + 1}/{self.n_epochs}"
        say(f"{self.name} {count}: {line}{' *' if better else ''}")
        if self.progress:
            following = min(epoch_in_phase + 2, self.n_epochs)
            self.progress.update(self.progress.task_ids[0], epoch=f"{following}/{self.n_epochs}")

    def _close(self) -> None:
        if self.progress:
            self.progress.stop()
            self.progress = None

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar."""
        self._close()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Close the bar, so that the error can be read."""
        self._close()


_INTERVAL: Final = "95 %"
_COLUMNS: Final = (
    "images", "loss", "accuracy", _INTERVAL, "f1_macro", "ece", names.HANDS_FOUND,
)  # fmt: skip
_SPARE: Final = ("loss", "f1_macro", "ece")
"""Columns that a narrow terminal goes without, before names of sets are broken; result.json has
them all."""


def show_result(
    title: str, rows: Mapping[str, Mapping[str, float]], intervals: Mapping[str, Sequence[float]]
) -> None:
    """Print scores, a row for each split or set.

    Args:
        rows: name to any of loss, accuracy, f1_macro, ece, images and hands_found.
        intervals: metric key to low and high.
    """
    known = {_INTERVAL, *(key for scores in rows.values() for key in scores)}
    columns = [column for column in _COLUMNS if column in known]
    unbounded = console.options.update(width=10_000)
    for n_left_out in range(len(_SPARE) + 1):
        shown = [column for column in columns if column not in _SPARE[:n_left_out]]
        table = _score_table(title, shown, rows, intervals)
        if console.measure(table, options=unbounded).maximum <= console.width:
            break
    console.print(table)


def _score_table(
    title: str,
    columns: Sequence[str],
    rows: Mapping[str, Mapping[str, float]],
    intervals: Mapping[str, Sequence[float]],
) -> Table:
    table = score_table("split", title)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for split, scores in rows.items():
        cells = [_cell(column, scores.get(column)) for column in columns]
        if interval := intervals.get(names.score_key(split, "accuracy")):
            cells[columns.index(_INTERVAL)] = readable.interval(interval)
        table.add_row(split, *cells)
    return table


def _cell(column: str, value: float | None) -> str:
    return f"{value:,.0f}" if value and column == "images" else readable.score(value)


def show_outcome(
    config: Config,
    data: LetterData,
    result: Result,
    run_folder: Path,
    *,
    kept: str,
    address: str | None,
) -> None:
    """Print the result table and the places to look.

    Args:
        kept: phase and epoch of the kept checkpoint.
        address: of the run in MLflow's UI; None where it is not recorded.
    """
    if _hushed:
        return
    rows: dict[str, dict[str, float]] = {
        split: {
            "loss": result.metrics[f"{split}/loss"],
            "accuracy": result.metrics[f"{split}/accuracy"],
        }
        for split in ("train", "val")
    }
    rows["val"]["f1_macro"] = result.metrics[names.VAL_F1_MACRO]
    for name, split in data.splits.items():
        scores = {
            s: result.metrics[k]
            for s in (*names.SCORES, names.HANDS_FOUND)
            if (k := names.score_key(name, s)) in result.metrics
        }
        rows.setdefault(name, {}).update({"images": len(split), **scores})
    say(f"{result.name}: checkpoint of phase {kept}, best {result.monitor}")
    show_result(data.caution, rows, result.intervals)
    for name, caution in data.cautions.items():
        if caution != data.caution:
            say(f"{name}: {caution}", warning=True)
    spent = ", ".join(
        f"{stage} {readable.duration(seconds)}" for stage, seconds in result.seconds.items()
    )
    say(f"time: {spent}")
    say(f"run folder: {run_folder}")
    if address is not None:
        say(f"MLflow: make ui, then {address}")


class Stages:
    """Seconds by stage, in the order in which they ended.

    The first run of a process has the stage ``imports``: all since the process was started.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        if (started := _process_start()) is not None:
            self.seconds["imports"] = time.time() - started
        self._inside = [0.0]

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time a stage without the stages inside it; one that raised is timed as well."""
        started = time.perf_counter()
        self._inside.append(0.0)
        try:
            yield
        finally:
            spent = time.perf_counter() - started
            own = spent - self._inside.pop()
            self._inside[-1] += spent
            self.seconds[name] = self.seconds.get(name, 0.0) + own


_asked = False


def _process_start() -> float | None:
    """Return when this process was started, in seconds since 1970; None when asked again."""
    global _asked
    first, _asked = not _asked, True
    return psutil.Process().create_time() if first else None

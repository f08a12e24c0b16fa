"""Learning curves of one run over all its phases."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from asl_exp.config import names
from asl_exp.evaluation.figures import canvas

FEW_EPOCHS = 40  # up to which every epoch gets a dot
NARROW = 0.15  # of all epochs: an inner phase below that has no room for its name
LOG_FROM_RATIO = 100  # between the highest and the lowest loss


def learning_curves(
    history: pd.DataFrame,
    path: Path,
    kept: Mapping[str, int] | None = None,
    caution: str = "",
) -> None:
    """Draw loss, accuracy and learning rate by epoch into a PNG.

    Args:
        history: a row an epoch, with columns epoch (counted across phases), phase, and the keys
            of `names.EPOCH_METRICS`; a column may be missing, a value NaN.
        path: the PNG to write.
        kept: phase to the epoch (counted across phases) whose checkpoint was kept.
        caution: what must stand beside a score of val.
    """
    figure = canvas.new_figure(9, 8.4)
    if history.empty:
        canvas.title(figure, "Learning curves", "epochs: 0")
        canvas.say(figure.add_subplot(), "no epoch was trained")
    else:
        rows = history.sort_values("epoch", kind="stable").drop_duplicates("epoch", keep="last")
        canvas.title(figure, "Learning curves", "\n".join(filter(None, (_line(rows), caution))))
        _draw(figure, rows, kept or {})
    canvas.save(figure, path)


def _line(rows: pd.DataFrame) -> str:
    counts = rows.groupby("phase", sort=False).size()
    return "epochs: " + ", ".join(f"{phase} {count}" for phase, count in counts.items())


def _draw(figure: Figure, rows: pd.DataFrame, kept: Mapping[str, int]) -> None:
    loss, accuracy, rate = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1.2))
    _draw_pair(loss, rows, names.TRAIN_LOSS, names.VAL_LOSS, kept)
    _draw_pair(accuracy, rows, names.TRAIN_ACCURACY, names.VAL_ACCURACY, kept)
    _draw_rate(rate, rows)
    loss.set_ylabel("loss (cross-entropy)")
    accuracy.set_ylabel("accuracy")
    _spread_loss(loss, rows)
    for axes in (loss, accuracy, rate):
        _mark_boundaries(axes, rows)
        axes.grid(color=canvas.PALE)
    _name_phases(loss, rows, kept)
    rate.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    rate.set_xlabel("epoch, counted across phases")
    rate.set_xlim(rows["epoch"].min() - 0.5, rows["epoch"].max() + 0.5)


def _draw_pair(
    axes: Axes, rows: pd.DataFrame, train: str, val: str, kept: Mapping[str, int]
) -> None:
    _draw_metric(axes, rows, train, canvas.BLUE, "--")
    _draw_metric(axes, rows, val, canvas.ORANGE, "-")
    _mark_kept(axes, rows, val, kept)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=9)


def _draw_metric(axes: Axes, rows: pd.DataFrame, key: str, color: str, dashes: str) -> None:
    """Draw one line a phase: a phase starts from a kept epoch, not from the one before it."""
    dot = "o" if len(rows) <= FEW_EPOCHS else ""
    label: str | None = key
    for _, phase in rows.groupby("phase", sort=False):
        known = _finite(phase, key)
        if known.empty:
            continue
        axes.plot(
            known["epoch"],
            known[key],
            color=color,
            linestyle=dashes,
            marker=dot,
            markersize=3.5,
            label=label,
        )
        label = None


def _draw_rate(axes: Axes, rows: pd.DataFrame) -> None:
    _draw_metric(axes, rows, names.LEARNING_RATE, canvas.GREEN, "-")
    axes.set_ylabel("learning rate")
    if (_finite(rows, names.LEARNING_RATE)[names.LEARNING_RATE] > 0).any():
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value:.0e}".replace("e-0", "e-"))
        )


def _spread_loss(axes: Axes, rows: pd.DataFrame) -> None:
    """Use a log scale where a linear one would flatten all but the first epochs."""
    keys = (names.TRAIN_LOSS, names.VAL_LOSS)
    losses = np.concatenate([_finite(rows, key)[key].to_numpy() for key in keys])
    if losses.size and losses.min() > 0 and losses.max() / losses.min() > LOG_FROM_RATIO:
        axes.set_yscale("log")
        axes.set_ylabel("loss (cross-entropy, log scale)")


def _finite(rows: pd.DataFrame, key: str) -> pd.DataFrame:
    if key not in rows:
        return pd.DataFrame({"epoch": [], key: []}, dtype=np.float64)
    return rows[np.isfinite(rows[key].astype(np.float64))]


def _mark_kept(axes: Axes, rows: pd.DataFrame, key: str, kept: Mapping[str, int]) -> None:
    known = _finite(rows, key)
    chosen = known[known["epoch"].isin(list(kept.values()))]
    if chosen.empty:
        return
    axes.plot(
        chosen["epoch"],
        chosen[key],
        color=canvas.BLACK,
        linestyle="none",
        marker="*",
        markersize=12,
        markeredgecolor="white",
        label="kept: " + ", ".join(f"{value:.3f}" for value in chosen[key]),
        zorder=4,
    )


def _mark_boundaries(axes: Axes, rows: pd.DataFrame) -> None:
    starts = rows.groupby("phase", sort=False)["epoch"].min()
    for start in starts.iloc[1:]:
        axes.axvline(start - 0.5, color=canvas.GREY, linewidth=1.2, linestyle=":")


def _name_phases(axes: Axes, rows: pd.DataFrame, kept: Mapping[str, int]) -> None:
    """Write each phase above its epochs; the outer names keep to the figure's edges."""
    spans = rows.groupby("phase", sort=False)["epoch"].agg(["min", "max"])
    for place, (phase, first, last) in enumerate(spans.itertuples()):
        ends = {len(spans) - 1: ("right", last + 0.5), 0: ("left", first - 0.5)}
        side, across = ends.get(place, ("center", (first + last) / 2))
        if side == "center" and last - first + 1 < NARROW * len(rows):
            continue  # its name would lie on the next one's; the title has it
        note = f"\nkept epoch {kept[phase]}" if phase in kept else ""
        axes.annotate(
            canvas.plain(phase) + note,
            (across, 1),
            xycoords=axes.get_xaxis_transform(),
            xytext=(0, 4),
            textcoords="offset points",
            ha=side,
        )

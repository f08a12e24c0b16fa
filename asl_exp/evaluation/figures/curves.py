"""Learning curves of one run over all its phases."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from asl_exp.config import names, readable
from asl_exp.evaluation.figures import canvas

FEW_EPOCHS = 40  # up to which every epoch gets a dot
LETTER = 0.012  # of the axes' width: a letter of a phase's name
SCORE = 0.05  # of the axes' width: a kept epoch's score
ABOVE = 0.14  # of the lines' height: room above and below them for a score
MOST_TICKS = 20
_STEPS = [step * 10**power for power in range(9) for step in (1, 2, 5)]
LOG_FROM_RATIO = 100  # between the highest and the lowest loss


def learning_curves(
    history: pd.DataFrame,
    path: Path,
    kept: Mapping[str, int] | None = None,
    caution: str = "",
    *,
    augmented: bool = False,
) -> None:
    """Draw loss, accuracy and learning rate by epoch into a PNG.

    Args:
        history: a row an epoch, with columns epoch (counted across phases), phase, and the keys
            of `names.EPOCH_METRICS`; a column may be missing, a value NaN.
        kept: phase to the epoch (counted across phases) whose checkpoint was kept.
        caution: what must stand beside a score of val.
        augmented: train's images were changed at random, which val's never are.
    """
    told, size = "Learning curves", (9.0, 8.4)
    if history.empty:
        figure, (axes,) = canvas.panels(size, told, "epochs: 0")
        canvas.say(axes, "no epoch was trained")
    else:
        rows = history.sort_values("epoch", kind="stable").drop_duplicates("epoch", keep="last")
        line = "\n".join(filter(None, (_line(rows, augmented), caution)))
        figure, panels = canvas.panels(size, told, line, (3, 3, 1.2), above=0.5)
        _draw(panels, rows, kept or {})
    canvas.save(figure, path)


def _line(rows: pd.DataFrame, augmented: bool) -> str:
    counts = rows.groupby("phase", sort=False).size()
    epochs = "epochs: " + ", ".join(f"{phase} {count}" for phase, count in counts.items())
    return epochs + ("; train is with augmentation, val without" if augmented else "")


def _draw(panels: Sequence[Axes], rows: pd.DataFrame, kept: Mapping[str, int]) -> None:
    loss, accuracy, rate = panels
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
    _number_epochs(rate, rows)
    rate.set_xlabel("epoch within its phase")
    rate.set_xlim(rows["epoch"].min() - 0.5, rows["epoch"].max() + 0.5)


def _number_epochs(axes: Axes, rows: pd.DataFrame) -> None:
    """Count the epochs of each phase from 1 below it."""
    every = next(step for step in _STEPS if len(rows) <= MOST_TICKS * step)
    places, labels = [], []
    for _, phase in rows.groupby("phase", sort=False):
        first = int(phase["epoch"].min())
        for epoch in phase["epoch"]:
            number = int(epoch) - first + 1
            if number == 1 or number % every == 0:
                places.append(int(epoch))
                labels.append(str(number))
    axes.set_xticks(places, labels)


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
        label="kept",
        zorder=4,
    )
    spans = rows.groupby("phase", sort=False)["epoch"].agg(["min", "max"])
    width, below = SCORE * len(rows), key == names.VAL_LOSS  # beyond the best no line is drawn
    for phase, epoch, value in chosen[["phase", "epoch", key]].itertuples(index=False):
        side = 0  # a score beside its star must not lie on another phase's lines
        if epoch - spans["min"][phase] + 0.5 >= width:
            side = -1
        elif spans["max"][phase] + 0.5 - epoch >= width:
            side = 1
        else:
            epoch = max(epoch, spans["min"].min() - 0.5 + width / 2)
        axes.annotate(
            readable.score(value),
            (epoch, value),
            xytext=(-4 * side, -9 if below else 9),
            textcoords="offset points",
            ha=("center", "left", "right")[side],
            va="top" if below else "bottom",
            fontsize=9,
            zorder=5,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 1},
        )
    axes.margins(y=ABOVE)


def _mark_boundaries(axes: Axes, rows: pd.DataFrame) -> None:
    starts = rows.groupby("phase", sort=False)["epoch"].min()
    for start in starts.iloc[1:]:
        axes.axvline(start - 0.5, color=canvas.GREY, linewidth=1.2, linestyle=":")


def _name_phases(axes: Axes, rows: pd.DataFrame, kept: Mapping[str, int]) -> None:
    """Write each phase above the middle of its epochs, as far as names have room beside another."""
    spans = rows.groupby("phase", sort=False)["epoch"].agg(["min", "max"])
    taken = -np.inf  # the end of the name before, in epochs
    for phase, first, last in spans.itertuples():
        note = f"kept epoch {kept[phase] - first + 1}" if phase in kept else ""
        half = LETTER * len(rows) * max(len(phase), len(note)) / 2
        across = min(max((first + last) / 2, spans["min"].min() - 0.5 + half),
                     spans["max"].max() + 0.5 - half)  # fmt: skip
        if across - half < taken:
            continue  # its name would lie on another's; the title has it
        taken = across + half
        axes.annotate(
            "\n".join(filter(None, (canvas.plain(phase), note))),
            (across, 1),
            xycoords=axes.get_xaxis_transform(),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
        )

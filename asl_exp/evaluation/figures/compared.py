"""Figures of configurations side by side: learning curves, recall by class, cost and accuracy."""

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from statistics import mean, stdev

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter

from asl_exp.config import names, readable
from asl_exp.evaluation.comparison import Configuration
from asl_exp.evaluation.cost import Cost
from asl_exp.evaluation.figures import canvas

_COLUMNS = 3
_LONGEST_NAME = 40


def curves_figure(compared: Sequence[Configuration]) -> Figure:
    """Return accuracy by epoch, a panel a configuration, a pair of lines a run.

    The epochs of fine-tuning, or whatever phases follow the first, are shaded.
    """
    columns = min(_COLUMNS, len(compared))
    rows = ceil(len(compared) / columns)
    figure = canvas.new_figure(max(5.0, 3.6 * columns), 1.1 + 2.7 * rows)
    canvas.title(figure, "Learning curves", "orange: val/accuracy, blue dashed: train/accuracy")
    panels = list(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)
    for axes, one in zip(panels, compared, strict=False):
        _draw_curves(axes, one)
    for axes in panels[len(compared) :]:
        axes.set_visible(False)
    return figure


def _draw_curves(axes: Axes, one: Configuration) -> None:
    axes.set_title(canvas.plain(canvas.shortened(one.label, _LONGEST_NAME)), fontsize=9)
    histories = [run.history() for run in one.runs]
    known = [history for history in histories if names.VAL_ACCURACY in history]
    for history in known:
        for key, colour, dashes in (
            (names.TRAIN_ACCURACY, canvas.BLUE, "--"),
            (names.VAL_ACCURACY, canvas.ORANGE, "-"),
        ):
            dot = "o" if len(history) == 1 else ""
            axes.plot(
                history["epoch"] + 1, history[key], dashes, marker=dot, color=colour,
                linewidth=1.4, alpha=1 / len(known) ** 0.5,
            )  # fmt: skip
    if known:
        _shade_later_phases(axes, max(known, key=len))
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("epoch", fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.tick_params(labelsize=8)
    axes.grid(color=canvas.PALE)


def _shade_later_phases(axes: Axes, history: pd.DataFrame) -> None:
    if "phase" not in history or history["phase"].nunique() < 2:
        return
    later = history["epoch"][history["phase"] != history["phase"].iloc[0]] + 1
    axes.axvspan(later.min() - 0.5, later.max() + 0.5, color=canvas.PALE, zorder=0)


def recall_figure(compared: Sequence[Configuration], where: str) -> Figure:
    """Return the share of each class's images that was recognised, a row a configuration.

    Below it its interval, or the spread of repeated runs.
    """
    tested = [one for one in compared if one.scored(where)]
    recalls = [_mean_recall(one, where) for one in tested]
    classes = list(dict.fromkeys(name for recall in recalls for name in recall))
    values = np.array([[recall.get(name, np.nan) for name in classes] for recall in recalls])
    figure = canvas.new_figure(max(6.0, 0.4 * len(classes) + 3), 1.8 + 0.45 * len(tested))
    axes = figure.add_subplot()
    told = "percent of a class's images; small: 95 % interval, ? for too few, ± of repeated runs"
    canvas.title(figure, f"Recall by class: {where}", told)
    labels = [canvas.shortened(one.label, _LONGEST_NAME) for one in tested]
    spreads = [[_recall_spread(one, where, name) for name in classes] for one in tested]
    canvas.shares_map(axes, values, labels, classes, spreads)
    return figure


def _mean_recall(one: Configuration, where: str) -> Mapping[str, float]:
    scored = one.scored(where)
    classes = dict.fromkeys(name for run in scored for name in run.recall)
    return {
        name: mean(run.recall[name] for run in scored if name in run.recall) for name in classes
    }


def _recall_spread(one: Configuration, where: str, label: str) -> str:
    scored = [run for run in one.scored(where) if label in run.recall]
    if len(scored) > 1:
        return f"±{100 * stdev(run.recall[label] for run in scored):.0f}"
    bounds = scored[0].recall_intervals.get(label) if scored else None
    if bounds is None or readable.says_nothing(bounds):
        return "?"
    return f"{100 * bounds[0]:.0f}-{100 * bounds[1]:.0f}"


def cost_figure(compared: Sequence[Configuration], where: str) -> Figure:
    """Return accuracy on a set against parameters, FLOPs and training speed."""
    tested = [one for one in compared if one.scored(where)]
    figure = canvas.new_figure(11, 4.2)
    canvas.title(figure, f"Cost against accuracy: {where}", "bars: 95 % intervals of single runs")
    panels = figure.subplots(1, 3, sharey=True)
    for axes, (what, of) in zip(panels, _AXES.items(), strict=True):
        for index, one in enumerate(tested):
            value = of(one.first.cost)
            if value:
                _draw_point(axes, value, one, where, index)
        axes.set_xscale("log")
        _widen(axes)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
        axes.xaxis.set_major_formatter(EngFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(labelsize=8)
        axes.set_xlabel(what)
        axes.grid(color=canvas.PALE)
    panels[0].set_ylabel("accuracy")
    handles, labels = panels[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", fontsize=7, ncols=2)
    return figure


_AXES: dict[str, Callable[[Cost], float | None]] = {
    "parameters": lambda one: one.parameters,
    "FLOPs an image": lambda one: one.flops,
    "images/s in training": lambda one: one.images_per_second,
}
_MARKS = "osD^vP*X<>hd"
_COLOURS = (canvas.BLUE, *canvas.SERIES, canvas.BLACK)


def _widen(axes: Axes) -> None:
    """Show at least a factor of 4: within less, equal costs look different and labels overlap."""
    low, high = axes.get_xlim()
    if axes.has_data() and high < 4 * low:
        middle = (low * high) ** 0.5
        axes.set_xlim(middle / 2, middle * 2)


def _draw_point(axes: Axes, value: float, one: Configuration, where: str, index: int) -> None:
    scored = one.scored(where)
    accuracy = mean(run.values["accuracy"] for run in scored)
    interval = scored[0].intervals.of.get("accuracy") if len(scored) == 1 else None
    low, high = interval or (accuracy, accuracy)
    axes.errorbar(
        value, accuracy, [[max(0.0, accuracy - low)], [max(0.0, high - accuracy)]],
        fmt=_MARKS[index % len(_MARKS)], color=_COLOURS[index % len(_COLOURS)], capsize=3,
        label=canvas.plain(canvas.shortened(one.label, _LONGEST_NAME)),
    )  # fmt: skip

"""Figures of several runs: their learning curves in one, and recall by class as a heat map."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from asl_exp.config import names
from asl_exp.evaluation.comparison import Compared
from asl_exp.evaluation.figures import canvas

_COLOURS = (canvas.BLUE, *canvas.SERIES, canvas.BLACK)
_MOST = len(_COLOURS)


def curves_figure(runs: Sequence[Compared]) -> Figure:
    """Return validation accuracy (solid) and training accuracy (dashed) of every run by epoch."""
    figure = canvas.new_figure(9, 5)
    axes = figure.add_subplot()
    canvas.title(figure, "Learning curves", "solid: val/accuracy, dashed: train/accuracy")
    for index, run in enumerate(runs):
        history = run.history()
        if names.VAL_ACCURACY not in history:
            continue
        colour, faint = _COLOURS[index % _MOST], index >= _MOST
        for key, dashes in ((names.VAL_ACCURACY, "-"), (names.TRAIN_ACCURACY, "--")):
            axes.plot(
                history["epoch"] + 1,
                history[key],
                dashes,
                color=colour,
                alpha=0.5 if faint else 1.0,
                linewidth=1.6 if dashes == "-" else 0.9,
                label=canvas.plain(run.label) if dashes == "-" else None,
            )
    axes.set_xlabel("epoch, counted across phases")
    axes.set_ylabel("accuracy")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(color=canvas.PALE)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, loc="lower right")
    return figure


def recall_figure(runs: Sequence[Compared], where: str) -> Figure:
    """Return the share of each class's images that each run recognised, a row a run."""
    tested = [run for run in runs if where in run.sets]
    classes = list(dict.fromkeys(name for run in tested for name in run.sets[where].recall))
    values = np.array(
        [[run.sets[where].recall.get(name, np.nan) for name in classes] for run in tested]
    )
    figure = canvas.new_figure(max(6.0, 0.36 * len(classes) + 3), 1.6 + 0.4 * len(tested))
    axes = figure.add_subplot()
    canvas.title(figure, f"Recall by class: {where}", "share of a class's images recognised")
    image = axes.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    axes.set_xticks(range(len(classes)), [canvas.plain(name) for name in classes], fontsize=8)
    axes.set_yticks(
        range(len(tested)), [canvas.plain(canvas.shortened(run.label, 40)) for run in tested],
        fontsize=8,
    )  # fmt: skip
    for row, column in np.ndindex(values.shape):
        if not np.isnan(values[row, column]):
            shade = "black" if values[row, column] > 0.6 else "white"
            axes.text(
                column, row, f"{100 * values[row, column]:.0f}",
                ha="center", va="center", fontsize=7, color=shade,
            )  # fmt: skip
    figure.colorbar(image, ax=axes, fraction=0.02)
    return figure

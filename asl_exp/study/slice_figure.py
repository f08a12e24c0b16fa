"""The objective against each searched key, one at a time."""

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from asl_exp.evaluation.figures import canvas
from asl_exp.study.axis import Axis
from asl_exp.study.results import Survey

_COLUMNS = 3


def slice_figure(survey: Survey, place: int) -> Figure | None:
    """Draw a panel for each key that a finished trial has; later trials are darker."""
    keys = [key for key in survey.keys if survey.drawn(key)]
    if not keys:
        return None
    columns = min(_COLUMNS, len(keys))
    rows = math.ceil(len(keys) / columns)
    figure = canvas.new_figure(max(6.0, 3.7 * columns), 3.1 * rows + 1.0)
    metric = survey.metrics[place]
    best = "star: the best trial" if len(survey.metrics) == 1 else "star: the balanced trial"
    canvas.title(figure, f"Slices: {metric} by parameter", f"{survey.counted()}; {best}")
    panels = list(figure.subplots(rows, columns, sharey=True, squeeze=False).ravel())
    for axes, key in zip(panels, keys, strict=False):
        _draw(axes, survey, key, place)
    for axes in panels[len(keys) :]:
        axes.set_axis_off()
    for axes in panels[::columns]:
        axes.set_ylabel(canvas.plain(metric))
    _explain_colour(figure, survey, panels)
    return figure


def _draw(axes: Axes, survey: Survey, key: str, place: int) -> None:
    axis, trials = Axis.of(survey, key), survey.drawn(key)
    axis.prepare(axes)
    axes.grid(color=canvas.PALE)
    axes.scatter(
        [axis.place(trial.params[key]) for trial in trials],
        [trial.values[place] for trial in trials],
        c=[trial.number for trial in trials],
        cmap="Blues", vmin=_lightest(survey), vmax=survey.trials[-1].number,
        s=30, edgecolors=canvas.GREY, linewidths=0.5, zorder=3,
    )  # fmt: skip
    best = survey.best
    if best is not None and key in best.params:
        axes.plot(axis.place(best.params[key]), best.values[place], "*", markersize=15,
                  color=canvas.ORANGE, markeredgecolor="white", zorder=4)  # fmt: skip


def _lightest(survey: Survey) -> float:
    """Return where the colours begin, so that the first trial is not white."""
    return -0.4 * max(1, survey.trials[-1].number)


def _explain_colour(figure: Figure, survey: Survey, panels: list[Axes]) -> None:
    drawn = [axes for axes in panels if axes.collections]
    if len(survey.finished) > 1:
        bar = figure.colorbar(drawn[0].collections[0], ax=panels, pad=0.01, aspect=40)
        bar.set_label("trial")
        bar.ax.set_ylim(0, survey.trials[-1].number)
        bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True))

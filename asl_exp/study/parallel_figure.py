"""All searched keys side by side: a line for each trial, coloured by what it came to."""

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from optuna.trial import FrozenTrial

from asl_exp.evaluation.figures import canvas
from asl_exp.study.axis import Axis
from asl_exp.study.results import Survey

_UNSET = -0.13
"""Height at which a line passes a key that its trial did not have."""


def parallel_figure(survey: Survey, place: int) -> Figure | None:
    """Draw the finished trials; None where fewer than two have anything to compare."""
    keys = [key for key in survey.keys if survey.drawn(key)]
    if not keys or len(survey.finished) < 2:
        return None
    axes_of = [Axis.of(survey, key) for key in keys]
    figure = canvas.new_figure(max(7.0, 2.1 * (len(keys) + 1) + 1.2), 5.4)
    metric = survey.metrics[place]
    canvas.title(figure, f"Parallel coordinates: {metric}", survey.counted())
    axes = figure.subplots()
    colours = _colours(survey, place)
    for trial in _worst_first(survey, place):
        _draw_trial(axes, trial, axes_of, colours, best=_best(survey, trial), place=place)
    some_unset = any(len(survey.drawn(key)) < len(survey.finished) for key in keys)
    _draw_axes(axes, axes_of, some_unset=some_unset)
    bar = figure.colorbar(colours, ax=axes, pad=0.02, aspect=30)
    bar.set_label(canvas.plain(metric))
    return figure


def _colours(survey: Survey, place: int) -> ScalarMappable:
    values = [trial.values[place] for trial in survey.finished]
    scale = "viridis" if survey.falls[place] else "viridis_r"
    return ScalarMappable(Normalize(min(values), max(values)), colormaps[scale])


def _worst_first(survey: Survey, place: int) -> list[FrozenTrial]:
    """Return the trials so that the good ones are drawn above the others, the best last."""
    return sorted(survey.finished, key=lambda t: (t is survey.best, -survey.costs(t)[place]))


def _best(survey: Survey, trial: FrozenTrial) -> str | None:
    """Return what the line of the best trial is called; None for the others."""
    word = "best" if len(survey.metrics) == 1 else "balanced"
    return f"{word}: trial {trial.number}" if trial is survey.best else None


def _draw_trial(
    axes: Axes,
    trial: FrozenTrial,
    axes_of: list[Axis],
    colours: ScalarMappable,
    *,
    best: str | None,
    place: int,
) -> None:
    heights = [a.fraction(trial.params[a.key]) if a.key in trial.params else _UNSET
               for a in axes_of]  # fmt: skip
    if len(heights) == 1:
        heights = heights * 2
    axes.plot(
        range(len(heights)), heights, zorder=3 if best else 2,
        color=canvas.ORANGE if best else colours.to_rgba(trial.values[place]),
        linewidth=3.0 if best else 1.4, alpha=1.0 if best else 0.75,
        label=best,
    )  # fmt: skip


def _draw_axes(axes: Axes, axes_of: list[Axis], *, some_unset: bool) -> None:
    for across, axis in enumerate(axes_of):
        axes.plot([across, across], [0, 1], color=canvas.BLACK, linewidth=1.2, zorder=4)
        for height, text in axis.marks():
            axes.annotate(canvas.plain(text), (across, height), xytext=(5, 0),
                          textcoords="offset points", va="center", fontsize=8.5, zorder=5,
                          bbox={"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none",
                                "alpha": 0.75})  # fmt: skip
    names = [canvas.plain(axis.name.replace(".", ".\n", 1)) for axis in axes_of]
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.35, max(len(names), 2) - 1 + 0.5)
    axes.set_ylim(_UNSET - 0.05 if some_unset else -0.05, 1.05)
    axes.set_yticks([_UNSET] if some_unset else [], ["not set"] if some_unset else [])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), frameon=False)

"""The figures of a study as PNG files: Optuna's own, in the style of all other figures.

What cannot be drawn is left out, with the reason. The interactive ones are in page.py.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib import rcsetup
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.layout_engine import TightLayoutEngine
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter
from numpy.typing import NDArray
from optuna.visualization import matplotlib as drawn_by_optuna

from asl_exp.compat.optuna import quiet
from asl_exp.evaluation.figures import canvas
from asl_exp.study.confirmation import Comparison
from asl_exp.study.importance import FEWEST, caution, importances, left_out
from asl_exp.study.results import Survey, score, shown

_KINDS: Final = ("history", "importances", "slices", "parallel", "heat_map", "pareto")
"""Names of figures; with two objectives a metric follows."""

_MOST_VALUES: Final = 12
"""Values of a key above which a heat map has too many cells to read."""

_FEW_DECADES: Final = 200
"""Between both ends of a logarithmic axis, below which powers of ten alone are too few marks."""

_ONE_DECADE: Final = 20
"""The same of a panel beside another one, where further marks have no room."""

_STYLE: Final[dict[Any, Any]] = {
    "axes.facecolor": "white",
    "axes.edgecolor": canvas.BLACK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": rcsetup.cycler("color", [canvas.BLUE, *canvas.SERIES]),
    "axes.titlesize": 12,
    "axes.labelcolor": canvas.BLACK,
    "figure.constrained_layout.use": True,
    "figure.dpi": canvas.DPI,
    "figure.facecolor": "white",
    "grid.color": canvas.PALE,
    "text.parse_math": False,
    "xtick.color": canvas.BLACK,
    "ytick.color": canvas.BLACK,
}


def write_figures(survey: Survey, folder: Path) -> dict[str, str]:
    """Write what can be drawn into the folder, in place of its earlier figures.

    Returns:
        The name of each figure that was left out, and why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for earlier in folder.glob("*.png"):
        if earlier.stem.partition("-")[0] in _KINDS:
            earlier.unlink()
    missing = {}
    for name, draw, reason in _figures(survey):
        if draw is None:
            missing[name] = reason
            continue
        with _style(), quiet():
            figure = draw()
            canvas.mark(figure, survey.caution)
            canvas.save(figure, folder / f"{name}.png")
    return missing


Draw = Callable[[], Figure]


def _figures(survey: Survey) -> Iterator[tuple[str, Draw | None, str]]:
    """Yield name, what draws it, and the reason where nothing can be drawn."""
    done, none = len(survey.finished), "no trial has finished"
    several = len(survey.metrics) > 1
    for place, metric in enumerate(survey.metrics):
        suffix = f"-{metric.replace('/', '_')}" if several else ""
        shares = importances(survey, place)
        keys = [key for key in survey.keys if survey.drawn(key)]
        varied = [key for key in keys if len(_values(survey, key)) > 1]
        yield f"history{suffix}", _if(done, _history, survey, place), none
        yield (
            f"importances{suffix}",
            _if(shares, _importances, survey, place, shares),
            f"needs {FEWEST} finished trials whose objective and parameters differ",
        )
        differ = "needs 2 finished trials with different values"
        yield f"slices{suffix}", _if(varied, _slices, survey, place, varied), differ
        both = done > 1 and keys
        parallel = _if(both, _parallel, survey, place, sorted(keys))
        yield f"parallel{suffix}", parallel, "needs 2 finished trials"
        for pair in _grid_of(survey):
            yield f"heat_map{suffix}", _if(pair, _heat_map, survey, place, *pair), none
    if several:
        yield "pareto", _if(done, _pareto, survey), none


def _if(there: object, draw: Callable[..., Figure], *arguments: Any) -> Draw | None:
    return (lambda: draw(*arguments)) if there else None


@contextmanager
def _style() -> Iterator[None]:
    """Draw in the project's style, and leave no figure and no setting of pyplot behind.

    Optuna asks pyplot for the style ``ggplot``; within the block that name means ours.
    """
    from matplotlib import pyplot, style

    theirs = style.library["ggplot"]
    there = set(pyplot.get_fignums())
    with mpl.rc_context(_STYLE):
        style.library["ggplot"] = mpl.RcParams(_STYLE)
        try:
            yield
        finally:
            style.library["ggplot"] = theirs
            for number in set(pyplot.get_fignums()) - there:
                pyplot.close(number)


def target(survey: Survey, place: int) -> dict[str, Any]:
    """Return the arguments by which Optuna's figures are told which objective is meant."""
    named: dict[str, Any] = {"target_name": survey.metrics[place]}
    several = len(survey.metrics) > 1
    return named | ({"target": lambda trial: float(trial.values[place])} if several else {})


def _sized(axes: Axes, width: float, height: float, what: str, line: str) -> Figure:
    """Return the figure of axes in its size, with a title of the project's kind."""
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure)
    axes.set_title("")
    figure.set_size_inches(width, height)
    if isinstance(figure.get_layout_engine(), TightLayoutEngine):  # Optuna asks for it in places
        figure.set_layout_engine("constrained")
    canvas.title(figure, what, line)
    for panel in figure.axes:
        for axis in (panel.xaxis, panel.yaxis):
            if axis.get_scale() == "log":
                narrow = axis is panel.xaxis and len(figure.axes) > 2  # panels beside another
                _name_logarithms(axis, _ONE_DECADE if narrow else _FEW_DECADES)
    return figure


def _name_logarithms(axis: Axis, few: float) -> None:
    """Write 0.001 where matplotlib would write a formula; more marks than powers on short ones."""
    low, high = axis.get_view_interval()
    if high / low < few:
        axis.set_major_locator(FixedLocator(_marks(low, high)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: shown(float(value), 2)))
    axis.set_minor_formatter(NullFormatter())


def _marks(low: float, high: float) -> list[float]:
    """Return round numbers in a range, two or more of them where its ends are not too near."""
    powers = [
        10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ]
    for digits in ((1, 2, 5), (1, 2, 3, 5, 7), (1, 2, 3, 4, 5, 6, 7, 8, 9)):
        marks = [digit * power for power in powers for digit in digits]
        within = [mark for mark in marks if low <= mark <= high]
        if len(within) > 1:
            break
    return within


def _history(survey: Survey, place: int) -> Figure:
    axes = drawn_by_optuna.plot_optimization_history(survey.study, **target(survey, place))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("trial")
    for line in axes.lines:
        line.set(drawstyle="steps-post", label="best so far", color=canvas.ORANGE)
    figure = _sized(axes, 9, 4.8, "Optimization history", survey.counted())
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False, fontsize=9)
    return figure


def _importances(survey: Survey, place: int, shares: dict[str, float]) -> Figure:
    """Draw the shares that importance.py found: it makes trials of an extended study comparable."""
    figure = canvas.new_figure(9, 1.9 + 0.42 * len(shares))
    without, metric = left_out(survey), survey.metrics[place]
    note = f"; not in all trials, left out: {', '.join(without)}" if without else ""
    canvas.title(figure, "Parameter importances (functional ANOVA)", f"{caution(survey)}{note}")
    axes = figure.subplots()
    bars = axes.barh(list(reversed(shares)), list(reversed(shares.values())), 0.6)
    axes.bar_label(bars, fmt="%.2f", padding=4)
    axes.set_xlim(0, max(*shares.values(), 0.01) * 1.12)
    axes.set_xlabel(f"share of the spread of {metric}")
    axes.grid(axis="y", visible=False)
    return figure


def _slices(survey: Survey, place: int, keys: list[str]) -> Figure:
    made = drawn_by_optuna.plot_slice(survey.study, params=keys, **target(survey, place))
    panels = [made] if isinstance(made, Axes) else list(np.ravel(made))
    best, metric = survey.best, survey.metrics[place]
    line = f"{survey.counted()}; star: trial {best.number}" if best else survey.counted()
    width = max(6.0, 3.4 * len(panels) + 1)
    figure = _sized(panels[0], width, 4.4, f"Slices: {metric} by parameter", line)
    for axes in panels:
        key = axes.get_xlabel()
        if best is not None and key in best.params:
            value = best.params[key]
            x = value if survey.choices(key) is None else repr(value)  # so Optuna names a choice
            axes.plot(x, best.values[place], "*", color=canvas.ORANGE, markersize=15, zorder=5,
                      markeredgecolor="white")  # fmt: skip
        if survey.choices(key) is not None:
            names = [mark.get_text().strip("'") for mark in axes.get_xticklabels()]
            axes.set_xticks(axes.get_xticks(), names, rotation=20)
    return figure


def _parallel(survey: Survey, place: int, keys: list[str]) -> Figure:
    """Draw a line a trial, good ones dark; Optuna puts the keys in the order of the alphabet."""
    arguments = target(survey, place)
    axes = drawn_by_optuna.plot_parallel_coordinate(survey.study, params=keys, **arguments)
    metric = survey.metrics[place]
    names = [name.replace(".", ".\n", 1) for name in (metric, *keys)]
    axes.set_xticks(range(len(names)), names, rotation=0)
    axes.collections[0].set_cmap("viridis" if survey.falls[place] else "viridis_r")
    width = max(8.0, 2.1 * len(names) + 1)
    figure = _sized(axes, width, 5.4, f"Parallel coordinates: {metric}", survey.counted())
    for beside in figure.axes:
        for mark in beside.get_yticklabels():
            mark.set_bbox({"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.8})
    return figure


def _pareto(survey: Survey) -> Figure:
    axes = drawn_by_optuna.plot_pareto_front(survey.study, target_names=list(survey.metrics))
    n_points = f"{len(survey.front)} of {len(survey.finished)} finished trials are on the front"
    for trial in survey.front[:_MOST_VALUES]:
        axes.annotate(str(trial.number), tuple(trial.values), xytext=(7, 6),
                      textcoords="offset points", fontsize=9)  # fmt: skip
    for name, metric, falls in zip("xy", survey.metrics, survey.falls, strict=True):
        axes.set(**{f"{name}label": f"{metric} ({'less' if falls else 'more'} is better)"})
    return _sized(axes, 8.4, 6, "Pareto front", n_points)


def _grid_of(survey: Survey) -> Iterator[tuple[str, str]]:
    """Yield the two keys of a study that has tried all pairs of their values, if it has."""
    keys = [key for key in survey.keys if len(_values(survey, key)) > 1]
    if len(keys) == 2 and all(len(_values(survey, key)) <= _MOST_VALUES for key in keys):
        across, down = (_values(survey, key) for key in keys)
        tried = {tuple(str(t.params.get(key)) for key in keys) for t in survey.finished}
        if len(tried) == len(across) * len(down) > 3:
            yield keys[0], keys[1]


def _values(survey: Survey, key: str) -> list[Any]:
    """Return the values that finished trials had, in order."""
    seen = {str(trial.params[key]): trial.params[key] for trial in survey.drawn(key)}
    choices = survey.choices(key)
    return sorted(seen.values(), key=choices.index if choices is not None else None)


def _heat_map(survey: Survey, place: int, down: str, across: str) -> Figure:
    """Draw the objective of every pair of values; the mean where a pair was tried twice."""
    rows, columns = _values(survey, down), _values(survey, across)
    cells = _cells(survey, place, down, across)
    figure = canvas.new_figure(2.6 + 0.8 * len(columns), 2.4 + 0.5 * len(rows))
    metric = survey.metrics[place]
    canvas.title(figure, metric, survey.counted())
    axes = figure.subplots()
    image = axes.imshow(cells, cmap="viridis_r" if survey.falls[place] else "viridis")
    axes.set_xticks(range(len(columns)), [shown(value, 3) for value in columns], rotation=20)
    axes.set_yticks(range(len(rows)), [shown(value, 3) for value in rows])
    axes.set(xlabel=across, ylabel=down)
    axes.grid(visible=False)
    middle = (np.nanmin(cells) + np.nanmax(cells)) / 2
    for (row, column), value in np.ndenumerate(cells):
        dark = (value < middle) != survey.falls[place]
        axes.text(column, row, score(float(value)), ha="center", va="center", fontsize=9,
                  color="white" if dark else "black")  # fmt: skip
    figure.colorbar(image, ax=axes).set_label(metric)
    return figure


def _cells(survey: Survey, place: int, down: str, across: str) -> NDArray[np.float64]:
    """Return (rows, columns): the objective at each pair of values."""
    values: dict[tuple[str, str], list[float]] = {}
    for trial in survey.finished:
        pair = str(trial.params[down]), str(trial.params[across])
        values.setdefault(pair, []).append(trial.values[place])
    return np.array(
        [
            [np.mean(values[str(row), str(column)]) for column in _values(survey, across)]
            for row in _values(survey, down)
        ]
    )


def confirm_figure(comparisons: list[Comparison]) -> Figure | None:
    """Draw winner and default, a line a seed; None where nothing was compared."""
    compared = [one for one in comparisons if one.differences]
    if not compared:
        return None
    figure = canvas.new_figure(8, 3.6 * len(compared) + 0.8)
    seeds = ", ".join(str(seed) for seed in compared[0].winner)
    canvas.title(figure, "Winner and default with other seeds", f"seeds {seeds}")
    panels = figure.subplots(len(compared), 1, squeeze=False)[:, 0]
    for axes, comparison in zip(panels, compared, strict=True):
        _draw_comparison(axes, comparison)
    return figure


def _draw_comparison(axes: Axes, comparison: Comparison) -> None:
    default = comparison.default or {}
    for seed, value in comparison.winner.items():
        if seed in default:
            axes.plot([0, 1], [default[seed], value], "o-", color=canvas.BLUE, alpha=0.7)
            axes.annotate(f"seed {seed}", (1, value), xytext=(8, 0), fontsize=9,
                          textcoords="offset points", va="center")  # fmt: skip
    axes.plot(1, comparison.best, "*", color=canvas.ORANGE, markersize=15, linestyle="none",
              markeredgecolor="white", label="in the study, where it was chosen for this value",
              zorder=4)  # fmt: skip
    axes.set_xticks([0, 1], ["default", f"winner (trial {comparison.trial})"])
    axes.set_xlim(-0.4, 1.6)
    axes.set_ylabel(canvas.plain(comparison.metric))
    axes.set_title(comparison.verdict(), fontsize=10)
    axes.grid(axis="y", color=canvas.PALE)
    axes.legend(fontsize=9)

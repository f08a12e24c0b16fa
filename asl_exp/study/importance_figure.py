"""Which of the searched keys the objective depends on."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from asl_exp.evaluation.figures import canvas
from asl_exp.study.importance import importances, left_out
from asl_exp.study.results import Survey


def importance_figure(survey: Survey) -> Figure | None:
    """Draw a bar for each key, a panel for each objective; None where nothing can be said."""
    shares = [importances(survey, place) for place in range(len(survey.metrics))]
    if not any(shares):
        return None
    rows = max(map(len, shares))
    figure = canvas.new_figure(9, len(shares) * (1.0 + 0.42 * rows) + 0.9)
    canvas.title(figure, "Parameter importances (functional ANOVA)", _line(survey))
    panels = figure.subplots(len(shares), 1, squeeze=False)[:, 0]
    for axes, found, metric in zip(panels, shares, survey.metrics, strict=True):
        _draw(axes, found, metric)
    return figure


def _line(survey: Survey) -> str:
    without = left_out(survey)
    note = f"; not in all trials, left out: {', '.join(without)}" if without else ""
    return f"from {len(survey.finished)} finished trials{note}"


def _draw(axes: Axes, shares: dict[str, float], metric: str) -> None:
    if not shares:
        canvas.say(axes, f"{metric}: equal in all trials")
        return
    names = [canvas.plain(key) for key in reversed(shares)]
    bars = axes.barh(names, list(reversed(shares.values())), height=0.6, color=canvas.BLUE)
    axes.bar_label(bars, fmt="%.2f", padding=4)
    axes.set_xlim(0, max(*shares.values(), 0.01) * 1.12)
    axes.set_xlabel(canvas.plain(f"share of the spread of {metric}"))
    axes.grid(axis="x", color=canvas.PALE)
    axes.set_axisbelow(True)

"""Two objectives against each other: the trials that no other beats in both."""

from matplotlib.figure import Figure

from asl_exp.evaluation.figures import canvas
from asl_exp.study.results import Survey

_MOST_NAMED = 12


def pareto_figure(survey: Survey) -> Figure | None:
    """Draw all finished trials and their front; None without any, or of one objective."""
    if len(survey.metrics) != 2 or not survey.finished:
        return None
    figure = canvas.new_figure(8.4, 6)
    n_points = f"{len(survey.front)} of {len(survey.finished)} finished trials are on the front"
    canvas.title(figure, "Pareto front", n_points)
    axes = figure.subplots()
    others = [trial for trial in survey.finished if trial not in survey.front]
    axes.scatter(*_points(others), s=26, color=canvas.GREY, label="other trials")
    front = _points(survey.front)
    axes.step(*front, where="post", color=canvas.BLUE, alpha=0.6)
    axes.scatter(*front, s=42, color=canvas.BLUE, zorder=3, label="Pareto front")
    if survey.best is not None:
        axes.plot(*survey.best.values, "*", color=canvas.ORANGE, markersize=17, zorder=4,
                  markeredgecolor="white", label=f"balanced: trial {survey.best.number}",
                  linestyle="none")  # fmt: skip
    for trial in survey.front[:_MOST_NAMED]:
        axes.annotate(str(trial.number), tuple(trial.values), xytext=(7, 6),
                      textcoords="offset points", fontsize=9)  # fmt: skip
    for name, metric, falls in zip("xy", survey.metrics, survey.falls, strict=True):
        better = "less is better" if falls else "more is better"
        axes.set(**{f"{name}label": canvas.plain(f"{metric} ({better})")})
    axes.grid(color=canvas.PALE)
    axes.legend(fontsize=9)
    return figure


def _points(trials: object) -> tuple[list[float], list[float]]:
    values = [trial.values for trial in trials]  # type: ignore[attr-defined]
    return [one[0] for one in values], [one[1] for one in values]

"""How a study went on: the objective of each trial, and the best one so far."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.trial import FrozenTrial, TrialState

from asl_exp.evaluation.figures import canvas
from asl_exp.study.results import Survey


def history_figure(survey: Survey) -> Figure:
    """Draw every trial by number, a panel for each objective; the best so far as a line."""
    figure = canvas.new_figure(9, 1.4 + 3.4 * len(survey.metrics))
    canvas.title(figure, "Optimization history", survey.counted())
    panels = figure.subplots(len(survey.metrics), 1, sharex=True, squeeze=False)[:, 0]
    for place, axes in enumerate(panels):
        _draw(axes, survey, place)
    panels[-1].set_xlabel("trial")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panels[-1].set_xlim(-0.5, max(trial.number for trial in survey.trials) + 0.5)
    return figure


def _draw(axes: Axes, survey: Survey, place: int) -> None:
    axes.set_ylabel(canvas.plain(survey.metrics[place]))
    axes.grid(color=canvas.PALE)
    numbers = [trial.number for trial in survey.finished]
    values = [trial.values[place] for trial in survey.finished]
    if values:
        axes.step(numbers, _best_so_far(values, falls=survey.falls[place]), where="post",
                  color=canvas.ORANGE, label="best so far")  # fmt: skip
        axes.scatter(numbers, values, s=28, color=canvas.BLUE, zorder=3, label="finished")
    _draw_pruned(axes, survey)
    if not axes.has_data():
        axes.set_yticks([])
    _draw_failed(axes, survey)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            fontsize=9, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False
        )


def _best_so_far(values: list[float], *, falls: bool) -> list[float]:
    best: list[float] = []
    for value in values:
        best.append(value if not best else (min if falls else max)(best[-1], value))
    return best


def _draw_pruned(axes: Axes, survey: Survey) -> None:
    """Draw what pruned trials had come to; Optuna reports intermediate values of one goal only."""
    pruned = [(t.number, v) for t in survey.in_state(TrialState.PRUNED)
              if (v := _last_value(t)) is not None]  # fmt: skip
    if pruned and len(survey.metrics) == 1:
        numbers, values = zip(*pruned, strict=True)
        axes.scatter(numbers, values, s=30, marker="x", color=canvas.GREY,
                     label="pruned, at its last epoch")  # fmt: skip


def _last_value(trial: FrozenTrial) -> float | None:
    return trial.intermediate_values[trial.last_step] if trial.last_step is not None else None


def _draw_failed(axes: Axes, survey: Survey) -> None:
    failed = [trial.number for trial in survey.in_state(TrialState.FAIL)]
    if failed:
        axes.plot(failed, [0.0] * len(failed), "|", color=canvas.BLACK, markersize=14,
                  transform=axes.get_xaxis_transform(), clip_on=False, label="failed")  # fmt: skip

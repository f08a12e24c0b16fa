"""All figures of a study as PNG files; what cannot be drawn is left out, with the reason."""

from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure

from asl_exp.evaluation.figures import canvas
from asl_exp.study.history_figure import history_figure
from asl_exp.study.importance import FEWEST
from asl_exp.study.importance_figure import importance_figure
from asl_exp.study.parallel_figure import parallel_figure
from asl_exp.study.pareto_figure import pareto_figure
from asl_exp.study.results import Survey
from asl_exp.study.slice_figure import slice_figure


def write_figures(survey: Survey, folder: Path) -> dict[str, str]:
    """Write what can be drawn into the folder.

    Returns:
        The name of each figure that was left out, and why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = {}
    for name, figure, reason in _drawn(survey):
        if figure is None:
            missing[name] = reason
            (folder / f"{name}.png").unlink(missing_ok=True)
        else:
            canvas.mark(figure, survey.caution)
            canvas.save(figure, folder / f"{name}.png")
    return missing


def _drawn(survey: Survey) -> Iterator[tuple[str, Figure | None, str]]:
    """Yield name, figure and what keeps it from being drawn."""
    ended = any(trial.state.is_finished() for trial in survey.trials)
    yield "history", history_figure(survey) if ended else None, "no trial has ended"
    yield (
        "importances",
        importance_figure(survey),
        f"needs {FEWEST} finished trials whose objective and parameters differ",
    )
    for place, suffix in enumerate(suffixes(survey.metrics)):
        yield f"slices{suffix}", slice_figure(survey, place), "no trial has finished"
        yield f"parallel{suffix}", parallel_figure(survey, place), "needs 2 finished trials"
    if len(survey.metrics) == 2:
        yield "pareto", pareto_figure(survey), "no trial has finished"


def suffixes(metrics: tuple[str, ...]) -> list[str]:
    """Return what is added to a file's name for each objective: nothing where there is one."""
    if len(metrics) == 1:
        return [""]
    return [f"-{metric.replace('/', '_')}" for metric in metrics]

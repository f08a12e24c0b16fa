"""The end of a study: the best trial's full record, the confirmation, tables and figures.

Done by the process that the user started, when no agent is at work any more.
"""

from collections.abc import Sequence
from pathlib import Path
from shlex import join
from typing import Literal

from rich.markup import escape

from asl_exp.config.errors import UserError
from asl_exp.config.names import Artifact
from asl_exp.config.plan import Plan
from asl_exp.config.scrubbing import scrubbed
from asl_exp.sweep import table, trial_facts
from asl_exp.sweep.best import BEST, command
from asl_exp.sweep.confirm import confirm
from asl_exp.sweep.noise import Comparison
from asl_exp.sweep.outcome import Outcome, write_outcome
from asl_exp.sweep.parent import close_parent
from asl_exp.sweep.study import OpenStudy
from asl_exp.sweep.survey import Survey
from asl_exp.training.closing import close_dead_runs
from asl_exp.training.display import console
from asl_exp.training.finish import complete_run

Status = Literal["FINISHED", "KILLED", "FAILED"]


def conclude(
    opened: OpenStudy,
    parent_id: str | None,
    arguments: Sequence[str],
    *,
    status: Status = "FINISHED",
) -> Path:
    """Write what a study came to and show it; return the folder.

    Args:
        opened: the study.
        parent_id: of its MLflow run, which is closed.
        arguments: of the user's command, which continues the study.
        status: unless it is FINISHED, nothing more is trained or scored.

    Raises:
        Interrupted: during the confirmation; tables and figures are written before it begins.
    """
    plan, runs_dir = opened.plan, Path(opened.plan.base.runs_dir)
    repeat = scrubbed(join(["python", "-m", "asl_exp", "--multirun", *arguments]))
    survey = look_at(opened)
    if parent_id is not None:
        close_dead_runs(runs_dir, of_study=parent_id)
    try:
        comparisons: list[Comparison] = []
        if status == "FINISHED":
            _complete_best(survey)
            if plan.sweep.confirm:
                write_outcome(plan, survey, parent_id, repeat)
                comparisons = confirm(plan, survey, parent_id, _say)
        outcome = write_outcome(plan, survey, parent_id, repeat, comparisons)
    except BaseException:
        close_parent(parent_id, runs_dir, "KILLED")
        raise
    close_parent(parent_id, runs_dir, status)
    _show(plan, survey, outcome)
    return outcome.folder


def look_at(opened: OpenStudy) -> Survey:
    """Return what a study has come to."""
    plan = opened.plan
    metrics = [objective.metric for objective in plan.sweep.objectives]
    return Survey.of(opened.study, metrics, [parameter.key for parameter in plan.space])


def _complete_best(survey: Survey) -> None:
    """Give the best trial the files of a run of its own: figures, scores, the model."""
    folder = trial_facts.run_folder(survey.best) if survey.best else None
    if folder is None or (folder / Artifact.MODEL).exists():
        return
    try:
        complete_run(folder)
    except UserError as error:
        _say(f"{folder}: the best trial has no full record: {error}")


def _show(plan: Plan, survey: Survey, outcome: Outcome) -> None:
    if survey.finished:
        console.print(table.rich_table(survey, f"Best trials of study {plan.name}"))
    for line in [*outcome.sentences, *outcome.notes]:
        _say(line)
    _say(f"tables and figures: {outcome.folder}")
    if survey.best is not None:
        _say(f"run the best one again: {command(plan.folder / BEST)}")


def _say(text: str) -> None:
    console.print(escape(text), soft_wrap=True)

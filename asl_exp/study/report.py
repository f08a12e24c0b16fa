"""The end of a study: the best trial's full record, the confirmation, and what the study leaves.

That is its folder ``outcome/`` with tables and figures, best.yaml, and its MLflow run; written at
the end and at an interrupt, and anew whenever the study is continued. Done by the process that the
user started, when no agent is at work any more.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

from asl_exp.compat.mlflow import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE
from asl_exp.config.errors import UserError
from asl_exp.config.names import Artifact, Tag
from asl_exp.config.redact import scrubbed
from asl_exp.config.study_plan import Plan
from asl_exp.evaluation.figures import canvas
from asl_exp.runs.result import FOLDS_FILE, kept_scores, outcome_of
from asl_exp.study import results, trial_facts
from asl_exp.study.best_preset import BEST, command, experiment, write_best
from asl_exp.study.claims import COUNTED
from asl_exp.study.confirmation import Comparison, confirm
from asl_exp.study.figures import confirm_figure, write_figures
from asl_exp.study.mlflow_parent import OBJECTIVE, record_trial, recorder_of
from asl_exp.study.page import html_page
from asl_exp.study.results import STATES, Survey, pairs, score
from asl_exp.study.study import OpenStudy
from asl_exp.tracking.dead_runs import close_dead_runs
from asl_exp.tracking.store import every_run, open_store
from asl_exp.training.scoring import complete_run
from asl_exp.training.terminal import console

OUTCOME: Final = "outcome"
CONFIRMATION_FILE, CONFIRMATION_FIGURE = "confirmation.json", "confirmation.png"


def write_outcome(
    plan: Plan,
    survey: Survey,
    parent_id: str | None,
    repeat: str,
    comparisons: Sequence[Comparison] = (),
) -> list[str]:
    """Write the tables, the figures, best.yaml and the study's MLflow run.

    Args:
        plan: of the study.
        survey: of its trials now.
        parent_id: of its MLflow run; None with tracking=off.
        repeat: the command that continues it.
        comparisons: of the winner and the default with other seeds.

    Returns:
        What the study came to, what could not be drawn or written, and why trials failed.
    """
    folder = plan.folder / OUTCOME
    folder.mkdir(parents=True, exist_ok=True)
    notes = write_best(plan, survey)
    sentences = _sentences(survey, comparisons)
    missing = write_figures(survey, folder)
    notes += [f"no figure {name}: {reason}" for name, reason in missing.items()]
    notes += results.troubles(survey)
    results.write_csv(survey, folder / "trials.csv")
    (folder / "study.html").write_text(
        html_page(survey, f"Study {plan.name}", sentences, _again(plan, survey)), encoding="utf-8"
    )
    _write_confirmation(folder, comparisons, survey.caution)
    description = "\n\n".join(_description(plan, survey, sentences, notes, repeat)) + "\n"
    (folder / "README.md").write_text(description, encoding="utf-8")
    _record(plan, survey, parent_id, description, comparisons)
    return [*sentences, *notes]


def _sentences(survey: Survey, comparisons: Sequence[Comparison]) -> list[str]:
    if survey.best is None:
        return [f"No trial has finished yet ({survey.counted()})."]
    values = zip(survey.metrics, survey.best.values, strict=True)
    word = "Best" if len(survey.metrics) == 1 else "Balanced"
    told = ", ".join(f"{metric} {score(value)}" for metric, value in values) + _ties(survey)
    front = f" {len(survey.front)} trials are on the front." if len(survey.metrics) > 1 else ""
    return [
        f"{word}: trial {survey.best.number} with {told} ({survey.counted()}).{front}",
        *([f"Scores: {survey.caution}."] if survey.caution else []),
        *(sentence for one in comparisons for sentence in one.sentences()),
    ]


def _ties(survey: Survey) -> str:
    """Say which other trials have the very values of the best one."""
    same = [t for t in survey.finished if survey.best and t.values == survey.best.values]
    others = ", ".join(str(trial.number) for trial in same if trial is not survey.best)
    return f", the first of {len(same)} equal ones (the others: {others})" if others else ""


def _again(plan: Plan, survey: Survey) -> str:
    return command(plan, experiment(plan.folder / BEST)) if survey.best else ""


def _write_confirmation(folder: Path, comparisons: Sequence[Comparison], caution: str) -> None:
    """Write what was repeated; what an earlier winner's repetitions gave goes."""
    for name in (CONFIRMATION_FILE, CONFIRMATION_FIGURE):
        (folder / name).unlink(missing_ok=True)
    if comparisons:
        content = json.dumps([one.to_dict() for one in comparisons], indent=2)
        (folder / CONFIRMATION_FILE).write_text(f"{content}\n", encoding="utf-8")
    figure = confirm_figure(list(comparisons))
    if figure is not None:
        canvas.mark(figure, caution)
        canvas.save(figure, folder / CONFIRMATION_FIGURE)


def _description(
    plan: Plan, survey: Survey, sentences: Sequence[str], notes: Sequence[str], repeat: str
) -> Iterator[str]:
    """Yield in Markdown what the study came to, the table, and how to repeat."""
    yield f"## Study {plan.name}"
    yield from sentences
    if survey.finished:
        yield results.markdown_table(survey)
    if again := _again(plan, survey):
        yield f"Run the best one again:\n\n    {again}"
    if repeat:
        yield f"Continue the study:\n\n    {repeat}"
    if notes:
        yield "\n".join(f"- {note}" for note in notes)


def _record(
    plan: Plan,
    survey: Survey,
    parent_id: str | None,
    description: str,
    comparisons: Sequence[Comparison],
) -> None:
    """Bring the study's MLflow run up to date, and the trials that no agent has recorded."""
    if parent_id is None:
        return
    recorder = recorder_of(plan, parent_id)
    with recorder.spared():
        _record_children(plan, survey, parent_id)
    found = dict(part for one in comparisons for part in one.metrics().items())
    recorder.metrics({**_metrics(survey), **found}, step=0)
    asked = plan.sweep.n_trials or "all"
    recorder.tags({MLFLOW_RUN_NOTE: description, Tag.N_TRIALS: asked, **_best_tags(survey)})
    bests = [path.name for path in plan.folder.glob("best*.yaml")]
    recorder.artifacts(plan.folder, OUTCOME, *bests)


def _record_children(plan: Plan, survey: Survey, parent_id: str) -> None:
    client = open_store(plan.runs_dir)
    children = every_run(client, f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent_id}'")
    missing = {run.info.run_id for run in children if Tag.TRIAL_VALUES not in run.data.tags}
    for trial in survey.trials:
        if trial.state.is_finished() and trial_facts.run_id(trial) in missing:
            record_trial(plan, trial)


def _metrics(survey: Survey) -> dict[str, float]:
    counts = {
        f"n_{word}": len(survey.in_state(state))
        for state, word in STATES.items()
        if state.is_finished()
    }
    if survey.best is None:
        return dict(counts)
    values = dict(zip(survey.metrics, survey.best.values, strict=True))
    folder, result = trial_facts.run_folder(survey.best), None
    with suppress(UserError):  # damaged since
        result = outcome_of(folder) if folder is not None else None
    scores = kept_scores({**(result.metrics if result is not None else {}), **values})
    single = {OBJECTIVE: survey.best.values[0]} if len(survey.metrics) == 1 else {}
    return {**counts, **single, **scores}


def _best_tags(survey: Survey) -> dict[str, object]:
    if survey.best is None:
        return {}
    run_id = trial_facts.run_id(survey.best)
    return {
        **({Tag.CAUTION: survey.caution} if survey.caution else {}),
        Tag.BEST_TRIAL: survey.best.number,
        Tag.TRIAL_VALUES: pairs(survey.best.params),
        **({Tag.BEST_RUN: run_id} if run_id else {}),
    }


Status = Literal["FINISHED", "KILLED", "FAILED"]


def conclude(
    opened: OpenStudy,
    parent_id: str | None,
    arguments: Sequence[str],
    *,
    status: Status = "FINISHED",
) -> None:
    """Write what a study came to and show it.

    Args:
        opened: the study.
        parent_id: of its MLflow run, which is closed.
        arguments: of the user's command, which continues the study.
        status: unless it is FINISHED, nothing more is trained or scored.

    Raises:
        Interrupted: during the confirmation; tables and figures are written before it begins.
    """
    plan = opened.plan
    survey = Survey.of(opened.study, plan.metrics, [parameter.key for parameter in plan.space])
    repeat = _continues(plan, survey, arguments)
    if parent_id is not None:
        with recorder_of(plan, parent_id).spared():
            close_dead_runs(plan.runs_dir, of_study=parent_id)
    try:
        comparisons: list[Comparison] = []
        if status == "FINISHED":
            _complete_best(survey)
            if plan.sweep.confirm:
                write_outcome(plan, survey, parent_id, repeat)
                comparisons = confirm(plan, survey, parent_id)
        told = write_outcome(plan, survey, parent_id, repeat, comparisons)
    except BaseException:
        recorder_of(plan, parent_id).end("KILLED")
        raise
    recorder_of(plan, parent_id).end(status)
    if survey.finished:
        console.print(results.rich_table(survey, f"Best trials of study {plan.name}"))
    for line in [*told, f"tables and figures: {plan.folder / OUTCOME}"]:
        console.say(line)
    if again := _again(plan, survey):
        console.say(f"run the best one again: {again}")


def _continues(plan: Plan, survey: Survey, arguments: Sequence[str]) -> str:
    """Return the command that goes on with a study; nothing where a grid has no more points.

    A study that has what it asked for is asked for twice as many trials.
    """
    wanted = plan.n_wanted
    done = sum(trial.state in COUNTED for trial in survey.trials) >= wanted
    more = min(2 * wanted, plan.n_points) if plan.sweep.sampler.name == "grid" else 2 * wanted
    if done and more == wanted:
        return ""
    given = list(arguments)
    if done:
        given = [one for one in given if not one.startswith("sweep.n_trials=")]
        given.append(f"sweep.n_trials={more}")
    return scrubbed(command(plan, "--multirun", *given))


def _complete_best(survey: Survey) -> None:
    """Give the best trial the files of a run of its own: figures, scores, the model."""
    folder = trial_facts.run_folder(survey.best) if survey.best else None
    if folder is None or any((folder / name).exists() for name in (Artifact.MODEL, FOLDS_FILE)):
        return
    try:
        complete_run(folder)
    except UserError as error:
        console.say(f"{folder}: the best trial has no full record: {error}")

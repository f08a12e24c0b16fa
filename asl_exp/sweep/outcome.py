"""What a study leaves behind: its folder ``outcome/``, best.yaml, and its MLflow run.

Written at the end and at an interrupt, and written anew whenever the study is continued.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE

from asl_exp.config.names import Tag
from asl_exp.config.plan import Plan
from asl_exp.evaluation import canvas
from asl_exp.sweep import table, trial_facts
from asl_exp.sweep.best import BEST, command, write_best
from asl_exp.sweep.confirm_figure import confirm_figure
from asl_exp.sweep.figures import write_figures
from asl_exp.sweep.noise import Comparison
from asl_exp.sweep.page import html_page
from asl_exp.sweep.parent import OBJECTIVE, record_trial, recorder_of
from asl_exp.sweep.survey import Survey
from asl_exp.sweep.words import STATES, pairs, score
from asl_exp.tracking.backlog import every_run
from asl_exp.tracking.store import open_store

OUTCOME: Final = "outcome"
CONFIRMATION_FILE, CONFIRMATION_FIGURE = "confirmation.json", "confirmation.png"


@dataclass(frozen=True)
class Outcome:
    """What was written.

    Attributes:
        folder: with all tables and figures.
        sentences: what the study came to.
        notes: what could not be drawn or written, and why trials failed.
    """

    folder: Path
    sentences: Sequence[str]
    notes: Sequence[str]


def write_outcome(
    plan: Plan,
    survey: Survey,
    parent_id: str | None,
    repeat: str,
    comparisons: Sequence[Comparison] = (),
) -> Outcome:
    """Write the tables, the figures, best.yaml and the study's MLflow run.

    Args:
        plan: of the study.
        survey: of its trials now.
        parent_id: of its MLflow run; None with tracking=off.
        repeat: the command that continues it.
        comparisons: of the winner and the default with other seeds.
    """
    folder = plan.folder / OUTCOME
    folder.mkdir(parents=True, exist_ok=True)
    notes = write_best(plan, survey)
    sentences = _sentences(survey, comparisons)
    missing = write_figures(survey, folder)
    notes += [f"no figure {name}: {reason}" for name, reason in missing.items()]
    notes += table.troubles(survey)
    table.write_csv(survey, folder / "trials.csv")
    (folder / "study.html").write_text(
        html_page(survey, f"Study {plan.name}", sentences, _again(plan, survey)), encoding="utf-8"
    )
    _write_confirmation(folder, comparisons)
    outcome = Outcome(folder, sentences, notes)
    told = _markdown(plan, survey, outcome, repeat)
    (folder / "README.md").write_text(told, encoding="utf-8")
    _record(plan, survey, parent_id, told, comparisons)
    return outcome


def _sentences(survey: Survey, comparisons: Sequence[Comparison]) -> list[str]:
    if survey.best is None:
        return [f"No trial has finished yet ({survey.counted()})."]
    values = zip(survey.metrics, survey.best.values, strict=True)
    word = "Best" if len(survey.metrics) == 1 else "Balanced"
    told = ", ".join(f"{metric} {score(value)}" for metric, value in values)
    front = f" {len(survey.front)} trials are on the front." if len(survey.metrics) > 1 else ""
    return [
        f"{word}: trial {survey.best.number} with {told} ({survey.counted()}).{front}",
        *(sentence for one in comparisons for sentence in one.sentences()),
    ]


def _again(plan: Plan, survey: Survey) -> str:
    return command(plan.folder / BEST) if survey.best else ""


def _write_confirmation(folder: Path, comparisons: Sequence[Comparison]) -> None:
    """Write what was repeated; what an earlier winner's repetitions gave goes."""
    for name in (CONFIRMATION_FILE, CONFIRMATION_FIGURE):
        (folder / name).unlink(missing_ok=True)
    if comparisons:
        content = json.dumps([one.to_dict() for one in comparisons], indent=2)
        (folder / CONFIRMATION_FILE).write_text(f"{content}\n", encoding="utf-8")
    figure = confirm_figure(list(comparisons))
    if figure is not None:
        canvas.save(figure, folder / CONFIRMATION_FIGURE)


def _markdown(plan: Plan, survey: Survey, outcome: Outcome, repeat: str) -> str:
    """Return the description: the table, and how to repeat."""
    again = _again(plan, survey)
    parts = [f"## Study {plan.name}", *outcome.sentences]
    parts += [table.markdown_table(survey)] if survey.finished else []
    parts += [f"Run the best one again:\n\n    {again}"] if again else []
    parts += [f"Continue the study:\n\n    {repeat}"]
    parts += ["\n".join(f"- {note}" for note in outcome.notes)] if outcome.notes else []
    return "\n\n".join(parts) + "\n"


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
    _record_children(plan, survey, parent_id)
    recorder = recorder_of(parent_id, Path(plan.base.runs_dir))
    found = dict(part for one in comparisons for part in one.metrics().items())
    recorder.metrics({**_metrics(survey), **found}, step=len(survey.trials))
    asked = plan.sweep.n_trials or "all"
    recorder.tags({MLFLOW_RUN_NOTE: description, Tag.N_TRIALS: asked, **_best_tags(survey)})
    bests = [path.name for path in plan.folder.glob("best*.yaml")]
    recorder.artifacts(plan.folder, OUTCOME, *bests)


def _record_children(plan: Plan, survey: Survey, parent_id: str) -> None:
    client = open_store(Path(plan.base.runs_dir))
    children = every_run(client, f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent_id}'")
    missing = {run.info.run_id for run in children if Tag.TRIAL_VALUES not in run.data.tags}
    for trial in survey.trials:
        if trial.state.is_finished() and trial_facts.run_id(trial) in missing:
            record_trial(plan, trial)


def _metrics(survey: Survey) -> dict[str, float]:
    counts = {f"n_{word}": sum(STATES[t.state] == word for t in survey.trials)
              for word in ("finished", "pruned", "failed")}  # fmt: skip
    if survey.best is None:
        return dict(counts)
    values = dict(zip(survey.metrics, survey.best.values, strict=True))
    single = {OBJECTIVE: survey.best.values[0]} if len(survey.metrics) == 1 else {}
    return {**counts, **single, **values}


def _best_tags(survey: Survey) -> dict[str, object]:
    if survey.best is None:
        return {}
    run_id = trial_facts.run_id(survey.best)
    return {
        Tag.BEST_TRIAL: survey.best.number,
        Tag.TRIAL_VALUES: pairs(survey.best.params),
        **({Tag.BEST_RUN: run_id} if run_id else {}),
    }

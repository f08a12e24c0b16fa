"""The trials of a study as tables: all of them for programs, the best for people."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pandas as pd
from optuna.trial import FrozenTrial
from rich.table import Table

from asl_exp.sweep import trial_facts
from asl_exp.sweep.survey import Survey
from asl_exp.sweep.words import STATES, score, shown

SHOWN: Final = 10
"""Trials in the tables for people."""


def write_csv(survey: Survey, path: Path) -> None:
    """Write a row for each trial, by number: all values whole, empty where there is none."""
    rows = [dict(_row(survey, trial)) for trial in survey.trials]
    names = [name for name, _ in _row(survey, None)]
    pd.DataFrame(rows, columns=names).to_csv(path, index=False)


def _row(survey: Survey, trial: FrozenTrial | None) -> Iterator[tuple[str, Any]]:
    """Yield column and value; the columns alone where there is no trial."""
    values = (trial.values if trial else None) or [None] * len(survey.metrics)
    front = {one.number for one in survey.front}
    yield "trial", trial and trial.number
    yield "state", trial and trial.state.name
    yield from zip(survey.metrics, values, strict=True)
    if len(survey.metrics) > 1:
        yield "on_front", trial and trial.number in front
    for key in survey.keys:
        yield key, trial and _flat(trial.params.get(key))
    yield "seconds", trial and trial_facts.seconds(trial)
    yield "epochs_reported", trial and len(trial.intermediate_values)
    yield "started", trial and trial.datetime_start
    yield "mlflow_run_id", trial and trial_facts.run_id(trial)
    yield "run_folder", trial and trial_facts.given_folder(trial)
    yield "failure", trial and trial_facts.failure(trial)


def _flat(value: Any) -> Any:
    return shown(value) if isinstance(value, bool) else value


def header(survey: Survey) -> list[str]:
    """Return the columns of the tables for people."""
    front = ["front"] if len(survey.metrics) > 1 else []
    return ["trial", *survey.metrics, *front, *survey.keys, "time"]


def best_rows(survey: Survey) -> list[list[str]]:
    """Return the best finished trials, best first, as text."""
    front = {one.number for one in survey.front}
    return [
        [
            str(trial.number),
            *(score(value) for value in trial.values),
            *(["yes" if trial.number in front else ""] if len(survey.metrics) > 1 else []),
            *(shown(trial.params[key], 3) if key in trial.params else "-" for key in survey.keys),
            _time(trial),
        ]
        for trial in survey.ranked[:SHOWN]
    ]


def _time(trial: FrozenTrial) -> str:
    seconds = trial_facts.seconds(trial)
    if seconds is None:
        return "-"
    return f"{seconds:.1f} s" if seconds < 600 else f"{seconds / 60:.0f} min"


def rich_table(survey: Survey, title: str) -> Table:
    """Return the table for the terminal."""
    table = Table(title=title, title_justify="left")
    for column in header(survey):
        name = column.replace(".", ".\n", 1)
        table.add_column(name, justify="right", style="bold" if column in survey.metrics else None)
    for row in best_rows(survey):
        table.add_row(*row)
    return table


def markdown_table(survey: Survey) -> str:
    """Return the same in Markdown."""
    return markdown(header(survey), best_rows(survey))


def markdown(columns: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    lines = [columns, ["---:"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in lines)


def troubles(survey: Survey) -> list[str]:
    """Return why trials failed, one line a reason."""
    reasons: dict[str, list[str]] = {}
    for trial in survey.trials:
        if STATES[trial.state] == "failed":
            reason = trial_facts.failure(trial).splitlines() or ["for an unknown reason"]
            reasons.setdefault(reason[0], []).append(str(trial.number))
    return [f"trial {', '.join(numbers)}: {reason}" for reason, numbers in reasons.items()]

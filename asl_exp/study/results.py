"""What a study has come to: its trials ranked, its front, and both as tables and words.

Works for a study of any number of trials, none included. Tables for programs have all trials and
whole values, those for people the best ones in few characters.
"""

import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from rich.table import Table

from asl_exp.config import documents, readable
from asl_exp.config.redact import csv_cell
from asl_exp.study import trial_facts


@dataclass(frozen=True)
class Survey:
    """A study at one moment.

    Attributes:
        study: Optuna's.
        metrics: the metric key of each objective.
        keys: what was searched, in the order in which to show it.
        trials: all of them, by number.
    """

    study: optuna.Study
    metrics: tuple[str, ...]
    keys: tuple[str, ...]
    trials: tuple[FrozenTrial, ...]

    @classmethod
    def of(cls, study: optuna.Study, metrics: Sequence[str], keys: Sequence[str] = ()) -> "Survey":
        """Look at a study; keys that only earlier trials had are shown after ``keys``."""
        trials = study.get_trials(deepcopy=False)
        seen = dict.fromkeys([*keys, *(key for trial in trials for key in trial.params)])
        return cls(study, tuple(metrics), tuple(seen), tuple(trials))

    def in_state(self, *states: TrialState) -> tuple[FrozenTrial, ...]:
        """Return the trials in any of these states."""
        return tuple(trial for trial in self.trials if trial.state in states)

    @cached_property
    def finished(self) -> tuple[FrozenTrial, ...]:
        """The trials with values."""
        return self.in_state(TrialState.COMPLETE)

    @property
    def falls(self) -> tuple[bool, ...]:
        """Return for each objective whether less is better."""
        return tuple(d == StudyDirection.MINIMIZE for d in self.study.directions)

    def costs(self, trial: FrozenTrial) -> tuple[float, ...]:
        """Return a finished trial's objectives, turned so that less is better."""
        pairs = zip(trial.values, self.falls, strict=True)
        return tuple(value if falls else -value for value, falls in pairs)

    @cached_property
    def front(self) -> tuple[FrozenTrial, ...]:
        """The trials that no other beats, by the first objective; of equal ones, the earliest.

        From the best in the first objective down, each is worth keeping for the last one alone.
        """
        kept: list[FrozenTrial] = []
        for trial in sorted(self.finished, key=lambda trial: (self.costs(trial), trial.number)):
            if not kept or self.costs(trial)[-1] < self.costs(kept[-1])[-1]:
                kept.append(trial)
        return tuple(kept)

    @cached_property
    def best(self) -> FrozenTrial | None:
        """The best trial; of two objectives the point of the front that is nearest to both bests.

        Distances are in parts of the front's own extent, so units do not matter.
        """
        if len(self.front) <= 1:
            return self.front[0] if self.front else None
        costs = [self.costs(trial) for trial in self.front]
        low = [min(column) for column in zip(*costs, strict=True)]
        high = [max(column) for column in zip(*costs, strict=True)]

        def distance(point: tuple[float, ...]) -> float:
            parts = zip(point, low, high, strict=True)
            return math.hypot(*((p - a) / (b - a) if b > a else 0.0 for p, a, b in parts))

        return self.front[min(range(len(costs)), key=lambda place: distance(costs[place]))]

    @cached_property
    def ranked(self) -> tuple[FrozenTrial, ...]:
        """The finished trials from the best down; of two objectives, the front first."""
        front = {trial.number for trial in self.front}
        first = self.best.number if self.best else None
        return tuple(
            sorted(
                self.finished,
                key=lambda t: (t.number != first, t.number not in front, self.costs(t), t.number),
            )
        )

    def choices(self, key: str) -> list[Any] | None:
        """Return the choices of a key that has no numbers, in order; None for numbers."""
        found = (t.distributions[key] for t in self.trials if key in t.distributions)
        kind = next(found, None)  # Optuna lets it change in its ends alone
        return list(kind.choices) if isinstance(kind, CategoricalDistribution) else None

    @cached_property
    def caution(self) -> str:
        """What must stand beside the scores, or nothing."""
        said = dict.fromkeys(trial_facts.caution(trial) for trial in self.trials)
        return "; ".join(filter(None, said))

    def drawn(self, key: str) -> tuple[FrozenTrial, ...]:
        """Return the finished trials that have a value for a key."""
        return tuple(trial for trial in self.finished if key in trial.params)

    def counted(self) -> str:
        """Return ``12 finished, 3 pruned, 1 failed``."""
        counts = {word: len(self.in_state(state)) for state, word in STATES.items()}
        told = (f"{n} {word}" for word, n in counts.items() if n or word == "finished")
        return ", ".join(told)


STATES: Final = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
}
"""What trials are called that have begun, by how they ended."""


SHOWN: Final = 10
"""Trials in the tables for people."""


def write_csv(survey: Survey, path: Path) -> None:
    """Write a row for each trial, by number: all values whole, empty where there is none."""
    front = ["on_front"] if len(survey.metrics) > 1 else []
    names = ["trial", "state", *survey.metrics, *front, *survey.keys, *_FACTS]
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(names)
        for trial in survey.trials:
            lines.writerow(
                csv_cell(one) if type(one) is str else one for one in _row(survey, trial)
            )


def _row(survey: Survey, trial: FrozenTrial) -> Iterator[Any]:
    yield from (trial.number, trial.state.name)
    yield from trial.values or [None] * len(survey.metrics)
    if len(survey.metrics) > 1:
        yield trial in survey.front
    for key in survey.keys:
        value = trial.params.get(key)
        yield shown(value) if isinstance(value, bool) else value
    for fact in _FACTS.values():
        yield fact(trial)


_FACTS: Final[Mapping[str, Callable[[FrozenTrial], Any]]] = {
    "seconds": trial_facts.seconds,
    "epochs_reported": lambda trial: len(trial.intermediate_values),
    "started": lambda trial: trial.datetime_start,
    "mlflow_run_id": trial_facts.run_id,
    "run_folder": trial_facts.given_folder,
    "caution": trial_facts.caution,
    "failure": trial_facts.failure,
}
"""The last columns of the table for programs."""


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
            trial_facts.took(trial),
        ]
        for trial in survey.ranked[:SHOWN]
    ]


def rich_table(survey: Survey, title: str) -> Table:
    """Return the table for the terminal."""
    table = Table(title=": ".join(filter(None, (title, survey.caution))), title_justify="left")
    for column in header(survey):
        name = column.replace(".", ".\n", 1)
        table.add_column(name, justify="right", style="bold" if column in survey.metrics else None)
    for row in best_rows(survey):
        table.add_row(*row)
    return table


def markdown_table(survey: Survey) -> str:
    """Return the same in Markdown."""
    return documents.markdown_table(header(survey), best_rows(survey))


def troubles(survey: Survey) -> list[str]:
    """Return why trials failed, one line a reason."""
    reasons: dict[str, list[str]] = {}
    for trial in survey.in_state(TrialState.FAIL):
        reason = trial_facts.failure(trial).partition("\n")[0]
        reasons.setdefault(reason, []).append(str(trial.number))
    return [f"trial {', '.join(numbers)}: {reason}" for reason, numbers in reasons.items()]


def shown(value: Any, digits: int = 4) -> str:
    """Return a value in few characters."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def score(value: float) -> str:
    """Return a metric's value."""
    return readable.score(value, 4)


def brief(values: Mapping[str, Any]) -> str:
    """Return ``l2=0.0001 dropout=0.3``: the last part of each key, and three digits."""
    return " ".join(f"{key.rpartition('.')[2]}={shown(v, 3)}" for key, v in values.items())


def pairs(values: Mapping[str, Any]) -> str:
    """Return ``key=value`` for each, in few characters."""
    return ", ".join(f"{key}={shown(value)}" for key, value in values.items())

"""What a study has come to, as tables and figures read it: its trials ranked, its front, its axes.

Works for a study of any number of trials, none included.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState


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
        trials = tuple(sorted(study.get_trials(deepcopy=False), key=lambda t: t.number))
        seen = dict.fromkeys([*keys, *(key for trial in trials for key in trial.params)])
        return cls(study, tuple(metrics), tuple(seen), trials)

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
        """The trials that no other beats in every objective, by the first objective."""
        kept = [t for t in self.finished if not any(self._beats(o, t) for o in self.finished)]
        return tuple(sorted(kept, key=lambda trial: (self.costs(trial), trial.number)))

    def _beats(self, one: FrozenTrial, other: FrozenTrial) -> bool:
        """Return whether a trial is as good in all and better in one; of equals, the earlier."""
        ours, theirs = self.costs(one), self.costs(other)
        if ours == theirs:
            return one.number < other.number
        return all(a <= b for a, b in zip(ours, theirs, strict=True))

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

    def distribution(self, key: str) -> BaseDistribution | None:
        """Return the newest range of a key; None if no trial has had it."""
        found = [t.distributions[key] for t in self.trials if key in t.distributions]
        return found[-1] if found else None

    def is_log(self, key: str) -> bool:
        """Return whether a key was searched by its logarithm."""
        return bool(getattr(self.distribution(key), "log", False))

    def choices(self, key: str) -> list[Any] | None:
        """Return the choices of a key that has no numbers, in order; None for numbers."""
        distribution = self.distribution(key)
        return (
            list(distribution.choices)
            if isinstance(distribution, CategoricalDistribution)
            else None
        )

    def drawn(self, key: str) -> tuple[FrozenTrial, ...]:
        """Return the finished trials that have a value for a key."""
        return tuple(trial for trial in self.finished if key in trial.params)

    def counted(self) -> str:
        """Return ``12 finished, 3 pruned, 1 failed``."""
        names = {TrialState.PRUNED: "pruned", TrialState.FAIL: "failed",
                 TrialState.RUNNING: "running"}  # fmt: skip
        parts = [f"{len(self.finished)} finished"]
        parts += [
            f"{n} {word}" for state, word in names.items() if (n := len(self.in_state(state)))
        ]
        return ", ".join(parts)

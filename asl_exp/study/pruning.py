"""The observer of a trial: reports its epochs to the pruner, and ends it where that says so.

Called after every epoch, which on stored features takes less than a tenth of a second; so it asks
the storage for no more than it must.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.pruners import MedianPruner, NopPruner
from optuna.trial import TrialState

from asl_exp.compat.optuna import RecentTrials, trial_id
from asl_exp.config.study_plan import Plan
from asl_exp.study.storage import LOST
from asl_exp.study.study import OpenStudy, open_study

_RECENT_S = 1.0
"""Trials that others finished are seen after so long; an agent on its own misses nothing.

Reading all trials after each epoch of a head, of some 50 ms, would take as long as the epoch.
"""


@dataclass
class TrialObserver:
    """Told of one trial's epochs; opens the storage anew where it is used in a worker process.

    Attributes:
        plan: of the study.
        number: of the trial.
        metric: what is compared after every epoch; None: nothing is.
        tags: of the trial's MLflow run.
        features_gb: how much a phase's stored features may take, for all trials of the study.
    """

    plan: Plan
    number: int
    metric: str | None
    tags: Mapping[str, str]
    features_gb: float | None
    opened: OpenStudy | None = field(default=None, repr=False)
    _watched: "_Watched | None" = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open storage behind."""
        return {**self.__dict__, "opened": None, "_watched": None}

    def after_epoch(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Report an epoch; return whether the trial ends: pruned, or given up for dead."""
        try:
            if self._watched is None:
                self._watched = _Watched(self.opened or open_study(self.plan), self.number)
            if self.metric is None:
                return self._watched.is_given_up()
            return self._watched.is_to_end(epoch, metrics[self.metric])
        except LOST:
            return False  # a storage out of reach for a while is no reason to end a trial


class _Watched:
    """One trial in an opened storage."""

    def __init__(self, opened: OpenStudy, number: int) -> None:
        self._study, self._storage = opened.study, opened.store.at_once
        self._id = trial_id(self._storage, opened.study, number)
        self._trial = self._storage.get_trial(self._id)
        self._recent = RecentTrials(opened.study, _RECENT_S)

    def is_given_up(self) -> bool:
        return self._storage.get_trial(self._id).state != TrialState.RUNNING

    def is_to_end(self, epoch: int, value: float) -> bool:
        try:
            self._storage.set_trial_intermediate_value(self._id, epoch, value)
        except UpdateFinishedTrialError:
            return True
        pruner = self._study.pruner
        if isinstance(pruner, NopPruner):
            return False
        if isinstance(pruner, MedianPruner):
            self._trial.intermediate_values[epoch] = value
            return self._recent.prunes(pruner, self._trial)
        return pruner.prune(self._study, self._storage.get_trial(self._id))

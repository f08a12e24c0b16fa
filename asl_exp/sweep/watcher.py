"""Looks on as a trial trains: hands its epochs to the pruner, and ends it where told."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from asl_exp.config.plan import Plan
from asl_exp.sweep.study import OpenStudy, open_study


@dataclass
class TrialWatcher:
    """Watches one trial; opens the storage anew where it is used in a worker process.

    Attributes:
        plan: of the study.
        number: of the trial.
        metric: what is compared after every epoch; None: nothing is.
        tags: of the trial's MLflow run.
    """

    plan: Plan
    number: int
    metric: str | None
    tags: Mapping[str, str]
    opened: OpenStudy | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open storage behind."""
        return {**self.__dict__, "opened": None}

    def after_epoch(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Report an epoch; return whether the trial ends: pruned, or given up for dead."""
        if self.opened is None:
            self.opened = open_study(self.plan)
        study, storage = self.opened.study, self.opened.store.storage
        study_id = storage.get_study_id_from_name(study.study_name)
        trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, self.number)
        if self.metric is None:
            return storage.get_trial(trial_id).state != TrialState.RUNNING
        try:
            storage.set_trial_intermediate_value(trial_id, epoch, metrics[self.metric])
        except UpdateFinishedTrialError:
            return True
        return study.pruner.prune(study, storage.get_trial(trial_id))

"""One trial: its values, its experiment, its pruner, and how that ended."""

import math
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.pruners import MedianPruner, NopPruner
from optuna.trial import Trial, TrialState

from asl_exp.compat.optuna import RecentTrials, trial_id
from asl_exp.config.compose import compose_config
from asl_exp.config.errors import (
    ConfigError,
    DataError,
    PrunedError,
    RunError,
    UserError,
    WeightsError,
)
from asl_exp.config.names import EVERY_EPOCH, Artifact, needs_scores
from asl_exp.config.schema import Config
from asl_exp.config.signature import network_name
from asl_exp.config.study_plan import Plan
from asl_exp.runs.result import FOLDS_FILE, Result, outcome_of, spelled_cautions
from asl_exp.study.claims import Outcome, failed
from asl_exp.study.heartbeat import Heart
from asl_exp.study.mlflow_parent import child_tags
from asl_exp.study.results import brief
from asl_exp.study.sampling import suggest
from asl_exp.study.storage import LOST
from asl_exp.study.study import FEATURES_GB, OpenStudy, open_study
from asl_exp.study.trial_facts import CAUTION, MLFLOW_RUN, RUN_FOLDER
from asl_exp.training.current_run import Evaluate, Observer
from asl_exp.training.folds import run_whole

_RECENT_S = 1.0
"""Trials that others finished are seen after so long; an agent on its own misses nothing.

Reading all trials after each epoch of a head, of some 50 ms, would take as long as the epoch.
"""


@dataclass(kw_only=True)
class TrialObserver(Observer):
    """Reports a trial's epochs to the pruner, and ends it where that says so.

    Opens the storage anew where it is used in a worker process. Called after every epoch, which on
    stored features takes less than a tenth of a second, so it asks for no more than it must.

    Attributes:
        plan: of the study.
        number: of the trial.
        metric: what is compared after every epoch; None: nothing is.
    """

    plan: Plan
    number: int
    metric: str | None
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


def run_trial(opened: OpenStudy, trial: Trial, parent_id: str | None) -> Outcome:
    """Run the experiment of a claimed trial, as a child of the study's MLflow run.

    Raises:
        UserError: what no trial of the study could do without.
        Interrupted: Ctrl-C or SIGTERM.
    """
    plan, storage = opened.plan, opened.store.storage
    with Heart(storage, trial_id(storage, opened.study, trial.number)):
        values = suggest(trial, plan)
        try:
            config = _config_of(plan, trial.number, values)
        except ConfigError as error:
            return failed("; ".join(error.faults))
        folder = _new_folder(plan.folder / f"{trial.number}_{network_name(config)}")
        trial.set_user_attr(RUN_FOLDER, str(folder))
        observer = TrialObserver(
            plan=plan,
            number=trial.number,
            metric=_compared(plan),
            tags=child_tags(plan, parent_id, str(trial.number)),
            features_gb=opened.study.user_attrs.get(FEATURES_GB),
            opened=opened,
        )
        try:
            return _train(plan, config, folder, observer)
        finally:
            _note_run(trial, folder)


def _config_of(plan: Plan, number: int, values: Mapping[str, Any]) -> Config:
    """Compose a trial's experiment anew, with all its checks.

    Raises:
        ConfigError: the values do not go together.
    """
    config = compose_config(plan.overrides_of(values), plan.searchpath)
    return config.model_copy(update={"name": f"trial {number} {brief(values)}".strip()})


def _compared(plan: Plan) -> str | None:
    """Return the metric that is reported after every epoch; Optuna takes none with two goals."""
    only = plan.metrics[0] if len(plan.metrics) == 1 else None
    return only if only in EVERY_EPOCH else None


def _new_folder(folder: Path) -> Path:
    """Return the folder, or one beside it where an earlier study of this name left one."""
    number, free = 1, folder
    while any((free / name).exists() for name in (Artifact.RESULT, FOLDS_FILE)):
        number += 1
        free = folder.with_name(f"{folder.name}_{number}")
    return free


def _train(plan: Plan, config: Config, folder: Path, observer: TrialObserver) -> Outcome:
    try:
        result = run_for_objectives(plan, config, folder, observer)
    except PrunedError:
        return Outcome(TrialState.PRUNED)
    except RunError as error:
        return failed(str(error))
    except UserError as error:
        if _concerns_every_trial(error, plan):
            raise
        return failed(str(error))
    except Exception as error:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "traceback.txt").write_text(traceback.format_exc())
        return failed(f"{type(error).__name__}: {error}")
    return _finished(plan, result)


def run_for_objectives(plan: Plan, config: Config, folder: Path, observer: Observer) -> Result:
    """Run an experiment as far as a study's objectives need it; return what it came to."""
    evaluate: Evaluate = "scores" if needs_scores(plan.sweep.objectives) else "validation"
    run_whole(config, folder, observer=observer, evaluate=evaluate)
    result = outcome_of(folder)
    assert result is not None
    return result


def _finished(plan: Plan, result: Result) -> Outcome:
    values = []
    for number, metric in enumerate(plan.metrics):
        if metric not in result.metrics:
            raise UserError(
                f"sweep.objectives.{number}.metric: the runs of this study have no "
                f"{metric}; they have {', '.join(sorted(result.metrics))}"
            )
        values.append(result.metrics[metric])
    if not all(math.isfinite(value) for value in values):
        return failed(f"the objective is not finite: {values}")
    return Outcome(TrialState.COMPLETE, values)


def _concerns_every_trial(error: UserError, plan: Plan) -> bool:
    """Return whether a fault lies outside of what the study varies."""
    groups = {parameter.key.split(".")[0] for parameter in plan.space}
    if isinstance(error, DataError):
        return "data" not in groups
    if isinstance(error, WeightsError):
        return "backbone" not in groups
    return True


def _note_run(trial: Trial, folder: Path) -> None:
    """Keep which MLflow run it was and its cautions, unless the trial was given up for dead."""
    result = outcome_of(folder)
    if result is None:
        return
    caution = spelled_cautions(result.cautions) if result.cautions else None
    for key, value in ((MLFLOW_RUN, result.mlflow_run_id), (CAUTION, caution)):
        if value:
            with suppress(UpdateFinishedTrialError, KeyError):  # KeyError: it was deleted
                trial.set_user_attr(key, value)

"""Optuna's private parts."""

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

import optuna
from optuna.pruners import MedianPruner
from optuna.storages import BaseStorage, RDBStorage, get_storage
from optuna.trial import FrozenTrial, TrialState

ENQUEUED: Final = "fixed_params"
"""System attribute of a trial that was enqueued: the values that it is to have."""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep back that a part of Optuna is experimental, and its remarks on trials it leaves out.

    5.0: the grid, multivariate TPE, GP and fANOVA samplers and figures all warn at every use; its
    parallel coordinates warn of a key with one value, which they draw well.
    """
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            warnings.filterwarnings("ignore", message=".*identical low and high.*")
            yield
    finally:
        optuna.logging.set_verbosity(level)


def enqueued_values(trial: FrozenTrial) -> dict[str, Any]:
    """Return the values that an enqueued trial was given, drawn yet or not."""
    return dict(trial.system_attrs.get(ENQUEUED, {}))


def cached(storage: RDBStorage) -> BaseStorage:
    """Return a storage that asks the database for unfinished trials alone."""
    return get_storage(storage)


def calling(storage: BaseStorage, call: Callable[[Callable[[], Any]], Any]) -> BaseStorage:
    """Return a storage each of whose calls is handed to ``call`` as a function of no arguments."""

    def forwarded(name: str) -> Callable[..., Any]:
        return lambda _, *args, **kwargs: call(lambda: getattr(storage, name)(*args, **kwargs))

    names = [name for name in vars(BaseStorage) if not name.startswith("_")]
    kind = type("CallingStorage", (BaseStorage,), {name: forwarded(name) for name in names})
    wrapped: BaseStorage = kind()
    return wrapped


def trial_id(storage: BaseStorage, study: optuna.Study, number: int) -> int:
    """Return the storage's id of a trial by its number within the study."""
    study_id = storage.get_study_id_from_name(study.study_name)
    return storage.get_trial_id_from_study_id_trial_number(study_id, number)


class RecentTrials:
    """As much of a study as the median pruner reads, read from the storage once in a while.

    Args:
        seconds: for which what was read is good.
    """

    def __init__(self, study: optuna.Study, seconds: float) -> None:
        self._study, self._seconds = study, seconds
        self._trials, self._read_at = list[FrozenTrial](), -seconds
        self.direction = study.directions[0]

    def get_trials(
        self, deepcopy: bool = True, states: tuple[TrialState, ...] | None = None
    ) -> list[FrozenTrial]:
        """Return the trials in these states, as they were a moment ago."""
        if time.monotonic() - self._read_at >= self._seconds:
            self._trials = self._study.get_trials(deepcopy=False)
            self._read_at = time.monotonic()
        return [trial for trial in self._trials if states is None or trial.state in states]

    def prunes(self, pruner: MedianPruner, trial: FrozenTrial) -> bool:
        """Return what the pruner says of a trial, compared with these."""
        return bool(pruner.prune(cast(optuna.Study, self), trial))

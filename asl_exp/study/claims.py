"""Who tries what next, so that exactly the number of trials asked for come to an end.

Every change of a trial's state is made under the storage's lock: claimed trials and those that
counted never exceed the budget, whoever is killed and whenever. Finished and pruned trials count;
failed ones do not.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Literal

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from asl_exp.compat.optuna import enqueued_values, trial_id
from asl_exp.config.errors import RunError
from asl_exp.config.process_setup import signals_deferred
from asl_exp.config.redact import without_login
from asl_exp.study.heartbeat import PROCESS, StaleTrials, this_process
from asl_exp.study.study import OpenStudy

REASON, DEATHS, COMMAND = "reason", "deaths", "command"
"""User attributes of a trial: why it failed, how often its process died, which command ran it."""

DIED, INTERRUPTED = "its process died", "interrupted"
COUNTED = (TrialState.COMPLETE, TrialState.PRUNED)
MAX_DEATHS = 1
"""A trial whose process dies is repeated once: dying again, it is taken for the trial's own fault
(too little memory, for one), which would end every agent in turn."""

Next = Literal["done", "wait", "failing"]


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: its values where it finished, the reason where it failed."""

    state: TrialState
    values: list[float] | None = None
    reason: str | None = None


def failed(reason: str) -> Outcome:
    """Return the outcome of a trial that failed."""
    return Outcome(TrialState.FAIL, reason=reason)


@dataclass
class Budget:
    """The trials of a study that are still to be had.

    Attributes:
        opened: the study.
        command: an id shared by the agents of one command.
    """

    opened: OpenStudy
    command: str
    _known: int = 0
    _stale: StaleTrials = field(default_factory=StaleTrials)
    _process: dict[str, Any] = field(default_factory=this_process)

    def is_spent(self) -> bool:
        """Return whether the study has all that it asked for."""
        self._require_study()
        return self._verdict(self.opened.study.get_trials(deepcopy=False)) == "done"

    def claim(self) -> Trial | Next:
        """Claim the next trial, or say why there is none.

        A trial that was claimed while the lock was lost is given back: another agent may have
        counted the trials at the same time.
        """
        study = self.opened.study
        self._require_study()
        with self.opened.store.lock() as held:
            self._fail_stale_trials()
            self._put_in_line()
            verdict = self._verdict(study.get_trials(deepcopy=False))
            if verdict is not None:
                return verdict
            trial = study.ask()
            self._known = max(self._known, trial.number + 1)
            with suppress(UpdateFinishedTrialError):  # failed as stale by that other agent
                trial.set_user_attr(PROCESS, self._process)
                trial.set_user_attr(COMMAND, self.command)
            if held():
                return trial
        self.finish(trial, failed(INTERRUPTED))
        return "wait"

    def _require_study(self) -> None:
        """Raise a RunError where the study, or a trial of it, is not in its storage any more."""
        store, name = self.opened.store, self.opened.study.study_name
        store.require_there()
        what = f"study '{name}' was"
        with suppress(KeyError):
            kept = store.uncached.get_n_trials(store.uncached.get_study_id_from_name(name))
            if kept >= self._known:
                self._known = kept
                return
            what = f"{self._known - kept} trials of study '{name}' were"
        raise RunError(
            f"sweep.storage: {what} deleted from {without_login(store.url)} while it ran; the run "
            "folders are kept, and the same command begins anew what is missing"
        )

    def _verdict(self, trials: Sequence[FrozenTrial]) -> Next | None:
        states = [trial.state for trial in trials]
        counted = sum(state in COUNTED for state in states)
        running = states.count(TrialState.RUNNING)
        wanted = self.opened.plan.sweep.n_trials
        if wanted is not None and counted >= wanted:
            return "done"
        if len(self.failures_in_a_row(trials)) >= self.opened.plan.sweep.max_failures:
            return "failing"
        waiting = TrialState.WAITING in states or _not_yet_repeated(trials)
        if not waiting and self.opened.sampler.is_exhausted(self.opened.study):
            return "wait" if running else "done"
        return "wait" if wanted is not None and counted + running >= wanted else None

    @signals_deferred()
    def finish(self, trial: Trial, outcome: Outcome) -> None:
        """Tell the study how a trial ended; an interrupted one is put in line again.

        Where another process gave the trial up for dead in the meantime, that stays.
        """
        study = self.opened.study
        self._require_study()
        with self.opened.store.lock():
            with suppress(UpdateFinishedTrialError):  # told already, and the answer was lost
                if outcome.reason is not None:
                    trial.set_user_attr(REASON, outcome.reason)
                study.tell(trial, outcome.values, state=outcome.state, skip_if_finished=True)
            self._put_in_line()

    def _fail_stale_trials(self) -> None:
        study, storage = self.opened.study, self.opened.store.storage
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if self._stale.includes(trial):
                storage.set_trial_user_attr(trial_id(storage, study, trial.number), REASON, DIED)
                study.tell(trial.number, state=TrialState.FAIL)

    def _put_in_line(self) -> None:
        """Enqueue what is to be repeated: also what a process had no time left to enqueue.

        Trials are read here: one whose process has died may have drawn values until then.
        """
        study = self.opened.study
        for trial in _not_yet_repeated(study.get_trials(deepcopy=False)):
            study.enqueue_trial(_values(trial), user_attrs={DEATHS: _deaths(trial)})

    def failures_in_a_row(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Return the trials of this command that failed since the last one that did not."""
        own = [t for t in trials if t.user_attrs.get(COMMAND) == self.command]
        failed = takewhile(lambda trial: trial.state not in COUNTED, reversed(in_order(own)))
        return [t for t in failed if t.user_attrs.get(REASON) not in (DIED, INTERRUPTED)]


def in_order(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that have ended, in the order in which they did."""
    ended = (trial for trial in trials if trial.state.is_finished())
    return sorted(ended, key=lambda trial: (trial.datetime_complete, trial.number))


def _not_yet_repeated(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that failed by no fault of their own and were not put in line again."""
    failed = [trial for trial in trials if trial.state == TrialState.FAIL]
    return [
        trial
        for trial in failed
        if trial.user_attrs.get(REASON) in (DIED, INTERRUPTED)
        and _deaths(trial) <= MAX_DEATHS
        and not any(enqueued_values(t) == _values(trial) for t in trials[trial.number + 1 :])
    ]


def _values(trial: FrozenTrial) -> dict[str, Any]:
    """Return a trial's values, also those given to it that it had not drawn yet."""
    return {**enqueued_values(trial), **trial.params}


def _deaths(trial: FrozenTrial) -> int:
    return int(trial.user_attrs.get(DEATHS, 0)) + (trial.user_attrs.get(REASON) == DIED)

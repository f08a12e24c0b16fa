"""One agent: claims a trial, runs it, says how it ended, until the study has what it asked for."""

import time
from collections.abc import Callable

from optuna.trial import Trial

from asl_exp.config.errors import Interrupted, RunError, UserError
from asl_exp.model.own_weights import resolve_preprocessing
from asl_exp.study.claims import INTERRUPTED, Budget, failed
from asl_exp.study.study import DATA_DIGEST, FEATURES_GB, STORE, OpenStudy
from asl_exp.study.trial import run_trial
from asl_exp.study.trial_facts import failure
from asl_exp.training.device import keep_freed_memory
from asl_exp.training.features import auto_features_gb
from asl_exp.training.shared_inputs import letters

_POLL_S = 0.5
"""Between looks for a trial to run, where others run the last ones: one that dies is repeated.

A look reads the study's trials, in milliseconds; a trial of a head takes seconds.
"""


def work(
    opened: OpenStudy,
    command: str,
    parent_id: str | None = None,
    after_trial: Callable[[], None] = lambda: None,
) -> None:
    """Run trials until none is left to run.

    Args:
        opened: the study.
        command: an id that all agents of one command share.
        parent_id: of the MLflow run whose children the trials are; None with tracking=off.
        after_trial: called whenever a trial of this agent has ended.

    Raises:
        UserError: what no trial could do without is missing or wrong.
        RunError: too many trials in a row failed.
        Interrupted: Ctrl-C or SIGTERM; the trial on the way is tried again next time.
    """
    budget = Budget(opened, command)
    if budget.is_spent():
        return
    _require_same_data(opened)
    while True:
        claimed = budget.claim()
        if claimed == "done":
            return
        if claimed == "failing":
            raise RunError(_failing(budget))
        if claimed == "wait":
            time.sleep(_POLL_S)
            continue
        assert isinstance(claimed, Trial)
        _try(budget, claimed, parent_id)
        after_trial()


def _try(budget: Budget, trial: Trial, parent_id: str | None) -> None:
    try:
        outcome = run_trial(budget.opened, trial, parent_id)
    except Interrupted:
        budget.finish(trial, failed(INTERRUPTED))
        raise
    except UserError as error:
        budget.finish(trial, failed(str(error)))
        raise
    budget.finish(trial, outcome)


def _failing(budget: Budget) -> str:
    plan, study = budget.opened.plan, budget.opened.study
    row = budget.failures_in_a_row(study.get_trials(deepcopy=False))
    return (
        f"study {plan.name} stops: {len(row)} trials in a row failed "
        f"(sweep.max_failures={plan.sweep.max_failures}), the last one (trial {row[0].number}): "
        f"{failure(row[0])}"
    )


def _require_same_data(opened: OpenStudy) -> None:
    """Load the data once, before any trial; refuse another than the study began with."""
    plan = opened.plan
    keep_freed_memory()
    digest = letters(plan.base, resolve_preprocessing(plan.base.backbone)).digest
    data = plan.base.data
    decided = {DATA_DIGEST: digest, STORE: data.store, FEATURES_GB: auto_features_gb(data)}
    with opened.store.lock():
        known = {} if plan.sweep.extend else opened.study.user_attrs
        for name in decided.keys() - known.keys():
            opened.study.set_user_attr(name, decided[name])
    mend = (
        "give the study another name (sweep.name=NAME), or go on nevertheless (sweep.extend=true)"
    )
    if known.get(DATA_DIGEST, digest) != digest:
        raise UserError(
            f"data: study '{plan.name}' began with other images or another split of them (digest "
            f"{known[DATA_DIGEST][:16]}, now {digest[:16]}); put them back, {mend}"
        )
    if known.get(STORE, data.store) != data.store:
        raise UserError(
            f"data.store: study '{plan.name}' began with {known[STORE]}, now it is {data.store}; "
            f"trials would not compute the same: give data.store={known[STORE]}, {mend}"
        )

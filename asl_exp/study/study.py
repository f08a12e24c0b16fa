"""Opens the study of a plan: begins it, or goes on with it where the plan is still the same."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import check_distribution_compatibility
from optuna.trial import TrialState

from asl_exp.compat.optuna import quiet
from asl_exp.config.errors import UserError
from asl_exp.config.names import direction
from asl_exp.config.signature import compared_settings
from asl_exp.config.study_plan import Plan
from asl_exp.study.sampling import NumberedSampler, distribution, make_pruner
from asl_exp.study.storage import Store, open_store

QUESTION = "question"
"""User attribute of a study: what it asks, to be compared when it goes on."""

DATA_DIGEST = "data_digest"
"""Another: of the images that all trials had."""

STORE, FEATURES_GB = "data.store", "features_gb"
"""What the first agent's machine decided for all trials: whether pixels are stored, and how much a
phase's stored features may take. Trials on stored views and on new changes every epoch compute
different things."""


@dataclass(frozen=True)
class OpenStudy:
    """A study and what is needed to work on it."""

    plan: Plan
    store: Store
    study: optuna.Study
    sampler: NumberedSampler


def open_study(plan: Plan) -> OpenStudy:
    """Open the study, made on first use with its first trials in line.

    Raises:
        UserError: the storage cannot be used, or its study of this name asks something else.
    """
    store, sampler = open_store(plan.storage), NumberedSampler(plan)
    with store.lock():
        study = optuna.create_study(
            storage=store.storage,
            study_name=plan.name,
            directions=[direction(objective) for objective in plan.sweep.objectives],
            sampler=sampler,
            pruner=make_pruner(plan),
            load_if_exists=True,
        )
        with quiet():
            study.set_metric_names(list(plan.metrics))
        _begin_or_compare(study, plan)
    return OpenStudy(plan, store, study, sampler)


def _begin_or_compare(study: optuna.Study, plan: Plan) -> None:
    asked, now = study.user_attrs.get(QUESTION), question(plan)
    if asked == now:
        return
    if asked is None:
        trials = study.get_trials(deepcopy=False)
        if any(trial.state != TrialState.WAITING for trial in trials):
            raise UserError(
                f"sweep.name: '{plan.name}' in {plan.storage} is a study that asl_exp did not "
                "begin; give another name"
            )
        if not trials:
            for values in plan.first():
                study.enqueue_trial(values)
    else:
        _refuse_changes(study, plan, asked, now)
    study.set_user_attr(QUESTION, now)


def question(plan: Plan) -> dict[str, Any]:
    """Return what a study asks, as it is stored."""
    searched = {parameter.key for parameter in plan.space}
    asked = {
        "objectives": {o.metric: direction(o) for o in plan.sweep.objectives},
        "space": {p.key: "".join(p.text.split()) for p in plan.space},
        "conditions": {p.key: p.conditions for p in plan.space if p.conditions},
        "settings": {k: v for k, v in compared_settings(plan.base).items() if k not in searched},
    }
    plain: dict[str, Any] = json.loads(json.dumps(asked))
    return plain


def _refuse_changes(
    study: optuna.Study, plan: Plan, asked: Mapping[str, Any], now: Mapping[str, Any]
) -> None:
    lasting = [*_differences("objectives", asked, now), *_kinds(study, plan)]
    parts = ("space", "conditions", "settings")
    changes = [one for part in parts for one in _differences(part, asked, now)]
    told = [f"study '{plan.name}' in {plan.storage} was begun with something else:"]
    if lasting:
        mend = "  give it another name: sweep.name=NAME"
        raise UserError("\n".join([*told, *changes, *lasting, mend]))
    if changes and not plan.sweep.extend:
        mend = "  give it another name (sweep.name=NAME), or go on nevertheless (sweep.extend=true)"
        raise UserError("\n".join([*told, *changes, mend]))


def _differences(part: str, asked: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted(asked[part].keys() | now[part].keys()):
        then, given = asked[part].get(key, "nothing"), now[part].get(key, "nothing")
        if then != given:
            shown = key if part == "settings" else f"sweep.{part}.{key}"
            yield f"  {shown}: it has {then}, given is {given}"


def _kinds(study: optuna.Study, plan: Plan) -> Iterator[str]:
    """Yield what even an extended study cannot change: a list of choices, a kind of number."""
    known = {k: v for t in study.get_trials(deepcopy=False) for k, v in t.distributions.items()}
    for parameter in plan.space:
        if parameter.key in known:
            try:
                check_distribution_compatibility(known[parameter.key], distribution(parameter))
            except ValueError:
                yield (
                    f"  sweep.space.{parameter.key}: choices, whole numbers and logarithms stay "
                    "as they were begun, also with sweep.extend"
                )

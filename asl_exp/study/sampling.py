"""How the values of a trial are chosen: Optuna's samplers and pruners over our space."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna import pruners, samplers
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, Trial, TrialState

from asl_exp.compat.optuna import quiet
from asl_exp.config.search_space import Category, Parameter
from asl_exp.config.study_plan import Plan


def distribution(parameter: Parameter) -> BaseDistribution:
    """Return Optuna's form of a parameter."""
    if parameter.kind == "choice":
        return CategoricalDistribution(parameter.choices)
    if parameter.kind == "whole":
        step = 1 if parameter.step is None else int(parameter.step)
        return IntDistribution(int(parameter.low), int(parameter.high), parameter.log, step)
    return FloatDistribution(parameter.low, parameter.high, parameter.log, parameter.step)


def suggest(trial: Trial, plan: Plan) -> dict[str, Category]:
    """Choose a value for every key whose condition holds, in the order of the space."""
    values: dict[str, Any] = {}
    for parameter in plan.space:
        known = {**plan.own, **values}
        if all(known.get(key) in allowed for key, allowed in parameter.conditions.items()):
            values[parameter.key] = _suggest(trial, parameter)
    return values


def _suggest(trial: Trial, parameter: Parameter) -> Category:
    key, chosen = parameter.key, distribution(parameter)
    if isinstance(chosen, CategoricalDistribution):
        return trial.suggest_categorical(key, chosen.choices)
    if isinstance(chosen, IntDistribution):
        return trial.suggest_int(key, chosen.low, chosen.high, step=chosen.step, log=chosen.log)
    assert isinstance(chosen, FloatDistribution)
    return trial.suggest_float(key, chosen.low, chosen.high, step=chosen.step, log=chosen.log)


def make_pruner(plan: Plan) -> pruners.BasePruner:
    """Return the pruner of a study."""
    settings = plan.sweep.pruner
    if settings.name == "median":
        return pruners.MedianPruner(settings.startup_trials, settings.warmup_epochs)
    if settings.name == "successive_halving":
        return pruners.SuccessiveHalvingPruner(min_resource=max(1, settings.warmup_epochs))
    if settings.name == "hyperband":
        n_epochs = sum(phase.epochs for phase in plan.base.schedule.values())
        first = min(max(1, settings.warmup_epochs), n_epochs)
        return pruners.HyperbandPruner(min_resource=first, max_resource=n_epochs)
    return pruners.NopPruner()


class NumberedSampler(samplers.BaseSampler):
    """Draws the chance of a trial from the seed and the trial's number alone.

    So a study that is interrupted, or shared by agents, never draws the same values twice, and
    two studies of equal seed begin alike.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._inner = _make_sampler(plan, 0)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Begin anew with the trial's own seed."""
        seed = np.random.SeedSequence([self._plan.sweep.sampler.seed, trial.number])
        self._inner = _make_sampler(self._plan, int(seed.generate_state(1)[0]))
        self._inner.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return what is chosen together."""
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Choose those."""
        return self._inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Choose one of the others."""
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Let the sampler learn; a grid's would only stop a loop that is not Optuna's."""
        if not isinstance(self._inner, samplers.GridSampler):
            self._inner.after_trial(study, trial, state, values)

    def is_exhausted(self, study: optuna.Study) -> bool:
        """Return whether every point of a grid has been tried."""
        return isinstance(self._inner, samplers.GridSampler) and self._inner.is_exhausted(study)


def _make_sampler(plan: Plan, seed: int) -> samplers.BaseSampler:
    settings = plan.sweep.sampler
    with quiet():
        if settings.name == "random":
            return samplers.RandomSampler(seed=seed)
        if settings.name == "grid":
            points = {p.key: list(p.values()) for p in plan.space}
            return samplers.GridSampler(points, seed=plan.sweep.sampler.seed)
        if settings.name == "gp":
            return samplers.GPSampler(seed=seed, warn_independent_sampling=False)
        if settings.name == "cmaes":
            return samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
        if settings.name == "nsga2":
            return samplers.NSGAIISampler(seed=seed)
        together = settings.multivariate
        return samplers.TPESampler(seed=seed, multivariate=together, group=together)


def outside(plan: Plan) -> list[str]:
    """Return a line for each value of the configuration's own that the space leaves out."""
    return [
        f"{p.key}: the configuration's own value {plan.own[p.key]} is not among what is searched, "
        f"{p.text}; {p.key}=... on the command line gives other values"
        for p in plan.space
        if p.key in plan.own and p.matching(plan.own[p.key]) is None
    ]

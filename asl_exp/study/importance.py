"""How much of the objective's spread each searched key explains: functional ANOVA.

Hutter, Hoos and Leyton-Brown, 2014, as Optuna does it: a random forest is fitted to the finished
trials and its variance is split among the keys; the shares of all keys add up to 1.
"""

from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import create_trial

from asl_exp.compat.optuna import quiet
from asl_exp.study.results import Survey

FEWEST = 4
"""Trials below which shares mean nothing."""

FEW_A_KEY = 10
"""Trials for each key below which shares are said to be uncertain: of 60 made-up studies of three
keys, the one that explains most came first in 38 with 6 trials, in 46 with 10, in all with 30."""


def importances(survey: Survey, place: int) -> dict[str, float]:
    """Return the share of each key that all finished trials have, the largest first.

    Empty where nothing can be said: too few trials, one value everywhere, or no key in all.
    """
    values = [trial.values[place] for trial in survey.finished]
    common = [key for key in survey.keys if key not in left_out(survey)]
    varied = [k for k in common if len({str(t.params[k]) for t in survey.finished}) > 1]
    if len(values) < FEWEST or len(set(values)) == 1 or not varied:
        return {}
    with quiet():
        found = get_param_importances(
            _in_one_space(survey, varied, place),
            evaluator=FanovaImportanceEvaluator(seed=0),
            params=varied,
        )
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def caution(survey: Survey) -> str:
    """Say how many trials the shares come from, and whether these are few."""
    n_trials, n_keys = len(survey.finished), len(survey.keys)
    few = n_trials < FEW_A_KEY * n_keys
    keys = f"{n_keys} keys" if n_keys > 1 else "1 key"
    warning = f", few for {keys}: uncertain" if few else ""
    return f"from {n_trials} finished trials{warning}"


def _in_one_space(survey: Survey, keys: list[str], place: int) -> optuna.Study:
    """Return the finished trials as if all had been drawn from ranges that hold every value.

    A study that was extended may have trials of a wider and of a narrower range; Optuna refuses
    those.
    """
    ranges = {key: _hull([t.distributions[key] for t in survey.finished]) for key in keys}
    study = optuna.create_study(storage=optuna.storages.InMemoryStorage())
    study.add_trials(
        [
            create_trial(
                value=trial.values[place],
                params={key: trial.params[key] for key in keys},
                distributions=ranges,
            )
            for trial in survey.finished
        ]
    )
    return study


def _hull(ranges: list[BaseDistribution]) -> BaseDistribution:
    """Return the smallest range that holds all these; choices never differ, Optuna sees to it."""
    first = ranges[0]
    if all(one == first for one in ranges):
        return first
    numbers: list[Any] = list(ranges)
    low, high = min(one.low for one in numbers), max(one.high for one in numbers)
    return FloatDistribution(low, high, log=all(one.log for one in numbers))


def left_out(survey: Survey) -> list[str]:
    """Return the keys that some finished trial has no value for; nothing is said of them."""
    return [k for k in survey.keys if not all(k in t.params for t in survey.finished)]

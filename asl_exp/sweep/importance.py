"""How much of the objective's spread each searched key explains: functional ANOVA.

Hutter, Hoos and Leyton-Brown, 2014, as Optuna does it: a random forest is fitted to the finished
trials and its variance is split among the keys; the shares of all keys add up to 1.
"""

import warnings

import optuna
from optuna.importance import FanovaImportanceEvaluator, get_param_importances

from asl_exp.sweep.survey import Survey

FEWEST = 4
"""Trials below which shares mean nothing."""


def importances(survey: Survey, place: int) -> dict[str, float]:
    """Return the share of each key that all finished trials have, the largest first.

    Empty where nothing can be said: too few trials, one value everywhere, or no key in all.

    Args:
        survey: of the study.
        place: of the objective.
    """
    values = [trial.values[place] for trial in survey.finished]
    common = [k for k in survey.keys if all(k in t.params for t in survey.finished)]
    varied = [k for k in common if len({str(t.params[k]) for t in survey.finished}) > 1]
    if len(values) < FEWEST or len(set(values)) == 1 or not varied:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        found = get_param_importances(
            survey.study,
            evaluator=FanovaImportanceEvaluator(seed=0),
            params=varied,
            target=lambda trial: float(trial.values[place]),
        )
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def left_out(survey: Survey) -> list[str]:
    """Return the keys that some finished trial has no value for; nothing is said of them."""
    return [k for k in survey.keys if not all(k in t.params for t in survey.finished)]

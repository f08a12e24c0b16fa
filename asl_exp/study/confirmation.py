"""Repeats the best trial and the default with other seeds, and says whether they differ.

The best of many trials is partly the luckiest. The same seed gives both the same order of images
and the same random changes, so their differences are taken in pairs, seed by seed; their mean is
compared with its standard error by Student's t (95 %). What is not in it: that other validation
images would give another difference.

Each repetition (``sweep.confirm=3``) has a folder of its own, named by what it computes, so one
that is finished is never run again, and one that was interrupted is resumed.
"""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from scipy.special import stdtrit

from asl_exp.config.errors import RunError
from asl_exp.config.names import Tag
from asl_exp.config.redact import scrubbed
from asl_exp.config.schema import Config
from asl_exp.config.signature import signature
from asl_exp.config.study_plan import Plan
from asl_exp.runs.result import Result, outcome_of
from asl_exp.study.best_preset import trial_config
from asl_exp.study.mlflow_parent import CONFIRMATION, child_tags
from asl_exp.study.results import Survey, score
from asl_exp.study.study import DATA_DIGEST, FEATURES_GB
from asl_exp.study.trial import run_for_objectives
from asl_exp.training.current_run import Observer
from asl_exp.training.terminal import console


@dataclass(frozen=True)
class Comparison:
    """One metric of the winner and of the default, by seed.

    Attributes:
        metric: its key.
        falls: less is better.
        trial: number of the winner.
        best: the value it won with.
        winner: seed to value.
        default: the same of the configuration's own values; None where they won.
    """

    metric: str
    falls: bool
    trial: int
    best: float
    winner: Mapping[int, float]
    default: Mapping[int, float] | None

    @property
    def differences(self) -> list[float]:
        """Return winner minus default for each seed that both have."""
        default = self.default or {}
        return [value - default[seed] for seed, value in self.winner.items() if seed in default]

    @property
    def difference(self) -> float:
        """Return the mean difference."""
        return statistics.fmean(self.differences)

    @property
    def standard_error(self) -> float:
        """Return the standard error of the mean difference; of two seeds or more."""
        return statistics.stdev(self.differences) / math.sqrt(len(self.differences))

    def sentences(self) -> list[str]:
        """Say what was found."""
        repeated = f"{self.metric} of trial {self.trial}: {score(self.best)} in the study"
        if not self.winner:
            return [f"{repeated}; no repetition finished"]
        told = f"{repeated}, {_spread(self.winner)} with {_seeds(len(self.winner))}"
        if self.default is None:
            return [f"{told}; the configuration's own values won"]
        if not self.default:
            return [f"{told}; no repetition of the default finished"]
        return [f"{told}; the default {_spread(self.default)}", self.verdict()]

    def verdict(self) -> str:
        """Return whether the winner is better than the default by more than noise."""
        n = len(self.differences)
        if n == 0:
            return f"{self.metric}: winner and default have no seed in common that finished"
        if not any(self.differences):
            return f"{self.metric}: winner and default are equal (in {n} of {n} seeds)"
        side = "above" if self.difference > 0 else "below"
        less = " (less is better)" if self.falls else ""
        told = f"{self.metric}{less}: winner {side} default by {score(abs(self.difference))}"
        if n == 1:
            return f"{told} (1 seed): one seed says nothing of the noise; take sweep.confirm=3"
        told += f" +/- {score(self.standard_error)} (standard error, {n} seeds)"
        if abs(self.difference) <= self.noise():
            return f"{told}: within noise"
        better = (self.difference < 0) == self.falls
        return f"{told}: {'above noise' if better else 'worse than the default, above noise'}"

    def noise(self) -> float:
        """Return the difference that chance alone exceeds in 5 of 100 cases."""
        n = len(self.differences)
        return float(stdtrit(n - 1, 0.975)) * self.standard_error

    def metrics(self) -> dict[str, float]:
        """Return the figures for the study's run in MLflow."""
        named = {"winner": self.winner, "default": self.default}
        found = {}
        for name, values in named.items():
            if values:
                found[f"{name}_mean"] = statistics.fmean(values.values())
            if values and len(values) > 1:
                found[f"{name}_std"] = statistics.stdev(values.values())
        if self.differences:
            found["difference"] = self.difference
        if len(self.differences) > 1:
            found["difference_se"] = self.standard_error
        return {f"confirm/{self.metric}/{key}": value for key, value in found.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return everything, to be written as JSON."""
        return {**self.__dict__, "sentences": self.sentences(), **self.metrics()}


def _spread(values: Mapping[int, float]) -> str:
    mean = score(statistics.fmean(values.values()))
    return mean if len(values) == 1 else f"{mean} (sd {score(statistics.stdev(values.values()))})"


def _seeds(n: int) -> str:
    return "1 other seed" if n == 1 else f"{n} other seeds"


FOLDER = "confirm"
DEFAULT = "default"


def confirm(plan: Plan, survey: Survey, parent_id: str | None) -> list[Comparison]:
    """Repeat the winner and the default with ``sweep.confirm`` other seeds.

    Returns:
        One comparison for each objective; none where no trial finished.

    Raises:
        Interrupted: the same command goes on with the repetition that was on its way.
    """
    best = survey.best
    if best is None:
        return []
    config = trial_config(plan, best)
    repeated = partial(_repeated, plan, survey.study.user_attrs, parent_id)
    winner, default = repeated(config, str(best.number)), None
    if signature(config) != signature(plan.base):
        default = repeated(plan.base, DEFAULT)
    return [
        Comparison(
            metric,
            survey.falls[place],
            best.number,
            best.values[place],
            _values(winner, metric),
            None if default is None else _values(default, metric),
        )
        for place, metric in enumerate(survey.metrics)
    ]


def _values(found: Mapping[int, Result], metric: str) -> dict[int, float]:
    return {seed: result.metrics[metric] for seed, result in found.items()
            if metric in result.metrics}  # fmt: skip


def _repeated(
    plan: Plan, known: Mapping[str, Any], parent_id: str | None, config: Config, who: str
) -> dict[int, Result]:
    """Run a configuration with other seeds; return what each that finished came to.

    Args:
        known: attributes of the study; other images are other repetitions.
        who: the winner's number, or DEFAULT.
    """
    name = who if who == DEFAULT else f"trial {who}"
    computed = f"{signature(config)[:8]}{known.get(DATA_DIGEST, '')[:4]}"
    tags = {**child_tags(plan, parent_id, who), Tag.ROLE: CONFIRMATION}
    observer = Observer(tags, known.get(FEATURES_GB))
    results = {}
    for seed in range(config.seed + 1, config.seed + 1 + plan.sweep.confirm):
        folder = plan.folder / FOLDER / f"{computed}_seed{seed}"
        result = outcome_of(folder)
        resume = str(folder) if result is not None else False
        changed = {"seed": seed, "name": f"confirm {name} seed={seed}", "resume": resume}
        try:
            if result is None or result.status != "FINISHED":
                console.say(f"{changed['name']} ...")
                seeded = config.model_copy(update=changed)
                result = run_for_objectives(plan, seeded, folder, observer)
            results[seed] = result
        except RunError as error:
            console.say(f"confirm {name}, seed {seed}: failed: {scrubbed(str(error))}")
    return results

"""How far the winner of a study is above the noise: it and the default, with other seeds.

The best of many trials is partly the luckiest. The same seed gives both the same order of images
and the same random changes, so their differences are taken in pairs, seed by seed; their mean is
compared with its standard error by Student's t (95 %). What is not in it: that other validation
images would give another difference.
"""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scipy.stats import t as student


@dataclass(frozen=True)
class Comparison:
    """One metric of the winner and of the default, by seed.

    Attributes:
        metric: its key.
        falls: less is better.
        trial: number of the winner.
        best: the value it won with.
        winner, default: seed to value; the default's are empty where it is the winner.
    """

    metric: str
    falls: bool
    trial: int
    best: float
    winner: Mapping[int, float]
    default: Mapping[int, float]

    @property
    def differences(self) -> list[float]:
        """Return winner minus default for each seed that both have."""
        return [value - self.default[seed] for seed, value in self.winner.items()
                if seed in self.default]  # fmt: skip

    @property
    def difference(self) -> float:
        """Return the mean difference."""
        return statistics.fmean(self.differences)

    @property
    def standard_error(self) -> float:
        """Return the standard error of the mean difference; of two seeds or more."""
        return statistics.stdev(self.differences) / len(self.differences) ** 0.5

    def sentences(self) -> list[str]:
        """Say what was found."""
        repeated = f"{self.metric} of trial {self.trial}: {self.best:.4f} in the study"
        if not self.winner:
            return [f"{repeated}; no repetition finished"]
        told = f"{repeated}, {_spread(self.winner)} with {_seeds(len(self.winner))}"
        if not self.default:
            return [told]
        return [f"{told}; the default {_spread(self.default)}", self.verdict()]

    def verdict(self) -> str:
        """Return whether the winner is better than the default by more than noise."""
        n = len(self.differences)
        if n == 0:
            return "winner and default have no seed in common that finished"
        told = f"winner {'above' if self.difference > 0 else 'below'} default by "
        told += f"{abs(self.difference):.4f}"
        if n == 1:
            return f"{told} (1 seed): one seed says nothing of the noise; take sweep.confirm=3"
        if not any(self.differences):
            return f"winner and default are equal ({n} seeds)"
        told += f" +/- {self.standard_error:.4f} (standard error, {n} seeds)"
        if abs(self.difference) <= self.noise():
            return f"{told}: within noise"
        better = (self.difference < 0) == self.falls
        return f"{told}: {'above noise' if better else 'worse than the default, above noise'}"

    def noise(self) -> float:
        """Return the difference that chance alone exceeds in 5 of 100 cases."""
        n = len(self.differences)
        return float(student.ppf(0.975, n - 1)) * self.standard_error

    def metrics(self) -> dict[str, float]:
        """Return the figures for the study's run in MLflow."""
        named = {"winner": self.winner, "default": self.default}
        found = {}
        for name, values in named.items():
            if values:
                found[f"{name}_mean"] = statistics.fmean(values.values())
            if len(values) > 1:
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
    mean = f"{statistics.fmean(values.values()):.4f}"
    return mean if len(values) == 1 else f"{mean} (sd {statistics.stdev(values.values()):.4f})"


def _seeds(n: int) -> str:
    return "1 other seed" if n == 1 else f"{n} other seeds"

"""What a model's probabilities are divided by, and below which of them it does not answer."""

from dataclasses import dataclass
from typing import Final

import torch

NOT_SURE: Final = "not sure"
"""The answer where the highest probability is below the model's threshold."""


@dataclass(frozen=True)
class Calibration:
    """How a kept model's scores become the probabilities that are shown.

    The scores in a run's predictions.parquet, and all that is made of them, are not calibrated.

    Attributes:
        temperature: scores (logits) are divided by it; over 1 makes answers less confident (Guo et
            al., ICML 2017).
        abstain_below: the least probability of an answer; None: every image gets one.
        told: on what both were fitted, or why they were not.
    """

    temperature: float = 1.0
    abstain_below: float | None = None
    told: str = "not calibrated"

    def __post_init__(self) -> None:
        """Refuse what makes no probabilities.

        Raises:
            ValueError: a temperature or a threshold out of range.
        """
        if not _between(0.01, self.temperature, 100):
            raise ValueError(f"the temperature {self.temperature}; it must be in 0.01 to 100")
        if self.abstain_below is not None and not _between(0, self.abstain_below, 1):
            raise ValueError(f"the threshold {self.abstain_below}; it must be in 0 to 1")

    def probabilities(self, scores: torch.Tensor) -> torch.Tensor:
        """Return calibrated probabilities ``(B, C)`` of scores (logits) ``(B, C)``."""
        return (scores / self.temperature).softmax(1)  # x / 1.0 is x, to the last bit


def _between(low: float, value: object, high: float) -> bool:
    return type(value) in (int, float) and low <= value <= high  # type: ignore[operator]


UNCALIBRATED: Final = Calibration()

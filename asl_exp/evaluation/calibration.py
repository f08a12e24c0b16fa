"""Makes probabilities honest on images that chose no weight: a temperature, and a threshold.

Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, ICML 2017, section 4.2: one
number that the scores are divided by, fitted on val. It changes no answer. Val must be of other
people or recordings than train, or it would teach the confidence that train deserves.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from scipy.special import logsumexp, softmax

from asl_exp.config import readable
from asl_exp.evaluation.scores import Floats, Integers, Labels, Probabilities, checked
from asl_exp.model.kept import UNCALIBRATED, Calibration

FEWEST_IMAGES: Final = 100
"""Of val; under so many one confident mistake decides the temperature."""

_FEWEST_ANSWERS: Final = 20
"""Above a threshold; of fewer, all may be right by chance."""

_RANGE: Final = (0.1, 10.0)
_SMALLEST: Final = 1e-38
"""A probability that 32 bits cannot hold is taken to be this."""


def why_not(n_images: int, groups: Sequence[str] | None, *, leaks: bool) -> str:
    """Return why val cannot calibrate; "" where it can.

    Args:
        n_images: of val, that get an answer.
        groups: of val; None where they are not known.
        leaks: near-copies of training images may be in val.
    """
    if leaks:
        return "near-copies of training images may be in val"
    if groups is None:
        return "it is not known which people or recordings val's images are of"
    if len(set(groups)) < 2:
        return "val's images are of one group"
    if n_images < FEWEST_IMAGES:
        return f"val has {n_images} images, and {FEWEST_IMAGES} are needed"
    return ""


def not_calibrated(reason: str) -> Calibration:
    """Return probabilities as they are, and why."""
    return Calibration(told=f"{UNCALIBRATED.told}: {reason}")


def fitted(
    probabilities: Probabilities, labels: Labels, wanted_accuracy: float | None = None
) -> Calibration:
    """Return the temperature with the least log loss, and the threshold for a wanted accuracy.

    Args:
        probabilities: `(N, C)` of val, at temperature 1.
        labels: `(N,)`.
        wanted_accuracy: of the answers that are given; None: every image gets one.
    """
    probabilities, labels = checked(probabilities, labels)
    logs = np.log(np.maximum(probabilities, _SMALLEST))
    if (logs.argmax(1) == labels).all():
        return not_calibrated("val has no wrong answer to learn from")
    temperature = _temperature(logs, labels)
    before, after = _log_loss(logs, labels, 1.0), _log_loss(logs, labels, 1 / temperature)
    told = (
        f"temperature {temperature:.2f}, fitted on the {len(labels):,} images of val (log loss "
        f"{readable.score(before)}, then {readable.score(after)})"
    )
    if wanted_accuracy is None:
        return Calibration(temperature, None, told)
    threshold, reached = _threshold(softmax(logs / temperature, axis=1), labels, wanted_accuracy)
    return Calibration(temperature, threshold, f"{told}; {reached}")


def _temperature(logs: Floats, labels: Integers) -> float:
    """Return the minimum: in 1 / temperature the log loss is convex."""
    from scipy.optimize import minimize_scalar  # 0.2 s, at a run's end alone

    low, high = _RANGE
    found = minimize_scalar(
        lambda inverse: _log_loss(logs, labels, inverse),
        bounds=(1 / high, 1 / low),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return round(1 / float(found.x), 4)


def _log_loss(logs: Floats, labels: Integers, inverse: float) -> float:
    scaled = logs * inverse
    true = scaled[np.arange(len(labels)), labels]
    return float(np.mean(logsumexp(scaled, axis=1) - true))


def _threshold(probabilities: Floats, labels: Integers, wanted: float) -> tuple[float | None, str]:
    """Return the lowest threshold whose answers are right often enough, and what it costs."""
    order = np.argsort(-probabilities.max(1), kind="stable")
    confidence = probabilities.max(1)[order]
    right = probabilities.argmax(1)[order] == labels[order]
    accuracy = np.cumsum(right) / np.arange(1, len(right) + 1)
    ends = np.append(confidence[1:] < confidence[:-1], True)  # equal confidences go together
    enough = np.flatnonzero(ends & (accuracy >= wanted)) + 1
    if not enough.size or enough[-1] < _FEWEST_ANSWERS:
        return None, f"no threshold reaches the wanted accuracy of {wanted:g} on val"
    n = int(enough[-1])
    below = confidence[n] if n < len(confidence) else 0.0
    threshold = round(float(confidence[n - 1] + below) / 2, 6)
    return threshold, (
        f"below {threshold:.3f} the answer is 'not sure': of val "
        f"{readable.percent(n / len(right))} is answered, "
        f"{readable.score(accuracy[n - 1])} of that right (wanted {wanted:g})"
    )

"""The temperature and the threshold that are fitted on val, against known answers."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from asl_exp.evaluation.calibration import fitted, not_calibrated, why_not

Floats = NDArray[np.float64]


def softmax(scores: Floats) -> Floats:
    shifted = np.exp(scores - scores.max(1, keepdims=True))
    return np.asarray(shifted / shifted.sum(1, keepdims=True))


def drawn(n: int, sharpened: float) -> tuple[Floats, NDArray[np.int64], Floats]:
    """Return probabilities that are too sure by a factor, labels, and the honest scores."""
    generator = np.random.default_rng(0)
    scores = generator.normal(0, 2, (n, 5))
    labels = np.array([generator.choice(5, p=row) for row in softmax(scores)])
    return softmax(scores * sharpened), labels, scores


@pytest.mark.parametrize("sharpened", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_what_made_answers_too_sure(sharpened: float) -> None:
    probabilities, labels, scores = drawn(20_000, sharpened)
    found = fitted(probabilities, labels)
    assert found.temperature == pytest.approx(sharpened, rel=0.03)  # 20,000 draws: 1 % at most
    logits = torch.from_numpy(scores * sharpened)
    assert found.probabilities(logits).argmax(1).equal(logits.argmax(1))
    assert found.abstain_below is None


def test_it_is_the_minimum_of_the_log_loss() -> None:
    probabilities, labels, _ = drawn(300, 2.0)

    def log_loss(temperature: float) -> float:
        scaled = softmax(np.log(probabilities) / temperature)
        return float(-np.log(scaled[np.arange(300), labels]).mean())

    found = fitted(probabilities, labels).temperature
    assert log_loss(found) <= min(log_loss(t) for t in np.geomspace(0.1, 10, 500)) + 1e-9
    assert f"{log_loss(1.0):.3f}, then {log_loss(found):.3f}" in fitted(probabilities, labels).told


def test_a_probability_of_zero_is_no_infinite_loss() -> None:
    probabilities, labels, _ = drawn(200, 1.0)
    probabilities[0] = np.eye(5)[(labels[0] + 1) % 5]
    assert 1.0 < fitted(probabilities.astype(np.float32), labels).temperature < 10


@pytest.mark.parametrize("wanted", [0.6, 0.8, 0.95])
def test_the_threshold_answers_as_many_as_the_wanted_accuracy_allows(wanted: float) -> None:
    probabilities, labels, _ = drawn(2000, 2.0)
    found = fitted(probabilities, labels, wanted)
    assert found.abstain_below is not None
    softened = softmax(np.log(probabilities) / found.temperature)
    confidence, right = softened.max(1), softened.argmax(1) == labels
    given = confidence >= found.abstain_below
    assert right[given].mean() >= wanted
    more = [right[confidence >= t].mean() for t in confidence if t < found.abstain_below]
    assert not any(accuracy >= wanted for accuracy in more), "a lower threshold would do as well"
    assert f"{given.mean():.0%} is answered, {right[given].mean():.3f} of that right" in found.told


def test_an_accuracy_out_of_reach_has_no_threshold() -> None:
    generator = np.random.default_rng(1)
    probabilities = softmax(generator.normal(0, 1, (400, 5)))
    found = fitted(probabilities, generator.integers(0, 5, 400), 0.9)
    assert found.abstain_below is None
    assert "no threshold reaches the wanted accuracy of 0.9" in found.told


def test_val_without_a_mistake_teaches_nothing() -> None:
    probabilities, *_ = drawn(200, 1.0)
    found = fitted(probabilities, probabilities.argmax(1))
    assert found == not_calibrated("val has no wrong answer to learn from")
    assert found.temperature == 1.0


@pytest.mark.parametrize(
    ("n", "groups", "leaks", "told"),
    [
        (500, ["a", "b"] * 250, True, "near-copies"),
        (500, None, False, "not known which people"),
        (500, ["a"] * 500, False, "of one group"),
        (99, ["a", "b", "c"] * 33, False, "val has 99 images, and 100 are needed"),
        (100, ["a", "b"] * 50, False, ""),
    ],
)
def test_val_that_cannot_tell(n: int, groups: list[str] | None, leaks: bool, told: str) -> None:
    reason = why_not(n, groups, leaks=leaks)
    assert told in reason
    assert bool(reason) == bool(told)

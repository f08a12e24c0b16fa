"""Risk and coverage: against counting by hand, ties, and thresholds that keep their promise."""

import numpy as np
import pytest

from asl_exp.config import names
from asl_exp.evaluation.risk_coverage import risk_coverage, risk_coverage_intervals


@pytest.fixture(scope="module")
def answers() -> tuple[np.ndarray, np.ndarray]:
    """300 images of 5 classes, of which the sure ones are more often right."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 5, 300)
    logits = generator.normal(size=(300, 5))
    logits[np.arange(300), labels] += 1.5
    shares = np.exp(logits)
    return shares / shares.sum(1, keepdims=True), labels


def test_the_scores_are_what_counting_gives(answers: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, labels = answers
    order = np.argsort(-probabilities.max(1))
    wrong = (probabilities.argmax(1) != labels)[order]
    risks = [wrong[: n + 1].mean() for n in range(300)]
    curve = risk_coverage(probabilities, labels)
    assert curve.area == pytest.approx(np.mean(risks))
    assert curve.surest == pytest.approx(1 - wrong[:240].mean())
    assert curve.risk[-1] == pytest.approx(1 - (probabilities.argmax(1) == labels).mean())


def test_a_threshold_gives_the_wanted_accuracy(answers: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, labels = answers
    found = risk_coverage(probabilities, labels).threshold(0.9)
    assert found is not None
    sure = probabilities.max(1) >= found[0]
    assert sure.mean() == pytest.approx(found[1])
    assert (probabilities.argmax(1) == labels)[sure].mean() >= 0.9
    assert risk_coverage(probabilities, (labels + 1) % 5).threshold(0.999) is None


def test_images_of_equal_confidence_are_answered_together() -> None:
    probabilities, labels = np.tile([0.7, 0.3], (10, 1)), np.array([0] * 6 + [1] * 4)
    for order in (np.arange(10), np.arange(10)[::-1]):
        curve = risk_coverage(probabilities, labels[order])
        assert (curve.area, curve.surest) == (pytest.approx(0.4), pytest.approx(0.6))
        assert curve.threshold(0.9) is None


def test_intervals_hold_the_score_and_one_group_has_none(
    answers: tuple[np.ndarray, np.ndarray],
) -> None:
    probabilities, labels = answers
    curve = risk_coverage(probabilities, labels)
    groups = [str(row % 12) for row in range(300)]
    for given in (None, groups):
        found = risk_coverage_intervals(probabilities, labels, given)
        low, high = found[names.RISK_COVERAGE_AREA]
        assert 0 < low < curve.area < high < 1
        low, high = found[names.ACCURACY_SUREST]
        assert low < curve.surest < high
    assert risk_coverage_intervals(probabilities, labels, ["one"] * 300) == {}
    perfect = risk_coverage_intervals(np.eye(5)[labels], labels, groups)
    assert perfect[names.ACCURACY_SUREST][0] == pytest.approx(0.7575, abs=1e-3)  # Wilson, 12 of 12

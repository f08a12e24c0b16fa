"""Intervals of scores: their coverage on data whose true accuracy is known, and their edges."""

import numpy as np
import pytest

from asl_exp.evaluation import intervals, scores
from asl_exp.evaluation.intervals import interval_of_mean, mean_interval, score_intervals, wilson
from asl_exp.runs.result import Result
from asl_exp.training.scoring import _intervals_of_means

N_CLASSES = 4


def answers(correct: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities and labels of which exactly those that are `correct` are right."""
    labels = generator.integers(N_CLASSES, size=len(correct))
    predicted = np.where(correct, labels, (labels + 1) % N_CLASSES)
    probabilities = np.full((len(correct), N_CLASSES), 0.1)
    probabilities[np.arange(len(correct)), predicted] = 0.7
    return probabilities, labels


@pytest.mark.parametrize(
    ("n_groups", "size", "spread"),
    [(3, 20, 1.0), (6, 20, 1.0), (25, 20, 1.0), (60, 1, 0.0), (60, 5, 0.5)],
    ids=["three groups", "six groups", "groups that differ", "single images", "many small groups"],
)
def test_nineteen_of_twenty_intervals_hold_the_true_accuracy(
    n_groups: int, size: int, spread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intervals, "N_DRAWS", 600)
    generator = np.random.default_rng(1)
    of_groups = lambda n: 1 / (1 + np.exp(-(0.8 + spread * generator.normal(size=n))))  # noqa: E731
    true = float(of_groups(400_000).mean())
    repeats, held = 700, 0
    for _ in range(repeats):
        correct = generator.random((n_groups, size)) < of_groups(n_groups)[:, None]
        probabilities, labels = answers(correct.ravel(), generator)
        groups = np.repeat(np.arange(n_groups), size).astype(str).tolist()
        low, high = score_intervals(probabilities, labels, groups).of["accuracy"]
        held += low <= true <= high
    # 95 % within 0.93..0.97; with 700 repeats the share itself has a standard error of 0.8 points
    assert 0.925 <= held / repeats <= 0.975


@pytest.mark.parametrize(("n_groups", "size"), [(8, 100), (15, 100)])
def test_they_hold_it_where_nearly_all_is_right_as_well(
    n_groups: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intervals, "N_DRAWS", 300)
    generator = np.random.default_rng(1)
    of_groups = lambda n: 1 / (1 + np.exp(-(3.9 + generator.normal(size=n))))  # noqa: E731
    true = float(of_groups(400_000).mean())
    assert 0.96 < true < 0.98
    groups = np.repeat(np.arange(n_groups), size).astype(str).tolist()
    held = 0
    for _ in range(400):
        correct = generator.random((n_groups, size)) < of_groups(n_groups)[:, None]
        low, high = mean_interval(correct.ravel().astype(float), groups, share=True) or (0, 0)
        held += low <= true <= high
    # percentiles held 0.90; with 400 repeats the share itself has a standard error of 1.1 points
    assert 0.92 <= held / 400 <= 0.98


def test_values_lie_within_their_intervals_and_images_give_narrower_ones_than_groups() -> None:
    generator = np.random.default_rng(0)
    right = np.repeat(generator.random(12) < 0.6, 30)
    probabilities, labels = answers(right, generator)
    groups = np.repeat(np.arange(12), 30).astype(str).tolist()
    by_group = score_intervals(probabilities, labels, groups)
    by_image = score_intervals(probabilities, labels, None)
    assert (by_group.unit, by_group.n_units) == ("group", 12)
    assert (by_image.unit, by_image.n_units) == ("image", 360)
    for found in (by_group, by_image):
        low, high = found.of["accuracy"]
        assert low < scores.accuracy(probabilities, labels) < high
        assert set(found.of) == {"accuracy", "f1_macro", "ece", "brier", "log_loss"}
        assert set(found.of_classes) == set(range(N_CLASSES))
    assert np.ptp(by_group.of["accuracy"]) > 3 * np.ptp(by_image.of["accuracy"])


def test_draws_of_many_units_are_those_of_few(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(3)
    probabilities, labels = answers(generator.random(500) < 0.8, generator)
    whole = score_intervals(probabilities, labels, None).of["accuracy"]
    monkeypatch.setattr(intervals, "_UNITS_TOGETHER", 37)
    assert score_intervals(probabilities, labels, None).of["accuracy"] == pytest.approx(
        whole, abs=0.006
    )


def test_the_mean_over_sets_is_as_sure_as_drawing_them_all_again() -> None:
    generator = np.random.default_rng(5)
    right = [generator.random(400) < share for share in (0.95, 0.6)]
    found = [mean_interval(one.astype(float), None) for one in right]
    values = [float(one.mean()) for one in right]
    low, high = interval_of_mean(values, [one for one in found if one])
    drawn = [one[generator.integers(0, 400, (4000, 400))].mean(axis=1) for one in right]
    expected = np.quantile(np.mean(drawn, axis=0), [0.025, 0.975])
    assert (low, high) == pytest.approx(tuple(expected), abs=0.003)


def test_a_difference_seen_in_one_direction_may_still_be_the_other_way() -> None:
    better = np.array([1.0] * 9 + [0.0] * 11)
    low, high = mean_interval(better, ["a"] * 10 + ["b"] * 10) or (0.0, 0.0)
    assert low < 0 < high <= 1
    low, high = mean_interval(better, ["a"] * 10 + ["b"] * 10, share=True) or (0.0, 0.0)
    assert 0 < low < 0.45 < high < 1


def test_the_mean_over_external_sets_is_as_sure_as_its_sets_where_all_are() -> None:
    metrics = {"external/a/accuracy": 0.9, "external/b/accuracy": 0.5, "external/b/ece": 0.1}
    intervals = {"external/a/accuracy": [0.84, 0.93], "external/b/accuracy": [0.42, 0.62]}
    result = Result(name="run", signature="", metrics=metrics, intervals=intervals)
    assert _intervals_of_means(result) == {
        "external/accuracy": pytest.approx([0.65, 0.762], abs=1e-3)
    }
    result.intervals.pop("external/b/accuracy")
    assert _intervals_of_means(result) == {}


def test_one_group_has_no_interval() -> None:
    probabilities, labels = answers(np.ones(9, bool), np.random.default_rng(0))
    found = score_intervals(probabilities, labels, ["one"] * 9)
    assert found.of == {}
    assert found.n_units == 1


def test_a_perfect_score_is_not_certain() -> None:
    probabilities, labels = answers(np.ones(60, bool), np.random.default_rng(0))
    low, high = score_intervals(probabilities, labels, None).of["accuracy"]
    assert (low, high) == wilson(60, 60)
    assert 0.93 < low < 0.95  # the rule of three says 1 - 3/60
    few, _ = score_intervals(probabilities, labels, ["a", "b", "c"] * 20).of["accuracy"]
    assert few < 0.5, "three groups that are right say little about the fourth"


def test_a_class_that_is_absent_has_no_interval() -> None:
    probabilities = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1]] * 5)
    found = score_intervals(probabilities, np.array([0, 1] * 5), None)
    assert set(found.of_classes) == {0, 1}


def test_groups_must_fit_the_images() -> None:
    probabilities, labels = answers(np.ones(4, bool), np.random.default_rng(0))
    with pytest.raises(ValueError, match="3 groups for 4 images"):
        score_intervals(probabilities, labels, ["a", "b", "c"])

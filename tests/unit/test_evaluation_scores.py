"""Scores against counts made by hand and against formulas written out a second time."""

from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from asl_exp.evaluation import one_vs_rest, scores


def answers(n_images: int, n_classes: int, skill: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = random.integers(0, n_classes, n_images)
    logits = random.normal(size=(n_images, n_classes)) + skill * np.eye(n_classes)[labels]
    odds = np.exp(logits)
    return odds / odds.sum(axis=1, keepdims=True), labels


def sure_of(predicted: list[int], n_classes: int, confidence: float = 0.8) -> np.ndarray:
    rest = (1 - confidence) / (n_classes - 1)
    return np.where(np.eye(n_classes, dtype=bool)[predicted], confidence, rest)


def test_accuracy_f1_and_confusion_by_hand() -> None:
    labels, predicted = np.array([0, 0, 1, 1, 2]), [0, 1, 1, 1, 0]
    probabilities = sure_of(predicted, 3)

    assert scores.accuracy(probabilities, labels) == 3 / 5
    assert scores.confusion_matrix(probabilities, labels).tolist() == [
        [1, 1, 0],
        [0, 2, 0],
        [1, 0, 0],
    ]
    # F1: class 0 has 1 hit of 2 + 2, class 1 has 2 of 2 + 3, class 2 has none.
    assert scores.f1_macro(probabilities, labels) == pytest.approx((2 / 4 + 4 / 5 + 0) / 3)


def test_a_class_without_an_image_has_no_part_in_macro_f1() -> None:
    labels, predicted = np.array([0, 0, 1, 1]), [0, 2, 1, 1]  # one image is taken for class 2
    probabilities = sure_of(predicted, 4)

    assert scores.f1_macro(probabilities, labels) == pytest.approx((2 / 3 + 1) / 2)
    by_class = scores.f1_by_class(scores.confusion_matrix(probabilities, labels))
    assert np.isnan(by_class).tolist() == [False, False, True, True]


def test_a_class_never_predicted_has_precision_zero() -> None:
    confusion = scores.confusion_matrix(sure_of([0, 0], 2), np.array([0, 1]))

    assert scores.precision_by_class(confusion).tolist() == [0.5, 0.0]
    assert scores.recall_by_class(confusion).tolist() == [1.0, 0.0]


def test_f1_equals_scikit_learn_over_the_classes_present() -> None:
    probabilities, labels = answers(200, 9)
    labels = np.where(labels == 4, 3, labels)
    expected = f1_score(labels, probabilities.argmax(1), average="macro", labels=np.unique(labels))

    assert scores.f1_macro(probabilities, labels) == pytest.approx(expected)


def test_calibration_error_equals_its_formula() -> None:
    probabilities, labels = answers(500, 5)
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == labels
    expected = 0.0
    for m in range(15):
        inside = (confidence > m / 15) & (confidence <= (m + 1) / 15)
        if inside.any():
            gap = abs(correct[inside].mean() - confidence[inside].mean())
            expected += inside.sum() / 500 * gap

    assert scores.expected_calibration_error(probabilities, labels) == pytest.approx(expected)


def test_calibration_error_by_hand() -> None:
    probabilities = sure_of([0, 0, 0, 0, 0], 3, confidence=0.8)
    labels = np.array([0, 0, 0, 0, 1])
    assert scores.expected_calibration_error(probabilities, labels) == pytest.approx(0.0)
    assert scores.expected_calibration_error(probabilities[:1], labels[:1]) == pytest.approx(0.2)


@pytest.mark.parametrize("confidence", [1.0, 2 / 15 * 5, 0.5])
def test_every_image_is_in_one_bin(confidence: float) -> None:
    bins = scores.reliability(sure_of([0, 1], 3, confidence), np.array([0, 0]))

    assert bins.counts.sum() == 2
    assert bins.counts[round(np.ceil(confidence * 15 - 1e-9)) - 1] == 2


def test_perfect_classifier() -> None:
    probabilities, labels = np.eye(4)[[0, 1, 2, 3, 3]], np.array([0, 1, 2, 3, 3])

    assert scores.accuracy(probabilities, labels) == 1.0
    assert scores.f1_macro(probabilities, labels) == 1.0
    assert scores.expected_calibration_error(probabilities, labels) == 0.0
    assert one_vs_rest.roc(probabilities, labels).macro_area == 1.0
    assert one_vs_rest.precision_recall(probabilities, labels).macro_area == 1.0


def test_areas_equal_scikit_learn() -> None:
    probabilities, labels = answers(300, 6, skill=0.7)
    probabilities = probabilities.round(2)  # ties
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    is_true = np.eye(6)[labels]
    areas = one_vs_rest.roc(probabilities, labels).areas(6)
    precisions = one_vs_rest.precision_recall(probabilities, labels)

    assert areas == pytest.approx(roc_auc_score(is_true, probabilities, average=None))
    expected = average_precision_score(is_true, probabilities, average=None)
    assert precisions.areas(6) == pytest.approx(expected)
    assert precisions.micro is not None
    micro = average_precision_score(is_true, probabilities, average="micro")
    assert precisions.micro.area == pytest.approx(micro)


def test_roc_area_is_the_share_of_pairs_in_the_right_order() -> None:
    probabilities, labels = answers(60, 3, skill=0.5)
    score, is_true = probabilities[:, 1], labels == 1
    pairs = score[is_true][:, None] - score[~is_true][None, :]

    assert one_vs_rest.roc(probabilities, labels).areas(3)[1] == pytest.approx((pairs > 0).mean())


@pytest.mark.parametrize("curves_of", [one_vs_rest.roc, one_vs_rest.precision_recall])
def test_the_macro_curve_encloses_the_mean_area(curves_of) -> None:  # type: ignore[no-untyped-def]
    curves = curves_of(*answers(300, 6, skill=0.7))
    x, y = curves.macro.x, curves.macro.y
    below = float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))

    # The curve is sampled a thousand times, its steps are slanted by as much.
    assert below == pytest.approx(curves.macro.area, abs=0.01)
    assert all(np.all(np.diff(curve.x) >= 0) for curve in curves.classes.values())


def test_a_class_without_images_has_no_curve() -> None:
    probabilities, labels = answers(50, 4)
    labels = np.where(labels == 2, 1, labels)
    areas = one_vs_rest.roc(probabilities, labels).areas(4)

    assert np.isnan(areas).tolist() == [False, False, True, False]


def test_images_of_one_class_have_no_curve() -> None:
    curves = one_vs_rest.roc(sure_of([0, 1], 3), np.array([0, 0]))

    assert curves.classes == {}
    assert curves.macro is None
    assert np.isnan(curves.macro_area)


def test_a_single_image() -> None:
    probabilities, labels = sure_of([1], 3, 0.7), np.array([1])

    assert scores.accuracy(probabilities, labels) == 1.0
    assert scores.f1_macro(probabilities, labels) == 1.0
    assert scores.expected_calibration_error(probabilities, labels) == pytest.approx(0.3)


def test_half_precision_softmax_is_accepted() -> None:
    probabilities, labels = answers(50, 29)
    expected = scores.accuracy(probabilities, labels)

    assert scores.accuracy(probabilities.astype(np.float16), labels) == pytest.approx(expected)


THIRDS = np.full((2, 3), 1 / 3)
REFUSED = [
    *((np.array([[0.5, 0.5], [broken, 0.5]]), [0, 1], "1 of 2 images have probabilities that are")
      for broken in (np.nan, np.inf)),
    (np.array([[0.5, 0.5], [3.0, -2.0]]), [0, 1], "row 1 is no probability distribution"),
    *((np.full(shape, 0.5), np.zeros(n_labels, np.int64), r"probabilities \(.*and labels")
      for shape, n_labels in (((4, 3), 5), ((4,), 4), ((4, 3, 1), 4), ((0, 3), 0), ((4, 0), 4))),
    *((THIRDS, [0, label], f"the first is {label} at row 1; with 3 classes") for label in (-1, 3)),
    (THIRDS, [0.0, 1.0], "labels must be integers, indices of classes; got float64"),
]  # fmt: skip


@pytest.mark.parametrize(("probabilities", "labels", "told"), REFUSED)
def test_what_are_no_answers_is_refused(
    probabilities: np.ndarray, labels: Sequence[float], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        scores.accuracy(probabilities, np.asarray(labels))

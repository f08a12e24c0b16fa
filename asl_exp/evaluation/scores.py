"""What a classifier's probabilities are worth, as numbers.

Owns the scores and reads or writes nothing; one_vs_rest.py has the curves, figures/ draws.
Every function takes probabilities `(N, C)`, rows summing to 1, and labels `(N,)`, indices of
classes from 0, and refuses anything else: a NaN or a logit would give a plausible wrong score.

A class may have no image, as in most external sets. It then has no score of its own and no part
in a macro average; images wrongly given to it still count against their true class.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Probabilities = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.integer[Any]]

N_BINS = 15  # as in Guo et al. 2017
# Softmax in bfloat16 keeps three digits, so its rows miss 1 by up to about this much.
SUM_TOLERANCE = 0.02


@dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy in equal-width bins of confidence, each `(N_BINS,)`.

    Attributes:
        counts: images in the bin.
        confidence: their mean confidence, NaN in an empty bin.
        accuracy: their accuracy, NaN in an empty bin.
    """

    counts: Integers
    confidence: Floats
    accuracy: Floats

    @property
    def error(self) -> float:
        """Expected calibration error, 0 to 1: the mean gap, each bin weighed by its images."""
        gaps = np.abs(self.accuracy - self.confidence)
        return float(np.nansum(gaps * self.counts) / self.counts.sum())


def checked(probabilities: Probabilities, labels: Labels) -> tuple[Floats, Integers]:
    """Return both as float64 and int64.

    Raises:
        ValueError: wrong shapes, no image, a label that is no class, or rows that are not
            probabilities.
    """
    _check_shapes(probabilities, labels)
    _check_labels(labels, probabilities.shape[1])
    _check_probabilities(probabilities)
    return probabilities.astype(np.float64), labels.astype(np.int64)


def predicted_classes(probabilities: Probabilities) -> Integers:
    """Return the most probable class of each image, `(N,)`; of equals, the first."""
    return np.asarray(probabilities.argmax(axis=1), dtype=np.int64)


def accuracy(probabilities: Probabilities, labels: Labels) -> float:
    """Return the share of images whose most probable class is the true one."""
    probabilities, labels = checked(probabilities, labels)
    return float(np.mean(predicted_classes(probabilities) == labels))


def f1_macro(probabilities: Probabilities, labels: Labels) -> float:
    """Return the plain mean of the F1 of every class that has an image."""
    return float(np.nanmean(f1_by_class(confusion_matrix(probabilities, labels))))


def f1_by_class(confusion: Integers) -> Floats:
    """Return 2 TP / (2 TP + FP + FN) of each class, `(C,)`; NaN for a class without an image."""
    images, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    return share(2 * np.diag(confusion), images + predicted, images > 0)


def precision_by_class(confusion: Integers) -> Floats:
    """Return TP / (TP + FP) of each class, `(C,)`; NaN for a class without an image.

    A class that has images and is never predicted gets 0, as in scikit-learn's reports.
    """
    images, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    return share(np.diag(confusion), np.maximum(predicted, 1), images > 0)


def recall_by_class(confusion: Integers) -> Floats:
    """Return TP / (TP + FN) of each class, `(C,)`; NaN for a class without an image."""
    images = confusion.sum(axis=1)
    return share(np.diag(confusion), images, images > 0)


def confusion_matrix(probabilities: Probabilities, labels: Labels) -> Integers:
    """Return counts of images `(C, C)`: the row is the true class, the column the predicted."""
    probabilities, labels = checked(probabilities, labels)
    n_classes = probabilities.shape[1]
    cells = labels * n_classes + predicted_classes(probabilities)
    return np.bincount(cells, minlength=n_classes**2).reshape(n_classes, n_classes)


def reliability(probabilities: Probabilities, labels: Labels) -> Reliability:
    """Return confidence against accuracy in the bins ((m-1)/15, m/15] of the top probability.

    Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, ICML 2017, section 2.
    """
    probabilities, labels = checked(probabilities, labels)
    confidence = probabilities.max(axis=1)
    correct = predicted_classes(probabilities) == labels
    inner_edges = np.linspace(0, 1, N_BINS + 1)[1:-1]
    bins = np.digitize(confidence, inner_edges, right=True)
    counts = np.bincount(bins, minlength=N_BINS)
    return Reliability(
        counts=counts,
        confidence=share(np.bincount(bins, confidence, N_BINS), counts, counts > 0),
        accuracy=share(np.bincount(bins, correct, N_BINS), counts, counts > 0),
    )


def expected_calibration_error(probabilities: Probabilities, labels: Labels) -> float:
    """Return the mean distance between confidence and accuracy, 0 (honest) to 1, in 15 bins."""
    return reliability(probabilities, labels).error


def brier(probabilities: Probabilities, labels: Labels) -> float:
    """Return the mean squared distance to the truth, summed over classes, 0 to 2 (Brier 1950)."""
    probabilities, labels = checked(probabilities, labels)
    return float(np.mean(squared_distances(probabilities, labels)))


def log_loss(probabilities: Probabilities, labels: Labels) -> float:
    """Return the mean negative logarithm of the true class's probability."""
    probabilities, labels = checked(probabilities, labels)
    return float(np.mean(surprises(probabilities, labels)))


def squared_distances(probabilities: Floats, labels: Integers) -> Floats:
    """Return the Brier score of each image, `(N,)`."""
    truth = probabilities[np.arange(len(labels)), labels]
    distances: Floats = (probabilities**2).sum(axis=1) - 2 * truth + 1
    return distances


def surprises(probabilities: Floats, labels: Integers) -> Floats:
    """Return the logarithmic loss of each image, `(N,)`; a probability of 0 counts as 1e-12."""
    truth = probabilities[np.arange(len(labels)), labels]
    losses: Floats = -np.log(np.clip(truth, 1e-12, None))
    return losses


def share(part: npt.ArrayLike, whole: npt.ArrayLike, defined: npt.NDArray[np.bool_]) -> Floats:
    """Return the quotients, NaN where one is not defined."""
    found = np.full(defined.shape, np.nan)
    np.divide(part, whole, out=found, where=defined)
    return found


def _check_shapes(probabilities: Probabilities, labels: Labels) -> None:
    given = f"probabilities {probabilities.shape} and labels {labels.shape}"
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise ValueError(f"{given} do not fit: they must be (N, C) and (N,)")
    if 0 in probabilities.shape:
        raise ValueError(f"{given} hold no image or no class: there is nothing to score")


def _check_labels(labels: Labels, n_classes: int) -> None:
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integers, indices of classes; got {labels.dtype}")
    wrong = np.flatnonzero((labels < 0) | (labels >= n_classes))
    if wrong.size:
        raise ValueError(
            f"{wrong.size} labels are no class: the first is {labels[wrong[0]]} at row {wrong[0]}; "
            f"with {n_classes} classes they go from 0 to {n_classes - 1}"
        )


def _check_probabilities(probabilities: Probabilities) -> None:
    broken = np.flatnonzero(~np.isfinite(probabilities).all(axis=1))
    if broken.size:
        raise ValueError(
            f"{broken.size} of {len(probabilities)} images have probabilities that are NaN or "
            f"infinite, the first at row {broken[0]}: the model's weights or its input are broken"
        )
    sums = probabilities.sum(axis=1, dtype=np.float64)
    wrong = np.flatnonzero((np.abs(sums - 1) > SUM_TOLERANCE) | (probabilities < 0).any(axis=1))
    if wrong.size:
        raise ValueError(
            f"row {wrong[0]} is no probability distribution (sum {sums[wrong[0]]:.4g}, smallest "
            f"value {probabilities[wrong[0]].min():.4g}): logits must go through a softmax first"
        )

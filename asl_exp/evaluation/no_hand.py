"""The answer "no hand": one more column of probabilities, which is never the label of an image.

So an image that is answered with it counts as wrong, in accuracy, F1, tables and figures alike.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from asl_exp.evaluation.scores import Probabilities
from asl_exp.model.recognizer import NO_HAND


def with_no_hand(
    probabilities: Probabilities, classes: Sequence[str], rejected: NDArray[np.bool_] | None
) -> tuple[Probabilities, tuple[str, ...]]:
    """Return probabilities ``(N, C + 1)`` and the names of their columns.

    Rejected images get 2 / (C + 2) for "no hand" and 1 / (C + 2) for each class: nothing is known,
    and nothing is claimed. Where no image is rejected, both are returned as they are.

    Args:
        probabilities: ``(N, C)``.
        classes: C names.
        rejected: ``(N,)``; None where "no hand" is no answer.
    """
    if rejected is None or not rejected.any():
        return probabilities, tuple(classes)
    n_classes = len(classes)
    wider = np.pad(probabilities, ((0, 0), (0, 1)))
    wider[rejected] = 1 / (n_classes + 2)
    wider[rejected, n_classes] = 2 / (n_classes + 2)
    return wider, (*classes, NO_HAND)

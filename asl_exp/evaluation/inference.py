"""Class probabilities of a split's images by a model, on one device; and the answer "no hand".

That is one more column of probabilities, which is never the label of an image: an image that is
answered with it counts as wrong, in accuracy, F1, tables and figures alike.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from asl_exp.data.hands.hand import NO_HAND
from asl_exp.data.letters import Split
from asl_exp.data.loader import BatchLoader, HandRows
from asl_exp.evaluation.scores import Probabilities
from asl_exp.model.classifier import LetterClassifier


@torch.inference_mode()
def probabilities(
    model: LetterClassifier, split: Split, *, batch_size: int, device: torch.device
) -> NDArray[np.float32]:
    """Return ``(N, C)`` for the N images of a split, in its order.

    Evaluation is always in 32 bits and never augmented.
    """
    model.eval().to(device)
    loader = BatchLoader(split, batch_size, shuffle=False, seed=0)
    loader.pin_memory = device.type == "cuda"
    hands = HandRows(split) if model.joints is not None else None
    parts = []
    for images, _, rows in loader:
        beside = hands.of(rows.to(device)) if hands else {}
        scores = model(images.to(device, non_blocking=True).float() / 255.0, **beside)
        parts.append(scores.softmax(1).cpu().numpy())
    return np.concatenate(parts).astype(np.float32)


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

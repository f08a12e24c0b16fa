"""Class probabilities of a split from a network, on one device, each image once and in order."""

import numpy as np
import torch
from numpy.typing import NDArray

from asl_exp.data.dataset import Split
from asl_exp.data.loader import BatchLoader, HandRows
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

"""Joints as a network sees them, in shares of the square round the hand; and what it answers where
there is none.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from asl_exp.config.schema import HandConfig
from asl_exp.data.hands.hand import N_JOINTS, N_LOOKS, Floats, box_round

NO_HAND_CLASS: Final = "nothing"


def answers_without_hand(hand: HandConfig, classes: Sequence[str]) -> bool:
    """Return whether a model answers with a class where no hand was found, instead of "no hand".

    It does where it then sees the whole image, and where one of its classes is "nothing", the
    images without a hand.
    """
    return hand.on_missing == "image" or NO_HAND_CLASS in classes


def n_looks(hand: HandConfig) -> int:
    """Return how many times a network sees each hand: see `Hands.seen`."""
    return N_LOOKS if hand.look_again else 1


def in_squares(joints: Floats, margin: float) -> Floats:
    """Return joints (N, 21 K, 2 or 3) of K looks in shares of the square round each hand.

    They are (N, 21 K, 3) float32, and the square is that of the first look.

    The square is that of `hand.box_round`: what `hand=crop` shows. Depth is in the same unit, NaN
    where there is none; where no hand was found all is NaN.
    """
    shares = np.full((*joints.shape[:2], 3), np.nan, np.float32)
    for row in np.flatnonzero(np.isfinite(joints[:, 0, 0])):
        left, top, right, _ = box_round(joints[row, :N_JOINTS], 0, 0, margin)
        side = right - left
        shares[row, :, :2] = (joints[row, :, :2] - np.array([left, top])) / side
        if joints.shape[2] > 2:
            shares[row, :, 2] = joints[row, :, 2] / side
    return shares

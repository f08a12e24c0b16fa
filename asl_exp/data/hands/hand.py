"""What is known of the hand in an image: its 21 joints, how sure that is, and a square round it.

A detector answers a Hand for one image; Hands are those of many. Which detector that is, how it
looks and where its answers are kept is for the room's other modules.

The joints, as MediaPipe numbers them: 0 the wrist; then four a finger from its root to its tip,
1-4 the thumb, 5-8 the index, 9-12 the middle, 13-16 the ring, 17-20 the little finger.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from asl_exp.config.schema import HandConfig
from asl_exp.data.decode import Pixels

N_JOINTS: Final = 21

FINGERS: Final = tuple(tuple(range(first, first + 4)) for first in (1, 5, 9, 13, 17))
"""The joints of each finger from its root to its tip; the thumb is the first."""

Floats = NDArray[np.float32]

N_LOOKS: Final = 5
"""Of a detector that looks again at the hand that it found, four times."""


@dataclass(frozen=True, eq=False)
class Hand:
    """The hand of one image; where none was found, every number but the image's size is NaN.

    Attributes:
        joints: (21, 3): x and y in pixels of the upright image, y down, which may lie outside it;
            z in the same unit, relative to the wrist, smaller towards the camera. z is NaN where
            the detector has no depth.
        metres: (21, 3) round the hand's centre, the axes of the image; NaN where the detector
            has none.
        confidence: 0..1, that the joints are those of a hand.
        left: 0..1, that it is a left hand, in an image that is not mirrored; NaN where the
            detector does not tell.
        width, height: of the image.
        looks: (K - 1, 21, 3): the joints as the detector saw them in further squares; none where
            it looked once.
    """

    joints: Floats
    metres: Floats
    confidence: float
    left: float
    width: int
    height: int
    looks: Floats = field(default_factory=lambda: np.empty((0, N_JOINTS, 3), np.float32))

    @property
    def found(self) -> bool:
        """Whether there is a hand."""
        return bool(np.isfinite(self.joints[0, 0]))


def no_hand(width: int, height: int, n_looks: int = 1) -> Hand:
    """Return the answer for an image without a hand."""
    nothing = np.full((N_JOINTS, 3), np.nan, np.float32)
    looks = np.full((n_looks - 1, N_JOINTS, 3), np.nan, np.float32)
    return Hand(nothing, nothing, float("nan"), float("nan"), width, height, looks)


@dataclass(frozen=True, eq=False)
class Hands:
    """The hands of N images, in their order; see Hand.

    Attributes:
        joints: (N, 21, 3).
        metres: (N, 21, 3).
        confidence: (N,).
        left: (N,).
        sizes: (N, 2) int32: width and height of the images.
        digest: of the numbers and the detector; "" where they are not stored.
        looks: (N, K - 1, 21, 3); None where the detector looked once.
    """

    joints: Floats
    metres: Floats
    confidence: Floats
    left: Floats
    sizes: NDArray[np.int32]
    digest: str = ""
    looks: Floats | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.joints)

    @property
    def found(self) -> NDArray[np.bool_]:
        """(N,): whether the image shows a hand."""
        return np.isfinite(self.joints[:, 0, 0])

    def take(self, rows: NDArray[np.int64]) -> "Hands":
        """Return the hands of some images."""
        return Hands(
            self.joints[rows],
            self.metres[rows],
            self.confidence[rows],
            self.left[rows],
            self.sizes[rows],
            self.digest,
            None if self.looks is None else self.looks[rows],
        )

    def seen(self, n_looks: int) -> Floats:
        """Return (N, 21 n_looks, 3): the joints, then those of the further looks.

        Where the detector looked once, they are the joints again.
        """
        if self.looks is None or self.looks.shape[1] != n_looks - 1:
            return np.tile(self.joints, (1, n_looks, 1))
        further = self.looks.reshape(len(self), -1, 3)
        return np.concatenate([self.joints, further], axis=1)


def together(hands: Sequence[Hand]) -> Hands:
    """Return many answers as arrays."""
    return Hands(
        joints=np.array([hand.joints for hand in hands], np.float32).reshape(-1, N_JOINTS, 3),
        metres=np.array([hand.metres for hand in hands], np.float32).reshape(-1, N_JOINTS, 3),
        confidence=np.array([hand.confidence for hand in hands], np.float32),
        left=np.array([hand.left for hand in hands], np.float32),
        sizes=np.array([(hand.width, hand.height) for hand in hands], np.int32).reshape(-1, 2),
        looks=np.array([hand.looks for hand in hands], np.float32) if hands else None,
    )


def box_round(
    joints: Floats, width: int, height: int, margin: float
) -> tuple[float, float, float, float]:
    """Return left, top, right, bottom of a square round the joints, never turned.

    Its side is the longer side of the joints' box times 1 + 2 x margin. It may reach beyond the
    image. Where no hand was found it is the whole image, which need not be a square.
    """
    if not np.isfinite(joints[0, 0]):
        return 0.0, 0.0, float(width), float(height)
    low, high = joints[:, :2].min(0), joints[:, :2].max(0)
    half = max(float((high - low).max()), 1.0) * (0.5 + margin)
    x, y = ((low + high) / 2).tolist()
    return x - half, y - half, x + half, y + half


class Detector(Protocol):
    """Finds the hand of an image."""

    def find(self, image: Pixels) -> Hand:
        """Return the hand of an upright (H, W, 3) RGB image."""
        ...


NO_HAND: Final = "no hand"
"""The answer where no hand is found and the model does not guess."""

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

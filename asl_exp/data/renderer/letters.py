"""What each letter looks like: joint angles and how the hand is held, as the receiver sees it.

J and Z are drawn in the air; here each is one still phase of its movement, as in photo collections.
`del` and `space` are the control signs of the Kaggle ASL Alphabet; `nothing` is an empty room.
"""

from dataclasses import dataclass

import numpy as np

from asl_exp.data.renderer.hand import Array, Finger, Thumb, about_x, about_y, about_z

LETTERS: tuple[str, ...] = (*"ABCDEFGHIJKLMNOPQRSTUVWXYZ", "del", "nothing", "space")
NOTHING = "nothing"


@dataclass(frozen=True)
class Pose:
    """Shape of the hand and its attitude (degrees).

    Turned in this order: yaw about the fingers (positive shows the little finger's side), pitch
    tips the fingers to the viewer, roll is anticlockwise in the picture. bend and deviation are the
    wrist's: towards the palm, and of the forearm anticlockwise in the picture.
    """

    thumb: Thumb
    fingers: tuple[Finger, Finger, Finger, Finger]  # index, middle, ring, pinky
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    bend: float = 0.0
    deviation: float = 0.0

    def attitude(self, tilt: float) -> Array:
        """Return how the hand is turned, (3, 3), before a camera that looks up by so much."""
        held = about_x(tilt) @ about_z(self.roll)
        return np.asarray(held @ about_x(self.pitch) @ about_y(self.yaw))


def _straight(abduction: float = 0.0, mcp: float = 0.0) -> Finger:
    return Finger(mcp, 4.0, 3.0, abduction)


def _fist(abduction: float = 0.0) -> Finger:
    return Finger(82.0, 100.0, 60.0, abduction)


_INDEX_IN, _MIDDLE_IN, _RING_IN, _PINKY_IN = _fist(-4), _fist(-1), _fist(3), _fist(9)
_THUMB_OVER_MIDDLE = Thumb(37, 53, -3, 50, 48)
_THUMB_OVER_RING = Thumb(25, 53, 8, 50, 50)
_HOOK = Finger(56, 108, 40)
_ROUND = Finger(55, 56, 34)
_CUPPED = Finger(42, 36, 20)
_INDEX_OVER, _MIDDLE_OVER, _RING_OVER = (Finger(86, 74, 14, side) for side in (-3, -1, 2))

POSES: dict[str, Pose] = {
    "A": Pose(Thumb(33, 16, -6, 30, 8), (_INDEX_IN, _MIDDLE_IN, _RING_IN, _PINKY_IN)),
    "B": Pose(
        Thumb(20, 32, 18, 48, 42), (_straight(-3), _straight(-1), _straight(2), _straight(5))
    ),
    "C": Pose(Thumb(71, 75, -5, 50, -1), (_CUPPED, _CUPPED, _CUPPED, _CUPPED), yaw=50),
    "D": Pose(
        Thumb(28, 69, 30, 48, 4),
        (_straight(), Finger(56, 62, 38), Finger(60, 64, 38), Finger(66, 66, 40)),
        yaw=42,
    ),
    "E": Pose(Thumb(21, 50, 5, 50, 80), (_HOOK, _HOOK, _HOOK, Finger(58, 106, 40))),
    "F": Pose(
        Thumb(53, 67, 19, 50, 28),
        (Finger(50, 70, 45), Finger(14, 16, 10, 2), Finger(8, 14, 9, -6), Finger(4, 10, 7, -14)),
        yaw=22,
    ),
    "G": Pose(
        Thumb(30, 43, 20, 50, 14),
        (_straight(), _MIDDLE_IN, _RING_IN, _PINKY_IN),
        roll=64,
        deviation=-25,
    ),
    "H": Pose(
        Thumb(32, 51, 5, 50, 49),
        (_straight(-3), _straight(1), _RING_IN, _PINKY_IN),
        roll=64,
        deviation=-25,
    ),
    "I": Pose(Thumb(43, 52, -6, 50, 51), (_INDEX_IN, _MIDDLE_IN, _RING_IN, _straight(-6))),
    "J": Pose(
        Thumb(43, 52, -6, 50, 51),
        (_INDEX_IN, _MIDDLE_IN, _RING_IN, _straight(-14)),
        roll=38,
        deviation=-25,
    ),
    "K": Pose(Thumb(21, 30, 30, 46, 5), (_straight(7), Finger(28, 5, 3, -9), _RING_IN, _PINKY_IN)),
    "L": Pose(Thumb(48, 14, 8, -12, -14), (_straight(), _MIDDLE_IN, _RING_IN, _PINKY_IN)),
    "M": Pose(
        Thumb(-10, 50, 37, 50, 58), (_INDEX_OVER, _MIDDLE_OVER, _RING_OVER, _PINKY_IN), pitch=12
    ),
    "N": Pose(
        Thumb(20, 42, 12, 50, 67), (_INDEX_OVER, _MIDDLE_OVER, _RING_IN, _PINKY_IN), pitch=12
    ),
    "O": Pose(
        Thumb(20, 73, 56, 50, -4), (_ROUND, _ROUND, Finger(58, 58, 35), Finger(64, 60, 38)), yaw=55
    ),
    "P": Pose(
        Thumb(21, 30, 30, 46, 5),
        (_straight(4), Finger(62, 5, 3, -5), _RING_IN, _PINKY_IN),
        yaw=-70,
        roll=85,
        bend=35,
    ),
    "Q": Pose(
        Thumb(57, 61, 5, 40, 4),
        (Finger(40, 8, 4), _MIDDLE_IN, _RING_IN, _PINKY_IN),
        yaw=-70,
        roll=110,
        bend=40,
    ),
    "R": Pose(Thumb(25, 53, 8, 50, 50), (_straight(-11, 14), _straight(12), _RING_IN, _PINKY_IN)),
    "S": Pose(Thumb(30, 53, -1, 50, 42), (_INDEX_IN, _MIDDLE_IN, _RING_IN, _PINKY_IN)),
    "T": Pose(Thumb(18, 25, 16, 32, 4), (Finger(60, 100, 50, 10), _fist(-4), _RING_IN, _PINKY_IN)),
    "U": Pose(_THUMB_OVER_RING, (_straight(-3), _straight(2), _RING_IN, _PINKY_IN)),
    "V": Pose(_THUMB_OVER_RING, (_straight(11), _straight(-10), _RING_IN, _PINKY_IN)),
    "W": Pose(Thumb(1, 57, 25, 50, 51), (_straight(13), _straight(0), _straight(-13), _PINKY_IN)),
    "X": Pose(_THUMB_OVER_MIDDLE, (Finger(8, 82, 42), _MIDDLE_IN, _RING_IN, _PINKY_IN), yaw=22),
    "Y": Pose(Thumb(42, 14, 0, -8, -12), (_INDEX_IN, _MIDDLE_IN, _RING_IN, _straight(-28))),
    "Z": Pose(
        _THUMB_OVER_MIDDLE, (_straight(), _MIDDLE_IN, _RING_IN, _PINKY_IN), roll=-35, deviation=20
    ),
    "del": Pose(Thumb(15, 28, 25, 18, 10), (Finger(35, 10, 5),) * 4, yaw=-75, roll=120, bend=72),
    "space": Pose(
        Thumb(75, 70, -5, 30, -5), (Finger(35, 26, 16),) * 4, yaw=55, roll=65, deviation=-20
    ),
}

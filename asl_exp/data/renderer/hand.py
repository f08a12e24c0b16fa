"""The jointed hand: 21 named joints, the lengths between them, and where angles put them.

Hand space is a right hand held up with its palm to the viewer, in centimetres, wrist at the origin:
x points to the thumb's side, y along the straight fingers, z out of the palm. A left hand is
its mirror image, made after posing (flesh.mirrored). Angles are in degrees.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

FINGERS: tuple[str, ...] = ("index", "middle", "ring", "pinky")
JOINTS: tuple[str, ...] = (
    "wrist",
    "thumb_cmc", "thumb_mcp", "thumb_ip", "thumb_tip",
    "index_mcp", "index_pip", "index_dip", "index_tip",
    "middle_mcp", "middle_pip", "middle_dip", "middle_tip",
    "ring_mcp", "ring_pip", "ring_dip", "ring_tip",
    "pinky_mcp", "pinky_pip", "pinky_dip", "pinky_tip",
)  # fmt: skip


@dataclass(frozen=True)
class Finger:
    """Flexion of three joints (positive into the palm) and abduction (positive to the thumb)."""

    mcp: float = 0.0
    pip: float = 0.0
    dip: float = 0.0
    abduction: float = 0.0


@dataclass(frozen=True)
class Thumb:
    """The thumb's five freedoms.

    Spread leaves the index finger within the palm's plane, lift leaves that plane, pronation turns
    the thumb about its own length until the pad faces the palm; mcp and ip are flexions.
    """

    spread: float
    lift: float
    pronation: float
    mcp: float = 0.0
    ip: float = 0.0


@dataclass(frozen=True)
class Bones:
    """Places and lengths of one person's bones and half the thickness of the flesh on them (cm)."""

    knuckles: Array  # (4, 3) index..pinky
    thumb_base: Array  # (3,)
    thumb: Array  # (3,) metacarpal, proximal, distal
    phalanges: Array  # (4, 3) proximal, middle, distal
    thumb_radius: Array  # (4,) at cmc, mcp, ip, tip
    finger_radius: Array  # (4, 4) at mcp, pip, dip, tip
    palm_radius: float
    wrist_radius: float


@dataclass(frozen=True)
class Skeleton:
    """Joints of a posed hand and, for each, the direction its pad side faces."""

    joints: Array  # (21, 3), rows as JOINTS
    pads: Array  # (21, 3) unit vectors; a phalanx is looked up by the joint at its far end

    def rotated(self, rotation: Array) -> "Skeleton":
        """The same hand turned about its wrist by a (3, 3) rotation."""
        return Skeleton(self.joints @ rotation.T, self.pads @ rotation.T)


def adult_bones() -> Bones:
    """An average adult hand: about 19 cm from wrist crease to middle fingertip."""
    return Bones(
        knuckles=np.array(
            [[2.55, 8.9, 0.0], [0.5, 9.2, -0.15], [-1.45, 8.7, -0.1], [-3.15, 7.7, 0.2]]
        ),
        thumb_base=np.array([2.1, 1.9, 0.9]),
        thumb=np.array([4.5, 3.3, 2.5]),
        phalanges=np.array([[4.4, 2.6, 1.9], [4.9, 3.0, 2.0], [4.5, 2.8, 2.0], [3.5, 2.1, 1.8]]),
        thumb_radius=np.array([1.6, 1.35, 1.07, 0.87]),
        finger_radius=np.array(
            [
                [1.04, 0.95, 0.83, 0.68],
                [1.04, 0.97, 0.85, 0.70],
                [1.01, 0.92, 0.81, 0.66],
                [0.94, 0.82, 0.72, 0.58],
            ]
        ),
        palm_radius=1.25,
        wrist_radius=2.2,
    )


def about_x(degrees: float) -> Array:
    """Rotation that brings y towards z."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def about_y(degrees: float) -> Array:
    """Rotation that brings z towards x."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def about_z(degrees: float) -> Array:
    """Rotation that brings x towards y: anticlockwise for the viewer."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def articulate(
    bones: Bones, thumb: Thumb, fingers: tuple[Finger, Finger, Finger, Finger]
) -> Skeleton:
    """Put every joint where the angles say, from the wrist outwards."""
    joints = np.zeros((21, 3))
    pads = np.tile(np.array([0.0, 0.0, 1.0]), (21, 1))
    joints[1] = bones.thumb_base
    frame = about_z(-thumb.spread) @ about_x(thumb.lift) @ about_y(-thumb.pronation)
    for step, flexion in enumerate((0.0, thumb.mcp, thumb.ip)):
        frame = frame @ about_z(flexion)
        joints[2 + step] = joints[1 + step] + bones.thumb[step] * frame[:, 1]
        pads[2 + step] = -frame[:, 0]
    pads[1] = pads[2]
    for number, finger in enumerate(fingers):
        first = 5 + 4 * number
        joints[first] = bones.knuckles[number]
        frame = about_z(-finger.abduction)
        for step, flexion in enumerate((finger.mcp, finger.pip, finger.dip)):
            frame = frame @ about_x(flexion)
            joints[first + 1 + step] = (
                joints[first + step] + bones.phalanges[number, step] * frame[:, 1]
            )
            pads[first + 1 + step] = frame[:, 2]
    return Skeleton(joints, pads)

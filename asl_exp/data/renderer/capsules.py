"""The capsules of a posed hand, its forearm and its sleeve: rounded cones with skin or cloth.

A rounded cone is what a sphere sweeps that moves from one point to another and changes its radius.
Neighbouring cones of the palm melt into each other (`blend`); fingers keep sharp borders, because
the line between two fingers is what tells M from N.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from asl_exp.data.renderer.hand import Array, Bones, Skeleton, about_x, about_z

SKIN, NAILED, CLOTH = 0, 1, 2
_PALM_BLEND_CM = 0.9
_WEB_BLEND_CM = 0.3
_FINGER_BLEND_CM = 0.06


@dataclass(frozen=True)
class Cone:
    """A rounded cone in hand space (cm)."""

    start: Array  # (3,)
    end: Array  # (3,)
    start_radius: float
    end_radius: float
    pad: Array  # (3,) unit vector to the palm side
    blend: float  # difference in depth over which it melts into what it overlaps
    kind: int = SKIN  # NAILED: the last bone of a finger
    creased: bool = False  # a fold of skin on the palm side at its start


@dataclass(frozen=True)
class Solids:
    """Cones, a row each in what Cone says of one: in hand space (cm) or in a picture (pixels)."""

    start: Array  # (K, 3)
    end: Array  # (K, 3)
    start_radius: Array  # (K,)
    end_radius: Array  # (K,)
    pad: Array  # (K, 3)
    blend: Array  # (K,)
    kind: npt.NDArray[np.int_]  # (K,)
    creased: npt.NDArray[np.bool_]  # (K,)

    def mirrored(self) -> "Solids":
        """The same as a left hand: x turned round."""
        flip = np.array([-1.0, 1.0, 1.0])
        return replace(self, start=self.start * flip, end=self.end * flip, pad=self.pad * flip)


def solids_of(skeleton: Skeleton, bones: Bones, arm: Array, sleeve_cm: float | None) -> Solids:
    """All solids of a hand: forearm, sleeve, palm, fingers.

    arm is the (3, 3) frame of the forearm, its second column pointing to the hand; sleeve_cm is
    where cloth begins below the wrist, None for a bare arm.
    """
    cones = [
        *_forearm(skeleton, bones, arm, sleeve_cm),
        *_palm(skeleton, bones),
        *_digits(skeleton, bones),
    ]
    columns = {field.name: [getattr(cone, field.name) for cone in cones] for field in fields(Cone)}
    return Solids(**{name: np.array(column) for name, column in columns.items()})


def forearm_frame(hand: Array, bend: float, deviation: float) -> Array:
    """Frame of the forearm, the hand being bent towards its palm and deviating to the thumb."""
    return hand @ about_z(deviation) @ about_x(-bend)


def _forearm(
    skeleton: Skeleton, bones: Bones, arm: Array, sleeve_cm: float | None
) -> Iterator[Cone]:
    wrist, along, across, pad = skeleton.joints[0], -arm[:, 1], arm[:, 0], arm[:, 2]
    radius = bones.wrist_radius
    for side in (-1.0, 1.0):
        start = wrist + across * side * 0.42 * radius + along * -0.7
        end = wrist + across * side * 0.6 * radius + along * 32.0
        yield Cone(start, end, 0.78 * radius, 1.45 * radius, pad, _PALM_BLEND_CM)
    if sleeve_cm is not None:
        for side in (-1.0, 1.0):
            start = wrist + across * side * 0.65 * radius + along * (sleeve_cm + radius)
            end = wrist + across * side * 0.9 * radius + along * 34.0
            yield Cone(start, end, 1.15 * radius, 1.75 * radius, pad, _WEB_BLEND_CM, CLOTH)


def _palm(skeleton: Skeleton, bones: Bones) -> Iterator[Cone]:
    joints, radius = skeleton.joints, bones.palm_radius
    wrist = joints[0]
    palm_pad = skeleton.pads[0]
    knuckles = joints[[5, 9, 13, 17]]
    middle = knuckles[1:3].mean(axis=0)
    for number, knuckle in enumerate(knuckles):
        base = wrist + 0.2 * (knuckle - wrist) + 0.3 * (knuckle - middle)
        end_radius = 1.05 * bones.finger_radius[number, 0]
        yield Cone(base, knuckle, 0.95 * radius, end_radius, palm_pad, _PALM_BLEND_CM)
    # Skin between the fingers reaches well beyond the knuckles on the palm's side.
    proximal = joints[[6, 10, 14, 18]] - knuckles
    for left in range(3):
        between = knuckles[left : left + 2].mean(axis=0)
        edge = between + 0.24 * proximal[left : left + 2].mean(axis=0)
        start = wrist + 0.4 * (between - wrist)
        yield Cone(start, edge, 0.9 * radius, 0.58 * radius, palm_pad, _PALM_BLEND_CM)
    # The ball on the little finger's side, and the muscle between thumb and index finger.
    edge_side = 0.4 * (knuckles[3] - middle)
    rim = [
        wrist + part * (knuckles[3] - wrist) + out * edge_side + up * palm_pad
        for part, out, up in ((0.0, 0.55, 0.0), (0.4, 0.75, 0.3), (0.8, 0.2, 0.2))
    ]
    yield Cone(rim[0], rim[1], 1.0 * radius, 1.08 * radius, palm_pad, _PALM_BLEND_CM)
    yield Cone(rim[1], rim[2], 1.08 * radius, 0.95 * radius, palm_pad, _PALM_BLEND_CM)
    web = joints[1] + 0.72 * (joints[2] - joints[1])
    root = wrist + 0.62 * (knuckles[0] - wrist)
    yield Cone(web, root, 0.75 * radius, 0.85 * radius, palm_pad, _PALM_BLEND_CM)
    yield Cone(joints[1], root, 1.0 * radius, 0.85 * radius, palm_pad, _PALM_BLEND_CM)
    yield Cone(wrist, joints[1], 1.05 * radius, 1.1 * radius, palm_pad, _PALM_BLEND_CM)


def _digits(skeleton: Skeleton, bones: Bones) -> Iterator[Cone]:
    for first, radii in zip(
        (1, 5, 9, 13, 17), (bones.thumb_radius, *bones.finger_radius), strict=True
    ):
        for step in range(3):
            near, far = first + step, first + step + 1
            metacarpal = first == 1 and step == 0
            yield Cone(
                skeleton.joints[near], skeleton.joints[far], radii[step], radii[step + 1],
                skeleton.pads[far], _PALM_BLEND_CM if metacarpal else _FINGER_BLEND_CM,
                NAILED if step == 2 else SKIN, creased=not metacarpal,
            )  # fmt: skip

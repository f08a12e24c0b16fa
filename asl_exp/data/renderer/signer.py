"""What stays the same for one signer: bones, flesh, skin, sleeve, handedness, habits."""

from dataclasses import dataclass, replace

import numpy as np

from asl_exp.data.renderer.hand import Array, Bones, adult_bones
from asl_exp.data.renderer.identity import Shot, stream

# Linear RGB reflectance from very light to very dark skin, by eye: back of the hand, and palm,
# which varies less.
_BACK = np.array(
    [
        [0.82, 0.58, 0.47],
        [0.70, 0.44, 0.31],
        [0.53, 0.30, 0.18],
        [0.32, 0.16, 0.085],
        [0.16, 0.075, 0.042],
        [0.075, 0.036, 0.024],
    ]
)
_PALM = np.array(
    [
        [0.86, 0.58, 0.49],
        [0.77, 0.48, 0.37],
        [0.64, 0.38, 0.26],
        [0.48, 0.27, 0.18],
        [0.36, 0.19, 0.125],
        [0.26, 0.135, 0.09],
    ]
)
_GOLDEN = 0.6180339887
# Spread of habits (degrees): four angles a finger, four of the thumb, then yaw, pitch, roll and
# deviation.
_HABITS = np.array([2.5] * 20 + [8.0, 5.0, 8.0, 6.0])


@dataclass(frozen=True)
class Person:
    """One signer."""

    bones: Bones
    back: Array  # (3,) linear RGB reflectance of the back of the hand
    palm: Array  # (3,) the same of the palm
    gloss: float  # share of the lamp's light that the skin mirrors
    left_handed: bool  # or the camera mirrors, as many webcams do
    sleeve_cm: float | None  # where the sleeve begins below the wrist
    sleeve: Array  # (3,) linear RGB
    habits: Array  # (24,) degrees added to joint angles and attitude


def person_of(shot: Shot) -> Person:
    """The signer of a shot."""
    shared = stream(shot.seed, shot.external, "people")
    rng = stream(shot.seed, shot.external, "person", shot.signer)
    # Steps by the golden ratio spread few signers evenly over the range of skin tones.
    tone = (shared.uniform() + shot.signer * _GOLDEN) % 1.0
    undertone = 1 + np.array([0.04, 0.0, -0.06]) * rng.normal()
    return Person(
        bones=grown(rng),
        back=_shade(_BACK, tone) * undertone,
        palm=_shade(_PALM, tone) * undertone,
        gloss=rng.uniform(0.02, 0.12),
        left_handed=bool(rng.uniform() < 0.35),
        sleeve_cm=None if rng.uniform() < 0.5 else rng.uniform(1.0, 9.0),
        sleeve=rng.uniform(0.02, 0.9) * rng.uniform(0.35, 1.0, 3),
        habits=rng.normal(0.0, 1.0, 24) * _HABITS,
    )


def _shade(anchors: Array, tone: float) -> Array:
    position = tone * (len(anchors) - 1)
    return np.array(
        [np.interp(position, np.arange(len(anchors)), anchors[:, channel]) for channel in range(3)]
    )


def grown(rng: np.random.Generator) -> Bones:
    """An adult's bones with this person's proportions."""
    bones = adult_bones()
    length, width, flesh = rng.uniform(0.92, 1.1), rng.uniform(0.92, 1.08), rng.uniform(0.86, 1.12)
    each = length * rng.uniform(0.96, 1.04, (4, 1))
    # Fingers may not be thicker than the knuckles are apart, or neighbours grow into each other.
    finger = min(flesh, 1.06 * width)
    return replace(
        bones,
        knuckles=bones.knuckles * np.array([width, 1.0, 1.0]),
        thumb_base=bones.thumb_base * np.array([width, 1.0, 1.0]),
        thumb=bones.thumb * rng.uniform(0.95, 1.05),
        phalanges=bones.phalanges * each,
        thumb_radius=bones.thumb_radius * finger,
        finger_radius=bones.finger_radius * finger,
        palm_radius=bones.palm_radius * rng.uniform(0.92, 1.1),
        wrist_radius=bones.wrist_radius * rng.uniform(0.85, 1.12) * width,
    )

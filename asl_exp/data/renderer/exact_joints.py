"""Joints of drawn hands, known exactly: many signers, each with a style of each letter, no pixels.

What a joint detector would find of the embedded source's people in ideal pictures, in the order and
the axes of hands/hand.py, made some thousand times faster than a picture. They show a network more
signers than any collection of photos has.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from asl_exp.data.renderer.hand import Array, Bones, Skeleton, articulate
from asl_exp.data.renderer.identity import stream
from asl_exp.data.renderer.letters import LETTERS, NOTHING, Pose
from asl_exp.data.renderer.signer import grown
from asl_exp.data.renderer.styles import Spread, in_a_style, varied

_BETWEEN_PEOPLE: Final = Spread()
_WITHIN_A_PERSON: Final = 0.5
"""A person's letters differ from time to time by this share of what people differ by."""

_LEFT_HANDED: Final = 0.35
"""Or the camera mirrors, as many webcams do."""


@dataclass(frozen=True, eq=False)
class ExactJoints:
    """N drawn hands.

    Attributes:
        joints: (N, 21, 3) float32 in centimetres round the wrist: x to the right, y down, z
            away from the camera, as a camera at 35 to 90 cm projects them.
        signers: (N,) from 1.
    """

    joints: NDArray[np.float32]
    labels: list[str]
    signers: NDArray[np.int64]


def exact_joints(classes: Sequence[str], n_signers: int, seed: int) -> ExactJoints:
    """Return one hand of each class from each signer; none of the class ``nothing``.

    A signer's hands are the same whatever other classes and however many signers are asked for.
    """
    unknown = [letter for letter in classes if letter not in LETTERS]
    if unknown or n_signers < 1 or seed < 0:
        raise ValueError(
            f"classes is {list(classes)!r}, n_signers {n_signers}, seed {seed}; allowed are "
            f"{', '.join(LETTERS)}, 1 or more, and 0 or more"
        )
    shown = [letter for letter in classes if letter != NOTHING]
    drawn = [
        (_drawn(letter, signer, seed), letter, signer)
        for signer in range(1, n_signers + 1)
        for letter in shown
    ]
    return ExactJoints(
        joints=np.array([hand for hand, _, _ in drawn], np.float32).reshape(-1, 21, 3),
        labels=[letter for _, letter, _ in drawn],
        signers=np.array([signer for _, _, signer in drawn], np.int64),
    )


@dataclass(frozen=True, eq=False)
class SignersHand:
    """How one drawn signer shows one letter.

    Attributes:
        bones: of the signer, and where a detector sees knuckles and thumb of them.
        pose: in the signer's style of the letter.
        attitude: (3, 3): how the hand is turned before the camera.
        distance_cm: of the camera.
        mirrored: whether the left hand shows it, or the camera mirrors.
    """

    bones: Bones
    pose: Pose
    attitude: Array
    distance_cm: float
    mirrored: bool

    @property
    def skeleton(self) -> Skeleton:
        """The hand in space, in centimetres; not yet mirrored."""
        return articulate(self.bones, self.pose.thumb, self.pose.fingers).rotated(self.attitude)


def signers_hand(letter: str, signer: int, seed: int) -> SignersHand:
    """Return how a signer (from 1) shows a letter."""
    rng = stream(seed, False, "exact joints", signer)
    bones, tilt, distance_cm = _bones(rng), 8.0 * rng.normal(), rng.uniform(35.0, 90.0)
    mirrored = bool(rng.uniform() < _LEFT_HANDED)
    own = stream(seed, False, "style", signer, LETTERS.index(letter))
    pose = varied(in_a_style(letter, own), _BETWEEN_PEOPLE, own)
    pose = varied(pose, _BETWEEN_PEOPLE.times(_WITHIN_A_PERSON), own)
    return SignersHand(bones, pose, pose.attitude(tilt), distance_cm, mirrored)


def _drawn(letter: str, signer: int, seed: int) -> Array:
    hand = signers_hand(letter, signer, seed)
    joints = hand.skeleton.joints
    nearer = hand.distance_cm / np.maximum(hand.distance_cm - joints[:, 2:], 5.0)
    return np.asarray(joints * nearer * np.array([-1.0 if hand.mirrored else 1.0, -1.0, -1.0]))


def _bones(rng: np.random.Generator) -> Bones:
    """A person's bones, and where a detector sees knuckles and thumb of them."""
    bones = grown(rng)
    return replace(
        bones,
        knuckles=bones.knuckles * rng.normal(1.0, 0.04, (4, 1)),
        thumb=bones.thumb * rng.normal(1.0, 0.05, 3),
        thumb_base=bones.thumb_base * rng.uniform(0.7, 1.1),
    )

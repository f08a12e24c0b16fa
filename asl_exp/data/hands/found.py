"""The hands of an experiment's images: found by the detector that its configuration names, or true.

The true joints of the embedded signer's hands are what a detector would answer that never errs.
They follow the same random numbers as renderer/drawing.py does, up to where the hand is placed; a
test compares the two.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256

import numpy as np

from asl_exp.config.conf_folder import home_expanded
from asl_exp.config.errors import DataError
from asl_exp.config.rules import EXACT_ALONE
from asl_exp.config.schema import DataConfig, HandConfig
from asl_exp.data.hands.hand import Hand, Hands, no_hand, together
from asl_exp.data.hands.hand_store import HandStore, hand_source
from asl_exp.data.manifest import Manifest
from asl_exp.data.renderer import Shot
from asl_exp.data.renderer.hand import articulate
from asl_exp.data.renderer.identity import image_stream
from asl_exp.data.renderer.letters import NOTHING, POSES
from asl_exp.data.renderer.session import framing_of, loosened, session_of, view_of
from asl_exp.data.renderer.signer import person_of
from asl_exp.data.sources.listing import is_file_key
from asl_exp.data.sources.synthetic import PREFIX


def hands_of(
    manifest: Manifest, hand: HandConfig, data: DataConfig
) -> tuple[Hands, Mapping[int, str]]:
    """Return the hands of a manifest's images; looks for those that are not stored yet.

    Returns:
        The hands, and row to reason of images that turned out to be unreadable.

    Raises:
        DataError: the detector cannot be had, or there is no room for what it finds.
    """
    paths = manifest.table["path"].tolist()
    if hand.detector == "exact":
        if any(is_file_key(path) for path in paths):  # a table among data.external was of photos
            raise DataError(EXACT_ALONE)
        return rendered_hands(paths), {}
    store = HandStore(
        home_expanded(data.cache_dir) / "hands",
        paths,
        manifest.table["sha256"].tolist(),
        hand_source(hand, data.cache_dir),
    )
    hands = store.open(data)
    unreadable = np.flatnonzero(hands.sizes[:, 0] == 0)
    return hands, dict.fromkeys(unreadable.tolist(), "cannot be decoded")


def detector_digest(hand: HandConfig, cache_dir: str) -> str:
    """Return what joints depend on beside the image; "" where no hand is looked for."""
    if hand.mode == "none":
        return ""
    return "exact" if hand.detector == "exact" else hand_source(hand, cache_dir).digest


SIDE = 320
"""Of the image that the joints are in, in pixels; it is a square."""


def rendered_hands(paths: Sequence[str]) -> Hands:
    """Return the hands of images of the embedded signer, in their order."""
    hands = together([_hand(Shot.from_key(path.removeprefix(PREFIX))) for path in paths])
    return replace(hands, digest=sha256(hands.joints.tobytes()).hexdigest())


def _hand(shot: Shot) -> Hand:
    if shot.letter == NOTHING:
        return no_hand(SIDE, SIDE)
    rng, person, session = image_stream(shot), person_of(shot), session_of(shot)
    pose = loosened(POSES[shot.letter], person, rng)
    attitude = pose.attitude(session.tilt)
    joints = articulate(person.bones, pose.thumb, pose.fingers).rotated(attitude).joints
    if person.left_handed:
        joints = joints * np.array([-1.0, 1.0, 1.0])
    pixels, _ = view_of(joints, framing_of(session, rng), SIDE).placed(joints)
    pixels[:, 2] = pixels[0, 2] - pixels[:, 2]  # smaller towards the camera
    metres = (joints - joints.mean(0)) * np.array([1.0, -1.0, -1.0]) / 100
    left = 1.0 if person.left_handed else 0.0
    return Hand(pixels.astype(np.float32), metres.astype(np.float32), 1.0, left, SIDE, SIDE)

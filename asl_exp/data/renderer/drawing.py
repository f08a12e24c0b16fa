"""Draws one image: pose the hand, light it, put it before its room, and take the picture.

The camera is a webcam: focus and motion blur, exposure, colour cast, noise, JPEG.
"""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from asl_exp.data.renderer.background import background
from asl_exp.data.renderer.capsules import forearm_frame, solids_of
from asl_exp.data.renderer.exact_joints import signers_hand
from asl_exp.data.renderer.hand import Array, Bones, Skeleton, articulate
from asl_exp.data.renderer.identity import Shot, image_stream
from asl_exp.data.renderer.letters import NOTHING, POSES
from asl_exp.data.renderer.raster import Plane, rasterise
from asl_exp.data.renderer.session import (
    Framing,
    framing_of,
    loosened,
    project,
    session_of,
    view_of,
)
from asl_exp.data.renderer.shading import coloured, illuminate
from asl_exp.data.renderer.signer import person_of

SMALLEST, LARGEST = 16, 1024  # pixels
_SUPERSAMPLING = 2  # colour.coloured reduces by this much


def draw(shot: Shot, size: int) -> npt.NDArray[np.uint8]:
    """The image of a shot, (size, size, 3) RGB. The same bytes again on the same machine."""
    if not SMALLEST <= size <= LARGEST:
        raise ValueError(f"size is {size!r}; allowed is {SMALLEST} to {LARGEST} pixels")
    rng = image_stream(shot)
    picture: Plane = background(shot, size)
    if shot.letter != NOTHING:
        colour, alpha = _hand(shot, size, rng, surroundings=picture.mean(axis=(0, 1)))
        picture = picture * (1 - alpha[..., None]) + colour
    return develop(picture, rng)


def draw_signer(letter: str, signer: int, seed: int, size: int) -> npt.NDArray[np.uint8]:
    """Draw a letter as a signer of exact_joints shows it, in a room of its own; as `draw` does.

    Every fourth signer is against the light, before a cluttered room.
    """
    shot = Shot(letter, signer, session=1, index=1, external=signer % 4 == 0, seed=seed)
    hand = signers_hand(letter, signer, seed)
    rng, session = image_stream(shot), session_of(shot)
    picture: Plane = background(shot, size)
    bend = hand.pose.bend + rng.normal(0.0, 8.0)
    arm = forearm_frame(hand.attitude, bend, hand.pose.deviation)
    framing = framing_of(session, rng)
    framing = Framing(
        centre_x=0.5 + (framing.centre_x - 0.5) * 0.5,
        centre_y=0.5 + (framing.centre_y - 0.5) * 0.5,
        scale=min(1.0, max(0.55, framing.scale)),
        distance_cm=hand.distance_cm,
    )
    held = _Held(hand.skeleton, hand.bones, arm, hand.mirrored)
    colour, alpha = _pictured(held, shot, framing, size, picture.mean(axis=(0, 1)))
    return develop(picture * (1 - alpha[..., None]) + colour, rng)


@dataclass(frozen=True, eq=False)
class _Held:
    """A hand in space before it is seen; mirrored where the left hand shows it."""

    skeleton: Skeleton
    bones: Bones
    arm: Array
    mirrored: bool


def _hand(
    shot: Shot, size: int, rng: np.random.Generator, surroundings: Plane
) -> tuple[Plane, Plane]:
    """Colour (size, size, 3), premultiplied by alpha (size, size)."""
    person, session = person_of(shot), session_of(shot)
    pose = loosened(POSES[shot.letter], person, rng)
    attitude = pose.attitude(session.tilt)
    skeleton = articulate(person.bones, pose.thumb, pose.fingers).rotated(attitude)
    arm = forearm_frame(attitude, pose.bend, pose.deviation)
    held = _Held(skeleton, person.bones, arm, person.left_handed)
    return _pictured(held, shot, framing_of(session, rng), size, surroundings)


def _pictured(
    held: _Held, shot: Shot, framing: Framing, size: int, surroundings: Plane
) -> tuple[Plane, Plane]:
    """Colour (size, size, 3), premultiplied by alpha (size, size), of a shot's person and light."""
    person, light = person_of(shot), session_of(shot).light
    solids = solids_of(held.skeleton, held.bones, held.arm, person.sleeve_cm)
    joints = held.skeleton.joints
    if held.mirrored:
        solids, joints = solids.mirrored(), joints * np.array([-1.0, 1.0, 1.0])
    fine = _SUPERSAMPLING * size
    view = view_of(joints, framing, fine)
    surface = rasterise(project(solids, view), fine)
    lit = illuminate(surface, light, view.pixels_per_cm)
    return coloured(surface, lit, person, light, surroundings)


Picture = npt.NDArray[np.floating[Any]]  # (H, W, 3) sRGB in 0..1; float32 in practice
Bytes = npt.NDArray[np.uint8]  # (H, W, 3)

_MOVED = 1 / 7  # share of pictures in which the hand, or the camera, moved


def develop(picture: Picture, rng: np.random.Generator) -> Bytes:
    """The bytes that a webcam would have delivered for a scene."""
    size = picture.shape[0]
    gain = rng.uniform(0.85, 1.12) * (1 + rng.normal(0.0, 0.03, 3))
    soft = _blurred(_quantised(picture * gain.astype(np.float32)), rng)
    grain = rng.standard_normal(picture.shape, dtype=np.float32)
    grain *= np.float32(rng.uniform(0.5, 6.0) * min(1.0, size / 100))
    return _through_jpeg(_quantised((soft + grain) / 255), quality=int(rng.integers(60, 96)))


def _quantised(picture: Picture) -> Bytes:
    rounded: Bytes = np.clip(picture * 255 + np.float32(0.5), 0, 255).astype(np.uint8)
    return rounded


def _blurred(pixels: Bytes, rng: np.random.Generator) -> Bytes:
    """Every lens is a little soft, and some pictures are moved."""
    size = pixels.shape[0]
    radius = rng.uniform(0.2, 0.9) * size / 100
    width = round(rng.uniform(0.02, 0.05) * size)
    axis = int(rng.integers(0, 2))
    if rng.uniform() < _MOVED and width > 1:
        from scipy.ndimage import uniform_filter1d  # 0.1 s, where hands are drawn alone

        moved: Bytes = uniform_filter1d(pixels, width, axis=axis)
        pixels = moved
    soft: Bytes = np.array(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))
    return soft


def _through_jpeg(pixels: Bytes, quality: int) -> Bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer, formats=("JPEG",)) as image:
        return np.array(image.convert("RGB"))

"""Draws one image: pose the hand, light it, put it before its room, and take the picture."""

import numpy as np
import numpy.typing as npt

from asl_exp.data.renderer.background import background
from asl_exp.data.renderer.camera import project, view_of
from asl_exp.data.renderer.capsules import forearm_frame, solids_of
from asl_exp.data.renderer.hand import about_x, about_y, about_z, articulate
from asl_exp.data.renderer.identity import Shot, image_stream
from asl_exp.data.renderer.letters import NOTHING, POSES
from asl_exp.data.renderer.raster import Plane, rasterise
from asl_exp.data.renderer.sensor import develop
from asl_exp.data.renderer.session import framing_of, loosened, session_of
from asl_exp.data.renderer.shading import coloured, illuminate
from asl_exp.data.renderer.signer import person_of

SMALLEST, LARGEST = 16, 1024  # pixels
_SUPERSAMPLING = 2  # colour.coloured reduces by this much


def draw(shot: Shot, size: int) -> npt.NDArray[np.uint8]:
    """The image of a shot, (size, size, 3) RGB. The same bytes again on the same machine."""
    if not SMALLEST <= size <= LARGEST:
        raise ValueError(f"size is {size!r}; allowed is {SMALLEST} to {LARGEST} pixels")
    rng = image_stream(shot, "image")
    picture: Plane = background(shot, size)
    if shot.letter != NOTHING:
        colour, alpha = _hand(shot, size, rng, surroundings=picture.mean(axis=(0, 1)))
        picture = picture * (1 - alpha[..., None]) + colour
    return develop(picture, rng)


def _hand(
    shot: Shot, size: int, rng: np.random.Generator, surroundings: Plane
) -> tuple[Plane, Plane]:
    """Colour (size, size, 3), premultiplied by alpha (size, size)."""
    person, session = person_of(shot), session_of(shot)
    pose = loosened(POSES[shot.letter], person, rng)
    attitude = about_x(session.tilt) @ about_z(pose.roll) @ about_x(pose.pitch) @ about_y(pose.yaw)
    skeleton = articulate(person.bones, pose.thumb, pose.fingers).rotated(attitude)
    arm = forearm_frame(attitude, pose.bend, pose.deviation)
    solids = solids_of(skeleton, person.bones, arm, person.sleeve_cm)
    joints = skeleton.joints
    if person.left_handed:
        solids, joints = solids.mirrored(), joints * np.array([-1.0, 1.0, 1.0])

    fine = _SUPERSAMPLING * size
    view = view_of(joints, framing_of(session, rng), fine)
    surface = rasterise(project(solids, view), fine)
    lit = illuminate(surface, session.light, view.pixels_per_cm)
    return coloured(surface, lit, person, session.light, surroundings)

"""Draw a shot: pose the hand, light it, put it before its room, and take the picture."""

import numpy as np
import numpy.typing as npt

from .camera import project
from .chance import stream
from .flesh import cones, forearm_frame
from .hand import about_x, about_y, about_z, articulate
from .letters import NOTHING, POSES
from .light import Light, Lit, illuminate
from .person import Person, person_of
from .raster import Plane, Surface, rasterise
from .room import background
from .sensor import develop
from .shot import Shot
from .take import framing_of, loosened, session_of

SMALLEST, LARGEST = 16, 1024  # pixels
_SUPERSAMPLING = 2


def draw(shot: Shot, size: int) -> npt.NDArray[np.uint8]:
    """The image of a shot, (size, size, 3) RGB. The same bytes again on the same machine."""
    if not SMALLEST <= size <= LARGEST:
        raise ValueError(f"size is {size!r}; allowed is {SMALLEST} to {LARGEST} pixels")
    rng = stream(shot, "image", shot.signer, shot.session, shot.index, *shot.letter.encode())
    picture: Plane = background(shot, size)
    if shot.letter != NOTHING:
        colour, alpha = _hand(shot, size, rng, picture.mean(axis=(0, 1)))
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
    solids = cones(skeleton, person.bones, arm, person.sleeve_cm)

    fine = _SUPERSAMPLING * size
    placed = project(solids, skeleton.joints, framing_of(session, rng), fine)
    pixels_per_cm = placed[-1].blend / solids[-1].blend
    surface = rasterise(placed, fine)
    lit = illuminate(surface, session.light, pixels_per_cm)
    colour, alpha = _coloured(surface, lit, person, session.light, surroundings)
    if person.left_handed:
        return colour[:, ::-1], alpha[:, ::-1]
    return colour, alpha


def _coloured(
    surface: Surface, lit: Lit, person: Person, light: Light, surroundings: Plane
) -> tuple[Plane, Plane]:
    """Reduce the planes to the picture's size, then mix skin, nails, cloth and light (linear)."""
    covered = surface.covered.astype(np.float32)
    alpha = _halved(covered)
    whole = 1 / np.maximum(alpha, 1e-3)
    lamp, room, gloss, rim, palmar, nail, cloth, crease = (
        _halved(plane * covered) * whole
        for plane in (
            lit.lamp, lit.room, lit.gloss, lit.rim,
            surface.palmar, surface.nail, surface.cloth, surface.crease,
        )
    )  # fmt: skip
    palm_share = np.clip(palmar * 1.2 + 0.35, 0, 1)[..., None]
    skin = _mix(person.back, person.palm, palm_share) * (1 - crease[..., None])
    skin = skin * (1 - np.array([0.0, 0.1, 0.1], dtype=np.float32) * rim[..., None])
    nails = person.palm.astype(np.float32) * np.array([1.25, 1.2, 1.22], dtype=np.float32)
    reflectance = skin + (nails - skin) * nail[..., None]
    reflectance = reflectance + (person.sleeve.astype(np.float32) - reflectance) * cloth[..., None]

    warm = np.array([1 + 0.1 * light.warmth, 1.0, 1 - 0.14 * light.warmth], dtype=np.float32)
    tint = 0.5 + 0.5 * surroundings / max(float(surroundings.mean()), 0.05)
    received = (light.lamp * lamp)[..., None] * warm + (light.room * room)[..., None] * tint
    shine = (person.gloss + 0.25 * nail * person.gloss) * (1 - cloth) * gloss * light.lamp
    linear = np.clip(reflectance * received + shine[..., None] * warm, 0, 1)
    return linear ** np.float32(1 / 2.2) * alpha[..., None], alpha


def _mix(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64], share: Plane) -> Plane:
    start, end = first.astype(np.float32), second.astype(np.float32)
    return start + (end - start) * share


def _halved(plane: Plane) -> Plane:
    """Mean of every 2 x 2 pixels."""
    rows = plane[0::2] + plane[1::2]
    return (rows[:, 0::2] + rows[:, 1::2]) * np.float32(0.25)

"""What changes from session to session and from image to image: light, camera, pose, framing.

The camera says where the hand lies in the picture and puts perspective into the cones.
"""

from dataclasses import dataclass, replace

import numpy as np

from asl_exp.data.renderer.capsules import Solids
from asl_exp.data.renderer.hand import Array, Finger, Thumb
from asl_exp.data.renderer.identity import Shot, stream
from asl_exp.data.renderer.letters import Pose
from asl_exp.data.renderer.shading import Light
from asl_exp.data.renderer.signer import Person


@dataclass(frozen=True)
class Framing:
    """Where the hand's centre comes to lie and how large it is."""

    centre_x: float  # fraction of the picture's width
    centre_y: float  # fraction of the picture's height, downwards
    scale: float  # fraction of the picture's height that 19 cm take up
    distance_cm: float  # camera to wrist; small means strong perspective


@dataclass(frozen=True)
class View:
    """Puts points of hand space into a square picture: x right, y down, z to the viewer."""

    pixels_per_cm: float
    distance_cm: float
    middle: Array  # (2,) cm, of the hand as it is seen
    centre: Array  # (2,) pixels, where that middle comes to lie

    def placed(self, points: Array) -> tuple[Array, Array]:
        """Points (N, 3) in pixels, and how many pixels a centimetre takes at each (N,)."""
        away = np.maximum(self.distance_cm - points[:, 2], 5.0)
        factor = self.pixels_per_cm * self.distance_cm / away
        found = points * factor[:, None]
        found[:, 0] += self.centre[0] - self.middle[0] * self.pixels_per_cm
        found[:, 1] = self.centre[1] - (found[:, 1] - self.middle[1] * self.pixels_per_cm)
        return found, factor


def view_of(joints: Array, framing: Framing, size: int) -> View:
    """The view of a square picture of size pixels whose framing is that of joints (J, 3).

    It is their bounding box that is centred; a hand too large for the picture is made smaller.
    """
    near = np.maximum(framing.distance_cm - joints[:, 2], 5.0)
    flat = joints[:, :2] * (framing.distance_cm / near)[:, None]
    low, high = flat.min(axis=0), flat.max(axis=0)
    pixels_per_cm = size * min(framing.scale / 19.0, 0.92 / (float((high - low).max()) + 2.0))
    half = 0.5 * (high - low + 2.0) * pixels_per_cm / size
    wanted = np.array([framing.centre_x, framing.centre_y])
    centre = np.clip(wanted, np.minimum(half, 0.5), np.maximum(1 - half, 0.5)) * size
    return View(pixels_per_cm, framing.distance_cm, 0.5 * (low + high), centre)


def project(solids: Solids, view: View) -> Solids:
    """The same cones in pixels of the view's picture."""
    start, start_factor = view.placed(solids.start)
    end, end_factor = view.placed(solids.end)
    return replace(
        solids,
        start=start,
        end=end,
        start_radius=solids.start_radius * start_factor,
        end_radius=solids.end_radius * end_factor,
        pad=solids.pad * np.array([1.0, -1.0, 1.0]),
        blend=solids.blend * view.pixels_per_cm,
    )


# Spread from image to image (degrees), in the order of Person.habits.
_LOOSENESS = np.array([3.0] * 20 + [7.0, 6.0, 6.0, 6.0])


@dataclass(frozen=True)
class Session:
    """One evening of recording: a lamp, and a camera that stays where it is."""

    light: Light
    tilt: float  # degrees, the camera looks up (positive) or down
    distance_cm: float
    scale: float  # as Framing.scale, before each image's own variation


def session_of(shot: Shot) -> Session:
    """Light and camera of a shot's session."""
    rng = stream(shot.seed, shot.external, "session", shot.signer, shot.session)
    return Session(
        light=_against_the_light(rng) if shot.external else _ordinary_light(rng),
        tilt=rng.normal(0.0, 6.0),
        distance_cm=rng.uniform(38.0, 90.0),
        scale=rng.uniform(0.5, 1.0),
    )


def _ordinary_light(rng: np.random.Generator) -> Light:
    side = rng.uniform(-1.2, 1.2)
    toward = _unit(np.array([side, rng.uniform(-1.3, -0.1), rng.uniform(0.35, 1.2)]))
    return Light(
        toward,
        lamp=rng.uniform(0.5, 1.15),
        room=rng.uniform(0.22, 0.6),
        warmth=rng.normal(0.1, 0.6),
    )


def _against_the_light(rng: np.random.Generator) -> Light:
    side = rng.choice([-1.0, 1.0]) * rng.uniform(0.2, 0.8)
    toward = _unit(np.array([side, rng.uniform(-0.9, -0.3), rng.uniform(-1.4, -0.7)]))
    return Light(
        toward,
        lamp=rng.uniform(0.4, 0.9),
        room=rng.uniform(0.05, 0.14),
        warmth=rng.normal(-0.1, 0.6),
    )


def _unit(vector: Array) -> Array:
    return np.asarray(vector / np.linalg.norm(vector))


def loosened(pose: Pose, person: Person, rng: np.random.Generator) -> Pose:
    """The pose as this person shows it this time: every joint a little off.

    No finger bends backwards; the thumb may, a little, as thumbs do.
    """
    slack = person.habits + rng.normal(0.0, 1.0, 24) * _LOOSENESS
    fingers = [
        Finger(
            finger.mcp + slack[4 * row],
            max(0.0, finger.pip + slack[4 * row + 1]),
            max(0.0, finger.dip + slack[4 * row + 2]),
            finger.abduction + 0.4 * slack[4 * row + 3],
        )
        for row, finger in enumerate(pose.fingers)
    ]
    thumb = pose.thumb
    return replace(
        pose,
        thumb=Thumb(
            thumb.spread + slack[16], thumb.lift + slack[17], thumb.pronation,
            max(-18.0, thumb.mcp + slack[18]), max(-20.0, thumb.ip + slack[19]),
        ),
        fingers=(fingers[0], fingers[1], fingers[2], fingers[3]),
        yaw=pose.yaw + slack[20],
        pitch=pose.pitch + slack[21],
        roll=pose.roll + slack[22],
        bend=pose.bend + rng.normal(0.0, 8.0),
        deviation=pose.deviation + slack[23],
    )  # fmt: skip


def framing_of(session: Session, rng: np.random.Generator) -> Framing:
    """Where the hand is in this image, and how near."""
    return Framing(
        centre_x=rng.uniform(0.25, 0.75),
        centre_y=rng.uniform(0.3, 0.7),
        scale=session.scale * float(np.exp(rng.normal(0.0, 0.2))),
        distance_cm=session.distance_cm,
    )

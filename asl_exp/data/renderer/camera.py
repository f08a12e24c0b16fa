"""The camera: where the hand lies in the picture, and perspective put into the cones."""

from dataclasses import dataclass, replace

import numpy as np

from asl_exp.data.renderer.capsules import Solids
from asl_exp.data.renderer.hand import Array


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

"""The camera: where the hand lies in the picture, and perspective put into the cones."""

from dataclasses import dataclass, replace

import numpy as np

from asl_exp.data.renderer.capsules import Cone
from asl_exp.data.renderer.hand import Array


@dataclass(frozen=True)
class Framing:
    """Where the hand's centre comes to lie and how large it is."""

    centre_x: float  # fraction of the picture's width
    centre_y: float  # fraction of the picture's height, downwards
    scale: float  # fraction of the picture's height that 19 cm take up
    distance_cm: float  # camera to wrist; small means strong perspective


def project(
    cones: list[Cone], joints: Array, framing: Framing, size: int
) -> tuple[list[Cone], float]:
    """Cones in pixels of a square picture (x right, y down, z to the viewer), and pixels per cm.

    joints (J, 3) are those whose bounding box is centred; a hand too large for the picture is made
    smaller.
    """
    near = np.maximum(framing.distance_cm - joints[:, 2], 5.0)
    flat = joints[:, :2] * (framing.distance_cm / near)[:, None]
    low, high = flat.min(axis=0), flat.max(axis=0)
    pixels_per_cm = size * min(framing.scale / 19.0, 0.92 / (float((high - low).max()) + 2.0))
    half = 0.5 * (high - low + 2.0) * pixels_per_cm / size
    wanted = np.array([framing.centre_x, framing.centre_y])
    centre = np.clip(wanted, np.minimum(half, 0.5), np.maximum(1 - half, 0.5)) * size
    middle = 0.5 * (low + high)

    def place(point: Array) -> tuple[Array, float]:
        factor = (
            pixels_per_cm * framing.distance_cm / max(framing.distance_cm - float(point[2]), 5.0)
        )
        x, y = point[:2] * factor - middle * pixels_per_cm
        return np.array([centre[0] + x, centre[1] - y, point[2] * factor]), factor

    placed = []
    for cone in cones:
        start, start_factor = place(cone.start)
        end, end_factor = place(cone.end)
        placed.append(
            replace(
                cone,
                start=start,
                end=end,
                start_radius=cone.start_radius * start_factor,
                end_radius=cone.end_radius * end_factor,
                pad=cone.pad * np.array([1.0, -1.0, 1.0]),
                blend=cone.blend * pixels_per_cm,
            )
        )
    return placed, pixels_per_cm

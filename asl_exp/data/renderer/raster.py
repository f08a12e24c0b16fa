"""Depth, surface direction and material of rounded cones, pixel by pixel.

Everything is in pixels: x right, y down, z towards the viewer. Rays are parallel; perspective has
already been put into the cones (see camera). The sphere that a ray hits first has a closed form, so
a cone costs a few array operations on the box that it covers.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from asl_exp.data.renderer.capsules import CLOTH, NAILED, Cone

Plane = npt.NDArray[np.floating[Any]]  # float32 in practice; (H, W) where nothing else is said
Indices = npt.NDArray[np.intp]
_FAR = np.float32(-1e6)
_NAIL_START = 0.45
_CREASE_DEPTH = 0.35


@dataclass(frozen=True)
class Surface:
    """What is seen through each pixel; all planes are (H, W) float32, zero where nothing is hit."""

    covered: npt.NDArray[np.bool_]
    depth: Plane
    normal: Plane  # (3, H, W) unit vectors
    palmar: Plane  # -1 back of the hand .. 1 palm side
    nail: Plane  # 0..1
    cloth: Plane  # 0..1
    crease: Plane  # 0..1, how dark a fold of skin is


def rasterise(cones: Iterable[Cone], size: int) -> Surface:
    """Draw cones, given in pixels, into a square of size pixels."""
    depth = np.full(size * size, _FAR, dtype=np.float32)
    # A row a pixel: normal x, y, z, then palmar, nail, cloth, crease.
    seen = np.zeros((size * size, 7), dtype=np.float32)
    for cone in cones:
        _melt(cone, size, depth, seen)
    covered = depth > _FAR / 2
    depth[~covered] = 0.0
    planes = np.ascontiguousarray(seen.T).reshape(7, size, size)
    normal = planes[:3]
    normal /= np.sqrt(np.maximum((normal * normal).sum(axis=0), 1e-6))
    return Surface(
        covered.reshape(size, size), depth.reshape(size, size), normal,
        planes[3], planes[4], planes[5], planes[6],
    )  # fmt: skip


def _melt(cone: Cone, size: int, depth: Plane, seen: Plane) -> None:
    """Add one cone to what is drawn: the nearer surface wins, over `blend` they flow together."""
    pixels, t, z = _hits(cone, size)
    old = depth[pixels]
    blend = np.float32(max(cone.blend, 1e-3))
    share = (z - old) * (np.float32(0.5) / blend) + np.float32(0.5)
    kept = np.flatnonzero(share > 0)
    if kept.size == 0:
        return
    pixels, t, z, old = pixels[kept], t[kept], z[kept], old[kept]
    share = np.minimum(share[kept], 1)
    depth[pixels] = old + (z - old) * share + share * (1 - share) * blend
    row = np.empty((kept.size, 7), dtype=np.float32)
    row[:, :3] = _normals(cone, size, pixels, t)
    row[:, 3:] = _material(cone, row[:, :3], t)
    before = seen[pixels]
    seen[pixels] = before + (row - before) * share[:, None]


def _hits(cone: Cone, size: int) -> tuple[Indices, Plane, Plane]:
    """Pixels (N,) whose ray meets the cone, the fraction t of its length there, and the depth."""
    radius = max(cone.start_radius, cone.end_radius)
    low = np.minimum(cone.start, cone.end)[:2] - radius
    high = np.maximum(cone.start, cone.end)[:2] + radius + 1
    left, top = np.clip(np.floor(low), 0, size).astype(int)
    right, bottom = np.clip(np.ceil(high), 0, size).astype(int)
    x = np.arange(left, right, dtype=np.float32) - np.float32(cone.start[0])
    y = (np.arange(top, bottom, dtype=np.float32) - np.float32(cone.start[1]))[:, None]
    ex, ey, ez = (float(part) for part in cone.end - cone.start)
    flat, growth = _taper(cone)
    # Height of the sphere at fraction t of the way over a pixel q away from the start:
    #   ez t + sqrt(r(t)^2 - |q - e t|^2)  =  ez t + sqrt(c + 2 b t - a t^2);  wanted: its maximum.
    a = flat - growth * growth
    b = x * np.float32(ex) + (y * np.float32(ey) + np.float32(cone.start_radius * growth))
    c = (np.float32(cone.start_radius**2) - y * y) - x * x
    peak = c + b * b * np.float32(1 / a)
    rows, columns = np.nonzero(peak > 0)  # the endless cone; most of the box misses even that
    b, c, peak = b[rows, columns], c[rows, columns], peak[rows, columns]
    t = b * np.float32(1 / a) + np.sqrt(peak) * np.float32(ez / np.sqrt(a * (a + ez * ez)))
    t = np.minimum(np.maximum(t, 0), 1)
    root = c + (2 * b - np.float32(a) * t) * t
    height = np.float32(cone.start[2]) + np.float32(ez) * t + np.sqrt(np.maximum(root, 0))
    pixels = (rows + top) * size + (columns + left)
    return pixels, t, np.where(root > 0, height, 2 * _FAR)


def _taper(cone: Cone) -> tuple[float, float]:
    """Squared length in the picture's plane, and how much the radius grows from start to end."""
    ex, ey = (float(part) for part in (cone.end - cone.start)[:2])
    flat = max(ex * ex + ey * ey, 1e-2)
    # Seen along its axis the larger sphere hides the rest; just before that the formula fails.
    steepest = float(np.sqrt(0.8 * flat))
    return flat, min(max(cone.end_radius - cone.start_radius, -steepest), steepest)


def _normals(cone: Cone, size: int, pixels: Indices, t: Plane) -> Plane:
    """Unit normals (N, 3) of the sphere at fraction t, where each pixel's ray meets it."""
    rows, columns = np.divmod(pixels, size)
    along = (cone.end - cone.start).astype(np.float32)
    reach = 1 / np.maximum(np.float32(cone.start_radius) + np.float32(_taper(cone)[1]) * t, 1e-3)
    found = np.empty((pixels.size, 3), dtype=np.float32)
    found[:, 0] = (columns - np.float32(cone.start[0]) - along[0] * t) * reach
    found[:, 1] = (rows - np.float32(cone.start[1]) - along[1] * t) * reach
    across = found[:, 0] ** 2 + found[:, 1] ** 2
    found[:, 2] = np.sqrt(np.maximum(1 - across, 0))
    return found


def _material(cone: Cone, normal: Plane, t: Plane) -> Plane:
    """Palmar, nail, cloth and crease (N, 4) of points with normals (N, 3) at fractions (N,)."""
    found = np.zeros((t.size, 4), dtype=np.float32)
    palmar = normal @ cone.pad.astype(np.float32)
    found[:, 0] = palmar
    if cone.kind == CLOTH:
        found[:, 2] = 1.0
    if cone.kind == NAILED:
        nail = np.clip((-palmar - 0.6) * 9, 0, 1) * np.clip((t - _NAIL_START) * 12, 0, 1)
        found[:, 1] = nail
        found[:, 3] = 1.4 * nail * (1 - nail)  # the fold of skin around the nail
    if cone.creased:
        length = float(np.linalg.norm(cone.end - cone.start))
        width = 0.12 * cone.start_radius / max(length, 1e-3)
        fold = np.exp(-((t / np.float32(width)) ** 2)) * np.clip(np.abs(palmar) * 2 - 0.4, 0, 1)
        found[:, 3] += _CREASE_DEPTH * fold
    return found

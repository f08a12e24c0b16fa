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

from .flesh import CLOTH, NAILED, Cone

Plane = npt.NDArray[np.floating[Any]]  # (H, W), or (C, H, W); float32 in practice
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
    depth = np.full((size, size), _FAR, dtype=np.float32)
    planes = np.zeros(
        (7, size, size), dtype=np.float32
    )  # normal x, y, z, palmar, nail, cloth, crease
    for cone in cones:
        _add(cone, depth, planes)
    covered = depth > _FAR / 2
    depth[~covered] = 0.0
    normal = planes[:3]
    normal /= np.sqrt(np.maximum((normal * normal).sum(axis=0), 1e-6))
    return Surface(covered, depth, normal, planes[3], planes[4], planes[5], planes[6])


def _add(cone: Cone, depth: Plane, planes: Plane) -> None:
    """Melt one cone into what is already drawn."""
    size = depth.shape[0]
    radius = max(cone.start_radius, cone.end_radius)
    low = np.minimum(cone.start, cone.end)[:2] - radius
    high = np.maximum(cone.start, cone.end)[:2] + radius + 1
    left, top = np.clip(np.floor(low), 0, size).astype(int)
    right, bottom = np.clip(np.ceil(high), 0, size).astype(int)
    if left >= right or top >= bottom:
        return
    x = np.arange(left, right, dtype=np.float32) - np.float32(cone.start[0])
    y = (np.arange(top, bottom, dtype=np.float32) - np.float32(cone.start[1]))[:, None]
    ex, ey, ez = (float(part) for part in cone.end - cone.start)
    growth = cone.end_radius - cone.start_radius
    flat = max(ex * ex + ey * ey, 1e-2)
    if growth * growth > 0.8 * flat:  # seen along its axis the larger sphere hides the cone
        growth = float(np.copysign(np.sqrt(0.8 * flat), growth))
    # Height of the sphere at fraction t of the way over a pixel q away from the start:
    #   ez t + sqrt(r(t)^2 - |q - e t|^2)  =  ez t + sqrt(c + 2 b t - a t^2);  wanted: its maximum.
    a = flat - growth * growth
    b = x * np.float32(ex) + y * np.float32(ey) + np.float32(cone.start_radius * growth)
    c = np.float32(cone.start_radius**2) - x * x - y * y
    peak = np.maximum(c + b * b * np.float32(1 / a), 0)
    t = b * np.float32(1 / a) + np.sqrt(peak) * np.float32(ez / np.sqrt(a * (a + ez * ez)))
    np.clip(t, 0, 1, out=t)
    root = c + (2 * b - np.float32(a) * t) * t
    hit = root > 0
    if not hit.any():
        return
    bulge = np.sqrt(np.maximum(root, 0))
    z = np.where(hit, np.float32(cone.start[2]) + np.float32(ez) * t + bulge, _FAR)

    box = np.s_[top:bottom, left:right]
    blend = np.float32(max(cone.blend, 1e-3))
    old = depth[box]
    share = np.clip((z - old) * (np.float32(0.5) / blend) + np.float32(0.5), 0, 1)
    changed = share > 0
    rows, columns = np.nonzero(changed)
    if rows.size == 0:
        return
    share = share[changed]
    t, z, old = t[changed], z[changed], old[changed]
    seen = np.empty((7, rows.size), dtype=np.float32)
    reach = 1 / np.maximum(np.float32(cone.start_radius) + np.float32(growth) * t, 1e-3)
    seen[0] = (x[columns] - np.float32(ex) * t) * reach
    seen[1] = (y[rows, 0] - np.float32(ey) * t) * reach
    seen[2] = bulge[changed] * reach
    seen[3:] = _material(cone, seen[:3], t)
    here = (slice(None), rows + top, columns + left)
    planes[here] += (seen - planes[here]) * share
    both = np.where(share < 1, share * (1 - share) * blend, 0)
    depth[rows + top, columns + left] = old + (z - old) * share + both


def _material(cone: Cone, normal: Plane, t: Plane) -> Plane:
    """Palmar, nail, cloth and crease (4, N) of points with these normals at these fractions."""
    found = np.zeros((4, t.size), dtype=np.float32)
    found[0] = np.float32(cone.pad) @ normal
    if cone.kind == CLOTH:
        found[2] = 1.0
    if cone.kind == NAILED:
        found[1] = np.clip((-found[0] - 0.6) * 9, 0, 1) * np.clip((t - _NAIL_START) * 12, 0, 1)
        found[3] = 1.4 * found[1] * (1 - found[1])  # the fold of skin around the nail
    if cone.creased:
        length = float(np.linalg.norm(cone.end - cone.start))
        width = 0.12 * cone.start_radius / max(length, 1e-3)
        fold = np.exp(-((t / np.float32(width)) ** 2)) * np.clip(np.abs(found[0]) * 2 - 0.4, 0, 1)
        found[3] += _CREASE_DEPTH * fold
    return found

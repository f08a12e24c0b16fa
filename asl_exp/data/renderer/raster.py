"""Depth, surface direction and material of rounded cones, pixel by pixel.

Everything is in pixels: x right, y down, z towards the viewer. Rays are parallel; perspective has
already been put into the cones (see camera). The sphere that a ray hits first has a closed form,
and so has the part of a row that a cone covers: all hits of all cones are found by a few array
operations. Only the depth goes cone by cone, as each melts into those before it.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from asl_exp.data.renderer.capsules import CLOTH, NAILED, Solids
from asl_exp.data.renderer.hand import Array

Plane = npt.NDArray[np.floating[Any]]  # float32 in practice; (H, W) where nothing else is said
Indices = npt.NDArray[np.intp]
_FAR = np.float32(-1e6)
_EVERYTHING = 1e6  # pixels
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


@dataclass(frozen=True)
class _Hits:
    """Where rays meet cones: N hits, all of a cone together, cones in their order."""

    cone: Indices  # (N,)
    row: Indices  # (N,)
    column: Indices  # (N,)
    t: Plane  # (N,) fraction of the cone's length at which the sphere sits that is hit
    depth: Plane  # (N,)

    def taken(self, which: Indices) -> "_Hits":
        return _Hits(
            self.cone[which], self.row[which], self.column[which], self.t[which], self.depth[which]
        )


def rasterise(solids: Solids, size: int) -> Surface:
    """Draw cones, given in pixels, into a square of size pixels."""
    hits = _hits(solids, size)
    depth, share = _melted(hits, solids.blend, size)
    covered = depth > _FAR / 2
    depth[~covered] = 0.0
    seen = np.flatnonzero(share > 1e-4)
    hits, share = hits.taken(seen), share[seen]
    pixel = hits.row * size + hits.column
    normal = _normals(solids, hits)
    rows = np.empty((7, size * size), dtype=np.float32)
    for number, values in enumerate((*normal, *_material(solids, hits, normal))):
        rows[number] = np.bincount(pixel, values * share, size * size)
    rows[:3] /= np.sqrt(np.maximum((rows[:3] ** 2).sum(axis=0), 1e-6))
    planes = rows.reshape(7, size, size)
    return Surface(
        covered.reshape(size, size), depth.reshape(size, size), planes[:3],
        planes[3], planes[4], planes[5], planes[6],
    )  # fmt: skip


def _melted(hits: _Hits, blends: Array, size: int) -> tuple[Plane, Plane]:
    """Depth (size * size,) of what is drawn, and each hit's share (N,) of what is seen there.

    Cone by cone the nearer surface wins; over `blend` they flow together.
    """
    depth = np.full(size * size, _FAR, dtype=np.float32)
    share = np.empty_like(hits.depth)
    pixel = hits.row * size + hits.column
    ends = np.searchsorted(hits.cone, np.arange(len(blends) + 1)).tolist()
    parts = [slice(*pair) for pair in pairwise(ends)]
    for part, blend in zip(parts, np.maximum(blends, 1e-3).astype(np.float32), strict=True):
        here = pixel[part]
        old = depth[here]
        step = hits.depth[part] - old
        won = np.minimum(np.maximum(step * (np.float32(0.5) / blend) + np.float32(0.5), 0), 1)
        depth[here] = old + step * won + won * (1 - won) * blend
        share[part] = won
    left = np.ones(size * size, dtype=np.float32)  # of what later cones leave to earlier ones
    for part in reversed(parts):
        here, won = pixel[part], share[part]
        visible = left[here]
        left[here] = visible * (1 - won)
        share[part] = won * visible
    return depth, share


def _hits(solids: Solids, size: int) -> _Hits:
    """Where the rays of a square of size pixels meet each cone."""
    cone, row = _rows(solids, size)
    start, (ex, ey, ez) = solids.start[cone].T, (solids.end - solids.start)[cone].T
    flat, growth = (values[cone] for values in _taper(solids))
    radius = solids.start_radius[cone]
    # Height of the sphere at fraction t of the way over a pixel q away from the start:
    #   ez t + sqrt(r(t)^2 - |q - e t|^2)  =  ez t + sqrt(c + 2 b t - a t^2);  wanted: its maximum.
    # b and c are b_row + ex x and c_row - x^2.
    a, y = flat - growth * growth, row - start[1]
    b_row, c_row = y * ey + radius * growth, radius**2 - y * y
    span = _span(ex * ex / a - 1, ex * b_row / a, b_row * b_row / a + c_row)
    first, last = _columns(solids, cone, span + start[0], size)
    of, column = _counted(first, last)
    x = (column - start[0][of]).astype(np.float32)
    b, c = x * _each(ex, of) + _each(b_row, of), _each(c_row, of) - x * x
    long, slope = _each(a, of), _each(ez / np.sqrt(a * (a + ez * ez)), of)
    t = b / long + np.sqrt(np.maximum(c + b * b / long, 0)) * slope
    t = np.minimum(np.maximum(t, 0), 1)
    root = c + (2 * b - long * t) * t
    height = _each(start[2], of) + _each(ez, of) * t + np.sqrt(np.maximum(root, 0))
    hit = np.flatnonzero(root > 0)
    return _Hits(cone[of], row[of], column, t, height).taken(hit)


def _each(values: Array, of: Indices) -> Plane:
    """The value of a row for each of its hits."""
    return values.astype(np.float32)[of]


def _rows(solids: Solids, size: int) -> tuple[Indices, Indices]:
    """Number of a cone and row of the picture, for each row that a cone may reach."""
    radius = np.maximum(solids.start_radius, solids.end_radius)
    low = np.minimum(solids.start[:, 1], solids.end[:, 1]) - radius
    high = np.maximum(solids.start[:, 1], solids.end[:, 1]) + radius + 1
    return _counted(_whole(np.floor(low), size), _whole(np.ceil(high), size))


def _columns(solids: Solids, cone: Indices, span: Array, size: int) -> tuple[Indices, Indices]:
    """First column and the one after the last that a cone may reach in a row: within its span."""
    radius = np.maximum(solids.start_radius, solids.end_radius)
    low = np.minimum(solids.start[:, 0], solids.end[:, 0]) - radius
    high = np.maximum(solids.start[:, 0], solids.end[:, 0]) + radius + 1
    first = np.floor(np.maximum(span[0], low[cone]))
    last = np.ceil(np.minimum(span[1] + 1, high[cone]))
    return _whole(first, size), _whole(last, size)


def _whole(places: Array, size: int) -> Indices:
    return np.minimum(np.maximum(places, 0), size).astype(np.intp)


def _counted(first: Indices, last: Indices) -> tuple[Indices, Indices]:
    """Count from each first up to its last, which is left out: which one, and the number."""
    lengths = np.maximum(last - first, 0)
    of = np.repeat(np.arange(len(lengths)), lengths)
    before = np.cumsum(lengths) - lengths
    return of, np.arange(len(of)) + (first - before)[of]


def _span(a: Array, b: Array, c: Array) -> Array:
    """Lowest and highest x (2, N) with a x^2 + 2 b x + c > 0; everything where a is not below 0."""
    closed = a < -1e-6
    root = np.sqrt(np.maximum(b * b - a * c, 0))
    a = np.where(closed, a, -1.0)
    return np.stack([np.where(closed, (-b + root) / a, -_EVERYTHING),
                     np.where(closed, (-b - root) / a, _EVERYTHING)])  # fmt: skip


def _taper(solids: Solids) -> tuple[Array, Array]:
    """Squared length in the picture's plane, and how much the radius grows from start to end."""
    ex, ey, _ = (solids.end - solids.start).T
    flat = np.maximum(ex * ex + ey * ey, 1e-2)
    # Seen along its axis the larger sphere hides the rest; just before that the formula fails.
    steepest = np.sqrt(0.8 * flat)
    grown = solids.end_radius - solids.start_radius
    return flat, np.minimum(np.maximum(grown, -steepest), steepest)


def _normals(solids: Solids, hits: _Hits) -> Plane:
    """Unit normals (3, N) of the spheres at the hits."""
    along = (solids.end - solids.start).astype(np.float32).T[:, hits.cone]
    start = solids.start.astype(np.float32).T[:, hits.cone]
    radius = solids.start_radius.astype(np.float32)[hits.cone]
    growth = _taper(solids)[1].astype(np.float32)[hits.cone]
    reach = 1 / np.maximum(radius + growth * hits.t, 1e-3)
    found = np.empty((3, len(hits.t)), dtype=np.float32)
    found[0] = (hits.column.astype(np.float32) - start[0] - along[0] * hits.t) * reach
    found[1] = (hits.row.astype(np.float32) - start[1] - along[1] * hits.t) * reach
    found[2] = np.sqrt(np.maximum(1 - found[0] ** 2 - found[1] ** 2, 0))
    return found


def _material(solids: Solids, hits: _Hits, normal: Plane) -> Plane:
    """Palmar, nail, cloth and crease (4, N) of the hits, whose normals (3, N) are given."""
    found = np.zeros((4, len(hits.t)), dtype=np.float32)
    palmar = (normal * solids.pad.astype(np.float32).T[:, hits.cone]).sum(axis=0)
    kind = solids.kind[hits.cone]
    found[0] = palmar
    found[2] = kind == CLOTH
    nailed = np.flatnonzero(kind == NAILED)
    nail = np.clip((-palmar[nailed] - 0.6) * 9, 0, 1)
    nail *= np.clip((hits.t[nailed] - _NAIL_START) * 12, 0, 1)
    found[1, nailed] = nail
    found[3, nailed] = 1.4 * nail * (1 - nail)  # the fold of skin around the nail
    length = np.linalg.norm(solids.end - solids.start, axis=1)
    width = (0.12 * solids.start_radius / np.maximum(length, 1e-3)).astype(np.float32)
    creased = np.flatnonzero(solids.creased[hits.cone])
    fold = np.exp(-((hits.t[creased] / width[hits.cone[creased]]) ** 2))
    fold *= np.clip(np.abs(palmar[creased]) * 2 - 0.4, 0, 1)
    found[3, creased] += np.float32(_CREASE_DEPTH) * fold
    return found

"""Squares of an image that a network is shown, turned as the hand is, and what lies in them."""

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Points = NDArray[np.float32]

_REDUCE_FROM: Final = 2.5
"""Pixels of the image a pixel of the square, from which they are averaged before sampling."""


@dataclass(frozen=True)
class Region:
    """A square of an image, turned clockwise round its centre; it may reach beyond the image.

    Attributes:
        x, y: its centre, in pixels.
        side: in pixels.
        angle: in radians.
    """

    x: float
    y: float
    side: float
    angle: float = 0.0

    @property
    def turn(self) -> Points:
        """(2, 2): from directions in the square to directions in the image."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return np.array([[cos, -sin], [sin, cos]], np.float32)

    def to_image(self, points: Points) -> Points:
        """Return (N, 2) pixels of the image from (N, 2) in 0..1 of the square."""
        moved = (points - 0.5) * self.side @ self.turn.T + np.array([self.x, self.y])
        placed: Points = moved.astype(np.float32)
        return placed


def whole(width: int, height: int, scale: float = 1.0) -> Region:
    """Return the square that holds the whole image, `scale` times as large."""
    return Region(width / 2, height / 2, max(width, height) * scale)


def tiles(width: int, height: int, scale: float) -> list[Region]:
    """Return the image in overlapping squares of `scale` of its longer side; one from 1 on."""
    if scale >= 1:
        return [whole(width, height, scale)]
    side = max(width, height) * scale
    return [Region(x, y, side) for y in _centres(height, side) for x in _centres(width, side)]


def pixels_in(
    image: Image.Image, region: Region, size: int, gamma: float = 1.0
) -> NDArray[np.float32]:
    """Return (size, size, 3) in 0..1 of a region, raised to `gamma`; black beyond the image."""
    scale = region.side / size
    x, y = region.x, region.y
    if scale >= _REDUCE_FROM:
        factor = int(scale / _REDUCE_FROM * 2)
        image = image.reduce(factor)
        x, y, scale = x / factor, y / factor, scale / factor
    (a, b), (c, d) = (region.turn * scale).tolist()
    half = size / 2
    placed = (a, b, x - half * (a + b), c, d, y - half * (c + d))
    square = image.transform(
        (size, size), Image.Transform.AFFINE, placed, Image.Resampling.BILINEAR
    )
    if gamma != 1:
        square = square.point(_curve(gamma))
    return np.asarray(square, np.float32) * np.float32(1 / 255)


def overlap(first: Region, second: Region) -> float:
    """Return the area two regions share, as if they were not turned, over that of both."""
    shared = 1.0
    for one, other in ((first.x, second.x), (first.y, second.y)):
        low = max(one - first.side / 2, other - second.side / 2)
        high = min(one + first.side / 2, other + second.side / 2)
        shared *= max(high - low, 0.0)
    return shared / (first.side**2 + second.side**2 - shared)


_STEP: Final = 0.6
"""Of a tile's side to the next: what is no larger than 0.4 of a tile is whole in one of them."""


def _centres(length: int, side: float) -> list[float]:
    if length <= side:
        return [length / 2]
    n_tiles = int(np.ceil((length - side) / (side * _STEP))) + 1
    centres: list[float] = np.linspace(side / 2, length - side / 2, n_tiles).tolist()
    return centres


@cache
def _curve(gamma: float) -> list[int]:
    """Return what becomes of each of 256 values, for three channels."""
    return [round(255 * (value / 255) ** gamma) for value in range(256)] * 3

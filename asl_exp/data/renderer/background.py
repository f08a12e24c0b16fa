"""The room behind the hand, as a webcam sees it: one a session, a little out of focus.

Walls, windows, floors and clutter are painted with Pillow. Every painter takes the generator that
it draws from and returns a new (CANVAS, CANVAS) sRGB image.
"""

import colorsys
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from asl_exp.data.renderer.identity import Shot, stream


def background(shot: Shot, size: int) -> npt.NDArray[np.float32]:
    """(size, size, 3) sRGB in 0..1: the session's room, from where this image's camera stands."""
    room = _room(shot.seed, shot.external, shot.signer, shot.session)
    # Not of the letter: `nothing` shows what lies behind every hand of the same index.
    rng = stream(shot.seed, shot.external, "view", shot.signer, shot.session, shot.index)
    view = rng.uniform(0.68, 0.8) * CANVAS  # smaller than the canvas, so that the camera can move
    left, top = (0.5 * (CANVAS - view) + rng.uniform(-0.1, 0.1, 2) * CANVAS).clip(0, CANVAS - view)
    box = (left, top, left + view, top + view)
    cut = room.resize((size, size), Image.Resampling.BILINEAR, box=box)
    return np.asarray(cut, dtype=np.float32) / np.float32(255)


@lru_cache(maxsize=64)
def _room(seed: int, external: bool, signer: int, session: int) -> Image.Image:
    """The room of one session, (CANVAS, CANVAS) sRGB. Kept: it costs more than a hand."""
    rng = stream(seed, external, "room", signer, session)
    if external:
        image = clutter(rng, pieces=60)
        window(image, rng, large=True)
        blur = rng.uniform(0.8, 2.0)
    else:
        paint = list(HOME)[rng.choice(len(HOME), p=list(HOME.values()))]
        image, blur = paint(rng), rng.uniform(0.8, 3.5)
    return _shaded(image.filter(ImageFilter.GaussianBlur(blur)), rng)


def _shaded(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Let brightness fall off across the room."""
    slope_x, slope_y = rng.uniform(-0.18, 0.18, 2)
    line = np.linspace(-1, 1, CANVAS)
    factor = 1 + slope_x * line[None, :] + slope_y * line[:, None]
    pixels = np.asarray(image, dtype=np.float64) * factor[..., None]
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


CANVAS = 192  # pixels
Colour = tuple[int, int, int]


def _colour(rng: np.random.Generator, value: float, saturation: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(rng.uniform(), saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def _paint(rng: np.random.Generator) -> Colour:
    return _colour(rng, rng.uniform(0.35, 0.95), rng.uniform(0.0, 0.25))


def _scaled(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, round(part * factor)) for part in colour)
    return red, green, blue


def wall(rng: np.random.Generator) -> Image.Image:
    """A plain wall."""
    return Image.new("RGB", (CANVAS, CANVAS), _paint(rng))


def corner(rng: np.random.Generator) -> Image.Image:
    """Walls and a ceiling that meet in a corner, often with a beam or skirting board."""
    paint = _paint(rng)
    image = Image.new("RGB", (CANVAS, CANVAS), paint)
    pen = ImageDraw.Draw(image)
    x, y = rng.uniform(0.35, 0.9) * CANVAS, rng.uniform(0.2, 0.6) * CANVAS
    ceiling, side = _scaled(paint, rng.uniform(0.65, 1.2)), _scaled(paint, rng.uniform(0.6, 1.05))
    left, right = y - rng.uniform(-0.2, 0.3) * CANVAS, y - rng.uniform(-0.2, 0.3) * CANVAS
    pen.polygon([(0, 0), (CANVAS, 0), (CANVAS, right), (x, y), (0, left)], fill=ceiling)
    pen.polygon(
        [(x, y), (CANVAS, right), (CANVAS, CANVAS), (x + rng.uniform(-12, 12), CANVAS)], fill=side
    )
    if rng.uniform() < 0.6:
        wood = _colour_between(rng, (60, 40, 25), (150, 110, 75))
        height, slope = rng.uniform(0.05, 0.3) * CANVAS, rng.uniform(-20, 20)
        pen.line([(0, height), (CANVAS, height + slope)], fill=wood, width=int(rng.integers(4, 16)))
    return image


def _colour_between(rng: np.random.Generator, low: Colour, high: Colour) -> Colour:
    share = rng.uniform()
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(low, high, strict=True))
    return red, green, blue


def window(image: Image.Image, rng: np.random.Generator, large: bool) -> None:
    """Paint a bright window into a room."""
    pen = ImageDraw.Draw(image)
    reach = rng.uniform(0.45, 0.75) if large else rng.uniform(0.25, 0.45)
    width, height = reach * CANVAS, reach * rng.uniform(0.8, 1.3) * CANVAS
    middle = (0.5 + rng.uniform(-0.15, 0.15) if large else rng.choice([0.12, 0.88])) * CANVAS
    left, top = middle - width / 2, rng.uniform(0.02, 0.25) * CANVAS
    skew = rng.uniform(-12, 12)
    pane = _scaled((255, 255, 255), rng.uniform(0.9, 1.0))
    frame = _colour_between(rng, (70, 55, 40), (235, 235, 230))
    corners = [
        (left, top),
        (left + width, top + skew),
        (left + width, top + height),
        (left, top + height - skew),
    ]
    pen.polygon(corners, fill=pane, outline=frame, width=4)
    if rng.uniform() < 0.6:
        pen.line([(middle, top), (middle, top + height)], fill=frame, width=3)


def with_window(rng: np.random.Generator) -> Image.Image:
    """Paint daylight at one edge of the picture."""
    image = corner(rng) if rng.uniform() < 0.5 else wall(rng)
    window(image, rng, large=False)
    return image


def curtain(rng: np.random.Generator) -> Image.Image:
    """Vertical folds over part of a wall."""
    image = wall(rng)
    pen, cloth = ImageDraw.Draw(image), _paint(rng)
    x, end = 0.0, rng.uniform(0.3, 1.0) * CANVAS
    while x < end:
        width = rng.uniform(4, 14)
        pen.rectangle([x, 0, x + width, CANVAS], fill=_scaled(cloth, rng.uniform(0.7, 1.1)))
        x += width
    return image


def floor(rng: np.random.Generator) -> Image.Image:
    """Boards seen from above."""
    wood = _colour_between(rng, (110, 75, 45), (225, 180, 115))
    image = Image.new("RGB", (CANVAS, CANVAS), wood)
    pen = ImageDraw.Draw(image)
    y, slope = -40.0, rng.uniform(-40, 40)
    while y < CANVAS + 40:
        width = rng.uniform(6, 16)
        board = _scaled(wood, rng.uniform(0.85, 1.12))
        pen.polygon(
            [(0, y), (CANVAS, y + slope), (CANVAS, y + slope + width), (0, y + width)], fill=board
        )
        y += width
    if rng.uniform() < 0.5:
        pen.rectangle([0, 0, CANVAS, rng.uniform(0.1, 0.4) * CANVAS], fill=_paint(rng))
    return image


def dark(rng: np.random.Generator) -> Image.Image:
    """A black or nearly black cloth."""
    return Image.new(
        "RGB", (CANVAS, CANVAS), _colour(rng, rng.uniform(0.0, 0.15), rng.uniform(0.0, 0.3))
    )


def shelf(rng: np.random.Generator) -> Image.Image:
    """A few things before a wall."""
    return clutter(rng, pieces=14)


def clutter(rng: np.random.Generator, pieces: int) -> Image.Image:
    """Furniture, books, lamps and their kin: boxes, discs and bars of any colour."""
    image = corner(rng) if rng.uniform() < 0.5 else floor(rng)
    pen = ImageDraw.Draw(image)
    for _ in range(pieces):
        x, y = rng.uniform(-0.1, 1.0, 2) * CANVAS
        width, height = CANVAS * rng.uniform(0.03, 0.3) * rng.uniform(0.3, 1, 2)
        fill = _colour(rng, rng.uniform(0.08, 0.95), rng.uniform(0.0, 0.65))
        shape = rng.uniform()
        if shape < 0.6:
            pen.rectangle([x, y, x + width, y + height], fill=fill)
        elif shape < 0.8:
            pen.ellipse([x, y, x + width, y + height], fill=fill)
        else:
            pen.line(
                [x, y, x + 2 * width, y + 2 * height], fill=fill, width=int(rng.integers(2, 6))
            )
    return image


# Painter and how often it is chosen, for the rooms of the home set.
HOME: dict[Callable[[np.random.Generator], Image.Image], float] = {
    wall: 0.20,
    corner: 0.24,
    with_window: 0.12,
    curtain: 0.12,
    floor: 0.10,
    shelf: 0.14,
    dark: 0.08,
}

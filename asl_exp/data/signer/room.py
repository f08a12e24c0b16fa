"""The room behind the hand: one a session, a little out of focus."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from .chance import stream
from .scenery import CANVAS, HOME, clutter, window
from .shot import Shot


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

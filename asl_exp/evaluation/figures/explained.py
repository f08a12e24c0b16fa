"""Draws what an answer rested on: heat over the pixels, the hand's joints with their weights."""

from itertools import pairwise
from typing import Final

import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw

from asl_exp.data.decode import Pixels
from asl_exp.data.hands.features import KNUCKLES
from asl_exp.data.hands.hand import FINGERS, Floats
from asl_exp.evaluation.explain import Explanation

SIDE: Final = 448
"""Pixels of the longer side of a picture."""

BONES: Final = (
    *((0, finger[0]) for finger in FINGERS),
    *(pair for finger in FINGERS for pair in pairwise(finger)),
    *pairwise(KNUCKLES),
)
"""Pairs of joints between which a line is drawn."""

_STRENGTH: Final = 0.55
"""Opacity of the hottest place."""

_FINE: Final = 4
"""Lines are drawn so many times as large, then made smaller: Pillow draws them with steps."""
_LINE, _EDGE = (255, 255, 255, 230), (20, 20, 20, 160)


def picture(explained: Explanation, *, heat: bool = True, joints: bool = True) -> Image.Image:
    """Return an RGB picture of SIDE pixels on its longer side.

    Args:
        explained: what is drawn.
        heat: whether places that spoke for the letter are coloured, from blue to red.
        joints: whether the hand is drawn; larger and redder joints mattered more where the
            network saw joints.
    """
    image = Image.fromarray(explained.image)
    scale = SIDE / max(image.size)
    size = (max(round(image.width * scale), 1), max(round(image.height * scale), 1))
    shown = image.resize(size, Image.Resampling.BICUBIC)
    if heat and explained.heat is not None:
        shown = Image.fromarray(_heated(np.asarray(shown), explained.heat))
    if joints and explained.joints is not None:
        drawn = _hand(size, explained.joints * scale, explained.joint_weights)
        shown.paste(drawn, (0, 0), drawn)
    return shown


def _heated(pixels: Pixels, heat: Floats) -> Pixels:
    """Return pixels (H, W, 3) coloured where there is heat; where there is none they stay."""
    fitted = Image.fromarray(heat).resize((pixels.shape[1], pixels.shape[0]))
    share = np.clip(np.asarray(fitted), 0, 1)
    colour = colormaps["turbo"](share)[..., :3] * 255
    opacity = _STRENGTH * share[..., None]
    mixed: Pixels = (pixels * (1 - opacity) + colour * opacity).astype(np.uint8)
    return mixed


def _hand(size: tuple[int, int], joints: Floats, weights: Floats | None) -> Image.Image:
    """Return a transparent picture of a hand, joints (21, 2) in its pixels."""
    drawn = Image.new("RGBA", (size[0] * _FINE, size[1] * _FINE))
    pen = ImageDraw.Draw(drawn)
    points = [(x * _FINE, y * _FINE) for x, y in joints.tolist()]
    for width, colour in ((4.5, _EDGE), (2, _LINE)):
        for first, second in BONES:
            pen.line((*points[first], *points[second]), fill=colour, width=int(width * _FINE))
    shades = np.zeros(len(points)) if weights is None else weights
    for (x, y), shade in zip(points, shades.tolist(), strict=True):
        radius = (3.5 + 6 * shade) * _FINE
        red, green, blue = (int(255 * c) for c in colormaps["YlOrRd"](0.15 + 0.75 * shade)[:3])
        fill = (86, 180, 233, 255) if weights is None else (red, green, blue, 255)
        box = (x - radius, y - radius, x + radius, y + radius)
        pen.ellipse(box, fill=fill, outline=(20, 20, 20, 255), width=_FINE)
    return drawn.resize(size, Image.Resampling.LANCZOS)

"""What may go wrong with a picture of a hand, each at three strengths, seeded.

A disturbance changes the whole image, before a hand is looked for. The random numbers of an image
are the same at every strength, so that a stronger one is more of the same.
Joints, where they are known, move with the image.
"""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from scipy.ndimage import gaussian_filter

from asl_exp.data.decode import Pixels
from asl_exp.data.hands.hand import FINGERS
from asl_exp.data.renderer.background import clutter, shelf, wall

Points = NDArray[np.float64]
"""(21, 2): joints in pixels of the image, x to the right, y down."""


@dataclass(frozen=True)
class Shown:
    """An image and, where it is known, its hand.

    Attributes:
        pixels: (H, W, 3).
        joints: in pixels; None where they are not known.
    """

    pixels: Pixels
    joints: Points | None


Disturbance = Callable[[Shown, np.random.Generator, int], Shown]
"""Takes a strength of 0, 1 or 2."""


def backlight(shown: Shown, rng: np.random.Generator, strength: int) -> Shown:
    """Underexpose, and let light from behind the upper half glare into the lens."""
    height, width = shown.pixels.shape[:2]
    x, y = rng.uniform(0.2, 0.8) * width, rng.uniform(-0.1, 0.4) * height
    rows, columns = np.mgrid[:height, :width]
    distance = np.hypot((columns - x) / width, (rows - y) / height)
    glare = np.exp(-((distance / 0.45) ** 2))[..., None] * 255 * (0.35, 0.6, 0.9)[strength]
    return _pixels(shown, shown.pixels * (0.7, 0.45, 0.25)[strength] + glare)


def darkness(shown: Shown, rng: np.random.Generator, strength: int) -> Shown:
    """Take light away, with the grain that a camera then shows."""
    factor = (0.5, 0.25, 0.12)[strength]
    grain = rng.normal(0, 4, shown.pixels.shape)
    return _pixels(shown, shown.pixels * factor + grain)


def blur(shown: Shown, rng: np.random.Generator, strength: int) -> Shown:
    """Put the lens out of focus: 0.8, 1.6 or 3.2 % of the image's side."""
    sigma = (0.008, 0.016, 0.032)[strength] * min(shown.pixels.shape[:2])
    return _pixels(shown, gaussian_filter(shown.pixels.astype(np.float32), (sigma, sigma, 0)))


def noise(shown: Shown, rng: np.random.Generator, strength: int) -> Shown:
    """Add normal noise to every pixel and channel."""
    sigma = (12, 30, 60)[strength]
    return _pixels(shown, shown.pixels + sigma * rng.normal(size=shown.pixels.shape))


def jpeg(shown: Shown, rng: np.random.Generator, strength: int) -> Shown:
    """Compress at quality 30, 12 or 5."""
    content = BytesIO()
    Image.fromarray(shown.pixels).save(content, "JPEG", quality=(30, 12, 5)[strength])
    return Shown(np.asarray(Image.open(content).convert("RGB")), shown.joints)


def occlusion(shown: Shown, rng: np.random.Generator, strength: int) -> Shown:
    """Cover a square of 20, 35 or 50 % of the hand's side, or of the image's middle, in grey."""
    height, width = shown.pixels.shape[:2]
    left, top, right, bottom = _box(shown)
    side = (0.2, 0.35, 0.5)[strength] * max(right - left, bottom - top)
    x = left + rng.uniform() * (right - left) - side / 2
    y = top + rng.uniform() * (bottom - top) - side / 2
    changed = shown.pixels.copy()
    rows = slice(max(0, round(y)), min(height, round(y + side)))
    columns = slice(max(0, round(x)), min(width, round(x + side)))
    changed[rows, columns] = rng.integers(60, 200)
    return Shown(changed, shown.joints)


def rotation(shown: Shown, rng: np.random.Generator, strength: int) -> Shown:
    """Turn the camera by 10, 20 or 35 degrees to either side; edges are repeated outwards."""
    degrees = (10, 20, 35)[strength] * rng.choice([-1, 1])
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return _moved(shown, np.array([[cosine, sine], [-sine, cosine]]))


def smaller(shown: Shown, rng: np.random.Generator, strength: int) -> Shown:
    """Step back: the hand has 80, 60 or 45 % of its size; edges are repeated outwards."""
    return _moved(shown, np.eye(2) * (0.8, 0.6, 0.45)[strength])


def background(shown: Shown, rng: np.random.Generator, strength: int) -> Shown:
    """Put a wall, a shelf or clutter behind the same hand, whose joints must be known."""
    assert shown.joints is not None
    height, width = shown.pixels.shape[:2]
    painted = (wall, shelf, lambda rng: clutter(rng, 60))[strength](rng)
    room = painted.filter(ImageFilter.GaussianBlur(1.2)).resize((width, height))
    share = _hand_mask(shown.joints, width, height)[..., None]
    return _pixels(shown, shown.pixels * share + np.asarray(room, np.float32) * (1 - share))


DISTURBANCES: Final[dict[str, Disturbance]] = {
    "backlight": backlight,
    "darkness": darkness,
    "blur": blur,
    "noise": noise,
    "jpeg": jpeg,
    "occlusion": occlusion,
    "rotation": rotation,
    "smaller": smaller,
    "background": background,
}

NEEDS_JOINTS: Final = ("background",)
STRENGTHS: Final = 3


def disturbed(shown: Shown, name: str, strength: int, seed: int) -> Shown:
    """Return an image disturbed; equal arguments give equal pixels."""
    place = list(DISTURBANCES).index(name)
    return DISTURBANCES[name](shown, np.random.default_rng([seed, place]), strength)


def _pixels(shown: Shown, values: NDArray[np.floating]) -> Shown:
    return Shown(np.clip(np.rint(values), 0, 255).astype(np.uint8), shown.joints)


def _box(shown: Shown) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of the hand, or of the middle half of the image."""
    height, width = shown.pixels.shape[:2]
    if shown.joints is None:
        return width / 4, height / 4, 3 * width / 4, 3 * height / 4
    (left, top), (right, bottom) = shown.joints.min(0), shown.joints.max(0)
    return left, top, right, bottom


def _moved(shown: Shown, matrix: Points) -> Shown:
    """Return the image with its points moved by a matrix (2, 2) round its middle."""
    height, width = shown.pixels.shape[:2]
    pad = max(height, width)
    wide = np.pad(shown.pixels, ((pad, pad), (pad, pad), (0, 0)), mode="edge")
    middle = np.array([width / 2, height / 2])
    back = np.linalg.inv(matrix)
    offset = middle + pad - back @ middle
    data = (back[0, 0], back[0, 1], offset[0], back[1, 0], back[1, 1], offset[1])
    image = Image.fromarray(wide).transform(
        (width, height), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR
    )
    joints = None if shown.joints is None else (shown.joints - middle) @ matrix.T + middle
    return Shown(np.asarray(image), joints)


_PALM: Final = (0, 1, 5, 9, 13, 17)


def _hand_mask(joints: Points, width: int, height: int) -> NDArray[np.float32]:
    """Return how much of each pixel (H, W) is the hand's: fingers and palm as thick as they are.

    The forearm is kept for the length of the palm, which is as far as it is known.
    """
    palm = float(np.linalg.norm(joints[9] - joints[0])) or 1.0
    elbow = joints[0] + 0.9 * (joints[0] - joints[9])
    mask = Image.new("L", (width, height))
    pen = ImageDraw.Draw(mask)
    thick = max(1, round(0.3 * palm))
    outline = [tuple(joints[index]) for index in _PALM]
    pen.polygon(outline, fill=255)
    lines = [[*outline, *outline[:2]], *([tuple(joints[i]) for i in one] for one in FINGERS)]
    for line in lines:
        pen.line(line, fill=255, width=thick, joint="curve")
    pen.line([tuple(joints[0]), tuple(elbow)], fill=255, width=2 * thick)
    for x, y in joints:
        pen.ellipse((x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2), fill=255)
    soft = mask.filter(ImageFilter.GaussianBlur(0.03 * palm))
    return np.asarray(soft, np.float32) / np.float32(255)

"""What a webcam does to a picture: focus and motion blur, exposure, colour cast, noise, JPEG."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter
from scipy.ndimage import uniform_filter1d

Picture = npt.NDArray[np.floating[Any]]  # (H, W, 3) sRGB in 0..1; float32 in practice
Bytes = npt.NDArray[np.uint8]  # (H, W, 3)

_MOVED = 1 / 7  # share of pictures in which the hand, or the camera, moved


def develop(picture: Picture, rng: np.random.Generator) -> Bytes:
    """The bytes that a webcam would have delivered for a scene."""
    size = picture.shape[0]
    gain = rng.uniform(0.85, 1.12) * (1 + rng.normal(0.0, 0.03, 3))
    soft = _blurred(_quantised(picture * gain.astype(np.float32)), rng)
    grain = rng.standard_normal(picture.shape, dtype=np.float32)
    grain *= np.float32(rng.uniform(0.5, 6.0) * min(1.0, size / 100))
    return _through_jpeg(_quantised((soft + grain) / 255), quality=int(rng.integers(60, 96)))


def _quantised(picture: Picture) -> Bytes:
    rounded: Bytes = np.clip(picture * 255 + np.float32(0.5), 0, 255).astype(np.uint8)
    return rounded


def _blurred(pixels: Bytes, rng: np.random.Generator) -> Bytes:
    """Every lens is a little soft, and some pictures are moved."""
    size = pixels.shape[0]
    radius = rng.uniform(0.2, 0.9) * size / 100
    width = round(rng.uniform(0.02, 0.05) * size)
    axis = int(rng.integers(0, 2))
    if rng.uniform() < _MOVED and width > 1:
        moved: Bytes = uniform_filter1d(pixels, width, axis=axis)
        pixels = moved
    soft: Bytes = np.array(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))
    return soft


def _through_jpeg(pixels: Bytes, quality: int) -> Bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer, formats=("JPEG",)) as image:
        return np.array(image.convert("RGB"))

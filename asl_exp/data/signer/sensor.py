"""What a webcam does to a picture: focus and motion blur, exposure, colour cast, noise, JPEG."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import uniform_filter1d

Picture = npt.NDArray[np.floating[Any]]  # (H, W, 3) sRGB in 0..1; float32 in practice


def develop(picture: Picture, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """(H, W, 3) sRGB in 0..1 to the bytes that a webcam would have delivered."""
    size = picture.shape[0]
    picture = _blurred(picture, rng)
    gain = rng.uniform(0.88, 1.1) * (1 + rng.normal(0.0, 0.03, 3))
    picture = picture * gain.astype(np.float32)
    grain = rng.standard_normal(picture.shape, dtype=np.float32)
    picture = picture + grain * np.float32(rng.uniform(0.004, 0.03) * min(1.0, size / 100))
    pixels = np.clip(picture * 255 + np.float32(0.5), 0, 255).astype(np.uint8)
    return _through_jpeg(pixels, quality=int(rng.integers(60, 95)))


def _blurred(picture: Picture, rng: np.random.Generator) -> Picture:
    """Most pictures a little soft, one in six moved."""
    size = picture.shape[0]
    width = round(rng.uniform(0.0, 0.022) * size)
    axis = int(rng.integers(0, 2))
    moved = rng.uniform() < 1 / 6
    if moved and width > 1:
        return _spread(picture, 2 * width, axis)
    if width > 1:
        return _spread(_spread(picture, width, 0), width, 1)
    return picture


def _spread(picture: Picture, width: int, axis: int) -> Picture:
    return np.asarray(uniform_filter1d(picture, width, axis=axis))


def _through_jpeg(pixels: npt.NDArray[np.uint8], quality: int) -> npt.NDArray[np.uint8]:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as image:
        return np.array(image.convert("RGB"))

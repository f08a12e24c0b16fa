"""One image file to one square of RGB pixels: the same for training, evaluation and serving.

Everything about file formats lives here. Which files there are, and what becomes of unreadable
ones, is decided elsewhere.
"""

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from asl_exp.config.errors import DataError

Pixels = NDArray[np.uint8]
ResizeRule = Literal["squash", "crop", "pad"]
Source = str | Path | bytes

READER_VERSION: Final = 1
"""Part of every store's key: raise it when the pixels of any image change."""

SUFFIXES: Final = frozenset(
    (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
)

FORMATS: Final = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF", "PPM")
"""Of Pillow, whatever a file is called: it would open EPS too, by starting Ghostscript.
JPEG includes MPO, a JPEG with a preview; PPM includes PGM."""

FILTERS: Final = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

# Pillow's own limit is fixed at 179 megapixels and warns from 89; `max_megapixels` takes its place
# and is checked on the header, before anything is decoded.
Image.MAX_IMAGE_PIXELS = None

_EXIF_ORIENTATION: Final = 0x0112
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BROKEN: Final = (
    OSError, ValueError, SyntaxError, EOFError, MemoryError, TypeError, LookupError, OverflowError,
    struct.error, zlib.error,
)  # fmt: skip
"""What Pillow raises on damaged bytes; damaging files at random finds most of them."""


class UnreadableImageError(DataError):
    """An image cannot be decoded.

    Attributes:
        path: the file, or "<bytes>".
        reason: why, in a few words.
    """

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}")

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        """Rebuild from both arguments: errors travel between processes."""
        return type(self), (self.path, self.reason)


def read_image(
    source: Source, *, size: int, resize: str, interpolation: str, max_megapixels: float
) -> Pixels:
    """Decode an image into (size, size, 3) RGB.

    The first frame of an animation is read, transparency is laid on white, 16 bits are scaled to
    8, and the camera's orientation is applied.

    Raises:
        UnreadableImageError: missing, empty, truncated, not an image, or over `max_megapixels`.
    """
    with _opened(source) as image:
        if reason := too_large(*image.size, max_megapixels):
            raise UnreadableImageError(_name(source), reason)
        try:
            # JPEGs decode at 1/2, 1/4 or 1/8 where that is still no smaller than the target.
            if interpolation != "nearest":
                image.draft("RGB", (size, size))
            upright = _upright(image)
            return np.asarray(_squared(_rgb(upright), size, resize, FILTERS[interpolation]))
        except _BROKEN as error:
            raise UnreadableImageError(_name(source), _reason(error)) from error


def read_size(source: Source) -> tuple[int, int]:
    """Return (width, height) from the header alone.

    Raises:
        UnreadableImageError: missing, empty, or not an image.
    """
    with _opened(source) as image:
        return image.size


def too_large(width: int, height: int, max_megapixels: float) -> str | None:
    """Return the reason to refuse an image of so many pixels, or None."""
    megapixels = width * height / 1e6
    if megapixels <= max_megapixels:
        return None
    return (
        f"{width} x {height} pixels are {megapixels:.0f} megapixels, over "
        f"data.max_megapixels={max_megapixels:g}"
    )


def _opened(source: Source) -> Image.Image:
    try:
        if isinstance(source, bytes):
            if not source:
                raise UnreadableImageError(_name(source), "the file is empty")
            return Image.open(BytesIO(source), formats=FORMATS)
        if Path(source).stat().st_size == 0:
            raise UnreadableImageError(_name(source), "the file is empty")
        return Image.open(source, formats=FORMATS)
    except _BROKEN as error:
        raise UnreadableImageError(_name(source), _reason(error)) from error


def _upright(image: Image.Image) -> Image.Image:
    """Apply the camera's orientation.

    Not by Pillow's exif_transpose: it writes the EXIF data anew, and fails where those are damaged.
    """
    turn = _TURNS.get(image.getexif().get(_EXIF_ORIENTATION, 1))
    return image if turn is None else image.transpose(turn)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):
        return _eight_bits(image).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range")
    if image.has_transparency_data:
        solid = image.convert("RGBA")
        white = Image.new("RGBA", solid.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, solid).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits; Pillow's own conversion would clip everything above 255."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("grey values beyond 16 bits have no known range")
    return Image.fromarray((values // 257).astype(np.uint8))


def _squared(
    image: Image.Image, size: int, resize: str, resampling: Image.Resampling
) -> Image.Image:
    if resize == "squash":
        return image.resize((size, size), resampling)
    if resize == "crop":
        return ImageOps.fit(image, (size, size), resampling)
    return ImageOps.pad(image, (size, size), resampling, color=(0, 0, 0))


def _name(source: Source) -> str:
    return "<bytes>" if isinstance(source, bytes) else str(source)


def _reason(error: BaseException) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, UnidentifiedImageError):
        return f"not an image that can be read; allowed are {', '.join(FORMATS)}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__

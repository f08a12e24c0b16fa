"""One image file to one square of RGB pixels: the same for training, evaluation and serving.

Everything about file formats lives here. Which files there are, and what becomes of unreadable
ones, is decided elsewhere.
"""

import stat
import struct
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError, features

from asl_exp.config.errors import DataError

Pixels = NDArray[np.uint8]
Source = str | Path | bytes

READER_VERSION: Final = 4
"""Part of every store's key: raise it when the pixels of any image change."""

_ALWAYS: Final = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm"),
}
_WHERE_BUILT_IN: Final = {
    "jpg_2000": ("JPEG2000", (".jp2", ".j2k", ".jpx")),
    "avif": ("AVIF", (".avif",)),
}


def _known() -> dict[str, tuple[str, ...]]:
    """Return the formats that this Pillow reads, with the endings of their files."""
    known = dict(_ALWAYS)
    for feature, (name, endings) in _WHERE_BUILT_IN.items():
        with suppress(ValueError):  # an older Pillow does not know the feature
            if features.check(feature):
                known[name] = endings
    if find_spec("pillow_heif"):
        import_module("pillow_heif").register_heif_opener()
        known["HEIF"] = (".heic", ".heif")
    return known


_KNOWN: Final = _known()

SUFFIXES: Final = frozenset(ending for endings in _KNOWN.values() for ending in endings)

FORMATS: Final = tuple(_KNOWN)
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
_WHITE_IS: Final = 0x0106
"""Of a TIFF: whether 0 is white (0) or black (1)."""
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
    """

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}")

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        """Rebuild from both arguments: errors travel between processes."""
        return type(self), (self.path, self.reason)


@dataclass(frozen=True)
class Geometry:
    """How any image becomes a square of pixels.

    Attributes:
        size: side in pixels.
        resize: squash, crop or pad.
        interpolation: nearest, bilinear, bicubic or lanczos.
    """

    size: int
    resize: str
    interpolation: str

    @property
    def name(self) -> str:
        """Part of a file name."""
        return f"{self.size}_{self.resize}_{self.interpolation}"


def read_image(source: Source, geometry: Geometry, max_megapixels: float) -> Pixels:
    """Decode an image into (S, S, 3) RGB.

    The first frame of an animation is read, transparency is laid on white, 16 bits are scaled to
    8, and the camera's orientation is applied.

    Raises:
        UnreadableImageError: missing, empty, truncated, not an image, or over `max_megapixels`.
    """
    with _decoding(source, max_megapixels) as image:
        # JPEGs decode at 1/2, 1/4 or 1/8 where that is still no smaller than the target.
        if geometry.interpolation != "nearest":
            image.draft("RGB", (geometry.size, geometry.size))
        return np.asarray(_squared(_rgb(_upright(source, image)), geometry))


def read_upright(
    source: Source, *, enough: int, max_megapixels: float
) -> tuple[Pixels, tuple[int, int]]:
    """Decode a whole image into (H, W, 3) RGB, by the same rules as read_image.

    Args:
        enough: pixels: a JPEG comes at 1/2, 1/4 or 1/8 where both sides are still no smaller.
        max_megapixels: larger images are not decoded.

    Returns:
        The pixels, and the width and height of the upright image itself.

    Raises:
        UnreadableImageError: as read_image.
    """
    with _decoding(source, max_megapixels) as image:
        size = image.size
        image.draft("RGB", (enough, enough))
        upright = _upright(source, image)
        turned = (upright.width > upright.height) != (image.width > image.height)
        return np.asarray(_rgb(upright)), (size[1], size[0]) if turned else size


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


@contextmanager
def _decoding(source: Source, max_megapixels: float) -> Iterator[Image.Image]:
    """Open an image that is not too large; whatever fails inside makes it unreadable."""
    with _opened(source) as image:
        if reason := too_large(*image.size, max_megapixels):
            raise UnreadableImageError(_name(source), reason)
        try:
            yield image
        except _BROKEN as error:
            raise UnreadableImageError(_name(source), _reason(error)) from error


def _opened(source: Source) -> Image.Image:
    try:
        if isinstance(source, bytes):
            if not source:
                raise UnreadableImageError(_name(source), "the file is empty")
            return Image.open(BytesIO(source), formats=FORMATS)
        status = Path(source).stat()
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableImageError(_name(source), "a folder, pipe or device, no regular file")
        if status.st_size == 0:
            raise UnreadableImageError(_name(source), "the file is empty")
        return Image.open(source, formats=FORMATS)
    except UnidentifiedImageError as error:
        raise UnreadableImageError(_name(source), _unknown(source)) from error
    except _BROKEN as error:
        raise UnreadableImageError(_name(source), _reason(error)) from error


_HEIC: Final = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def _unknown(source: Source) -> str:
    """Say what a file is that is none of the formats read."""
    allowed = f"allowed are {', '.join(FORMATS)}"
    if isinstance(source, bytes):
        start = source[:12]
    else:
        with Path(source).open("rb") as file:
            start = file.read(12)
    if start[4:8] == b"ftyp" and start[8:12] in _HEIC and "HEIF" not in FORMATS:
        return (
            f"a HEIC photo, which phones make; {allowed}: save it as JPEG, or install pillow-heif, "
            "which lets HEIC be read"
        )
    return f"not an image that can be read; {allowed}"


def _upright(source: Source, image: Image.Image) -> Image.Image:
    """Load an image with its full depth, and apply the camera's orientation.

    Not by Pillow's exif_transpose: it writes the EXIF data anew, and fails where those are damaged.
    """
    whole = _deep_colour(source, image)
    image.load()  # a TIFF turns itself here, and a PNG's EXIF data may come last
    turn = _TURNS.get(image.getexif().get(_EXIF_ORIENTATION, 1))
    return whole if turn is None else whole.transpose(turn)


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
    """Scale grey of up to 16 bits to 8; Pillow's own conversion would clip all above 255."""
    scaled = _scaled(np.asarray(image).astype(np.int64))
    if image.format == "TIFF" and image.getexif().get(_WHITE_IS) == 0:
        scaled = 255 - scaled
    return Image.fromarray(scaled)


_DEPTHS: Final = (8, 10, 12, 14)
"""Bits of a pixel of cameras that write 16-bit files; the values alone tell."""


def _scaled(values: NDArray[np.int64]) -> Pixels:
    """Scale to 8 bits; values that all fit into 14 bits or fewer are taken to be of so many."""
    highest = int(values.max(initial=0))
    if values.min(initial=0) < 0 or highest > 65535:
        raise ValueError("grey values beyond 16 bits have no known range")
    depth = next((bits for bits in _DEPTHS if highest < 1 << bits), 16)
    scaled: Pixels = (values * 255 // ((1 << depth) - 1)).astype(np.uint8)
    return scaled


_SWAPPED: Final = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
"""Orders of two bytes, to the order in which Pillow, which reads the upper 8 bits, gives the lower:
as if the bytes were the other way round. Of grey with alpha it gives all as four colours."""

_DEEP: Final = ("RGB", "RGBA", "RGBX", "CMYK", "LA")


def _deep_colour(source: Source, image: Image.Image) -> Image.Image:
    """Return 16 bits a colour, of which Pillow reads the upper 8, as the values are."""
    if not isinstance(image, ImageFile.ImageFile) or not image.tile:
        return image
    args = image.tile[0].args
    colours, deep, order = str(args[0] if isinstance(args, tuple) else args).partition(";16")
    if image.format not in ("PNG", "TIFF") or not deep or colours not in _DEEP:
        return image
    upper = np.asarray(image)
    if upper.max((0, 1)).min() >= 1 << (_DEPTHS[-1] - 8):
        return image
    with _opened(source) as again:
        assert isinstance(again, ImageFile.ImageFile)
        swapped = "RGBA" if colours == "LA" else f"{colours};16{_SWAPPED[order]}"
        again.tile = [part._replace(args=_with_mode(part.args, swapped)) for part in again.tile]
        lower = np.asarray(again)
    if colours == "LA":
        upper, lower = lower[..., [0, 0, 0, 2]], lower[..., [1, 1, 1, 3]]
    values = upper.astype(np.int64) * 256 + lower
    if colours == "CMYK":
        return Image.frombytes("CMYK", image.size, _scaled(values).tobytes())
    parts = [_scaled(values[..., :3]), *([_scaled(values[..., 3:])] if values.shape[2] > 3 else [])]
    return Image.fromarray(np.concatenate(parts, 2))


def _with_mode(args: tuple[Any, ...] | str | None, mode: str) -> tuple[Any, ...] | str:
    """Return what a decoder of Pillow is told, with another order of bytes."""
    return (mode, *args[1:]) if isinstance(args, tuple) else mode


def _squared(image: Image.Image, geometry: Geometry) -> Image.Image:
    shape, resampling = (geometry.size, geometry.size), FILTERS[geometry.interpolation]
    if geometry.resize == "squash":
        return image.resize(shape, resampling)
    if geometry.resize == "crop":
        return ImageOps.fit(image, shape, resampling)
    return ImageOps.pad(image, shape, resampling, color=(0, 0, 0))


def _name(source: Source) -> str:
    return "<bytes>" if isinstance(source, bytes) else str(source)


def _reason(error: BaseException) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__

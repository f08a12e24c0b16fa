"""Squares of pixels round the hands, stored as those of whole images are.

A crop is never turned: how a hand is held is a part of the letter. It is black beyond the image.
Where no hand was found it is the whole image, as the geometry has it.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from asl_exp.data.decode import FILTERS, Geometry, Pixels, Source, read_upright
from asl_exp.data.hands.hand import Floats, Hands, box_round
from asl_exp.data.pixel_store import Store, pixels_of
from asl_exp.data.sources.listing import is_file_key

_VERSION: Final = 1
"""Part of every store's key: raise it when the pixels of any crop change."""


@dataclass(frozen=True)
class CropRule:
    """What a crop is.

    Attributes:
        geometry: its size and interpolation, and what becomes of images without a hand.
        margin: on each side, in shares of the hand's longer side.
    """

    geometry: Geometry
    margin: float


def crop_of(
    path: Source, joints: Floats, size: tuple[int, int], rule: CropRule, max_megapixels: float
) -> Pixels:
    """Return (S, S, 3): the square round joints (21, 3) in pixels, all where they are NaN.

    Raises:
        UnreadableImageError: the file cannot be decoded.
    """
    if not np.isfinite(joints[0, 0]):
        return pixels_of(path, rule.geometry, max_megapixels)
    box = box_round(joints, *size, rule.margin)
    pixels = _at_least(path, rule.geometry.size / (box[2] - box[0]), size, max_megapixels)
    image = Image.fromarray(pixels)
    scale = image.width / size[0], image.height / size[1]
    left, top = math.floor(box[0] * scale[0]), math.floor(box[1] * scale[1])
    side = max(math.ceil((box[2] - box[0]) * scale[0]), 1)
    square = image.crop((left, top, left + side, top + side))
    shape = (rule.geometry.size, rule.geometry.size)
    return np.asarray(square.resize(shape, FILTERS[rule.geometry.interpolation]))


def _at_least(path: Source, scale: float, size: tuple[int, int], max_megapixels: float) -> Pixels:
    """Return the image no smaller than `scale` times its size, where that is less than all."""
    if not isinstance(path, str) or is_file_key(path):
        enough = math.ceil(min(size) * min(scale, 1.0))
        return read_upright(path, enough=max(enough, 1), max_megapixels=max_megapixels)[0]
    from asl_exp.data.sources import synthetic

    side = math.ceil(size[0] * max(scale, 1.0))
    return synthetic.draw(path, min(side, synthetic.LARGEST))


@dataclass(frozen=True)
class CropStore(Store):
    """The place of the crops of N images, whether made or not."""

    hands: Hands
    margin: float

    what: ClassVar = "crops"
    otherwise: ClassVar = "choose hand=joints"

    @property
    def name(self) -> str:
        """The files' name without ending."""
        depends = (self.hands.digest, repr(self.margin), str(_VERSION))
        crop = hashlib.sha256("\x1f".join(depends).encode()).hexdigest()
        return f"{super().name}_crop{crop[:16]}"

    def _work(self, max_megapixels: float) -> tuple[Callable[[Any], Pixels], Sequence[Any], str]:
        crop = partial(_crop, CropRule(self.geometry, self.margin), max_megapixels)
        sizes = [(width, height) for width, height in self.hands.sizes.tolist()]
        return crop, list(zip(self.paths, self.hands.joints, sizes, strict=True)), "storing crops"


_Item = tuple[str, NDArray[np.float32], tuple[int, int]]


def _crop(rule: CropRule, max_megapixels: float, item: _Item) -> Pixels:
    path, joints, size = item
    return crop_of(path, joints, size, rule, max_megapixels)

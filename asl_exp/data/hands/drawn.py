"""Pictures of hands of which only the joints are known, for figures: a line for each bone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from asl_exp.data.decode import Pixels
from asl_exp.data.hands.hand import FINGERS, Floats

_COLOURS = ((240, 228, 66), (86, 180, 233), (0, 158, 115), (230, 159, 0), (204, 121, 167))
"""Of each finger, thumb first; colours that colour-blind people tell apart."""


@dataclass(eq=False)
class DrawnJoints:
    """The pixels of N hands, drawn when they are asked for.

    Attributes:
        joints: (N, 21, 2 or 3) in shares of a square.
        side: of a picture, in pixels.
        digest: none: they are not stored.
    """

    joints: Floats
    side: int
    digest: str = ""

    def gather(self, rows: NDArray[np.int64]) -> Pixels:
        """Return (B, S, S, 3)."""
        pictures = np.zeros((len(rows), self.side, self.side, 3), np.uint8)
        for picture, row in zip(pictures, rows.tolist(), strict=True):
            picture[:] = np.asarray(self._drawn(row))
        return pictures

    def _drawn(self, row: int) -> Image.Image:
        image = Image.new("RGB", (self.side, self.side), (32, 32, 32))
        pen = ImageDraw.Draw(image)
        points = [tuple(point) for point in (self.joints[row, :, :2] * self.side).tolist()]
        width = max(1, self.side // 40)
        for finger, colour in zip(FINGERS, _COLOURS, strict=True):
            pen.line([points[joint] for joint in (0, *finger)], fill=colour, width=width)
        return image

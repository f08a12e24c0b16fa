"""Resizing inside a network: an exported one takes photos as they are, of any size.

The rules and filters are those of data/decode.py, whose results are Pillow's: weights of all pixels
along one side, then along the other. Written as products of matrices, because exported networks
know neither Pillow's filters nor its boxes. Pillow rounds between the two, in an order that differs
from version to version, and this does not: of a photo one pixel in ten differs by one level, and a
few at hard edges by up to eight (lanczos).
"""

import math
from typing import Final

import torch
from torch import Tensor, nn

_SUPPORT: Final = {"bilinear": 1.0, "bicubic": 2.0, "lanczos": 3.0}
"""How far a filter reaches, in pixels of the smaller image."""


class PhotoInput(nn.Module):
    """From photos (B, H, W, 3) uint8 to inputs (B, 3, S, S) of 0..1.

    Args:
        size: S, pixels.
        resize: squash, crop or pad, as ``data.resize``.
        interpolation: as ``backbone.interpolation``.
    """

    def __init__(self, size: int, resize: str, interpolation: str) -> None:
        super().__init__()
        self.size, self.resize, self.interpolation = size, resize, interpolation

    def forward(self, images: Tensor) -> Tensor:
        """Return what the network behind it takes."""
        height = torch.arange(images.shape[1], dtype=torch.float32)
        width = torch.arange(images.shape[2], dtype=torch.float32)
        rows = self._weights(height, height[-1] + 1, width[-1] + 1)
        columns = self._weights(width, width[-1] + 1, height[-1] + 1)
        levels = images.permute(0, 3, 1, 2).float()
        narrow = torch.matmul(levels, columns.T)  # (B, 3, H, S)
        return torch.floor(torch.matmul(rows, narrow) + 0.5).clamp(0.0, 255.0) / 255.0

    def _weights(self, pixels: Tensor, length: Tensor, other: Tensor) -> Tensor:
        """Return (S, N): what each pixel of one side adds to each of the S pixels of the square.

        Args:
            pixels: 0 to N - 1.
            length: N.
            other: pixels of the other side.
        """
        start, extent = torch.zeros(()), length
        shown, offset = torch.tensor(float(self.size)), torch.zeros(())
        if self.resize == "crop":
            extent = torch.minimum(length, other)
            start = (length - extent) / 2
        if self.resize == "pad":
            shown = torch.round(length / torch.maximum(length, other) * self.size).clamp_min(1)
            offset = torch.round((self.size - shown) / 2)
        place = torch.arange(self.size, dtype=torch.float32) - offset
        centre = start + (place + 0.5) * (extent / shown)
        weights = self._filtered(pixels, centre[:, None], (extent / shown).clamp_min(1.0))
        inside = (place >= 0) & (place < shown)
        return torch.where(inside[:, None], weights, 0.0)

    def _filtered(self, pixels: Tensor, centre: Tensor, stretch: Tensor) -> Tensor:
        """Return (S, N) weights that sum to one along N, of a filter that is made so much wider."""
        if self.interpolation == "nearest":
            return (pixels == centre.floor()).float()
        at = (pixels + 0.5 - centre) / stretch
        weights = torch.where(
            at.abs() < _SUPPORT[self.interpolation], _FILTERS[self.interpolation](at), 0.0
        )
        return weights / weights.sum(1, keepdim=True)


def _triangle(x: Tensor) -> Tensor:
    return 1 - x.abs()


def _cubic(x: Tensor) -> Tensor:
    """Keys's cubic with a = -0.5, which is Pillow's."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, far)


def _lanczos(x: Tensor) -> Tensor:
    return _sinc(x) * _sinc(x / 3)


def _sinc(x: Tensor) -> Tensor:
    angle = torch.where(x == 0, 1.0, x) * math.pi
    return torch.where(x == 0, 1.0, torch.sin(angle) / angle)


_FILTERS: Final = {"bilinear": _triangle, "bicubic": _cubic, "lanczos": _lanczos}

"""What augmentation does to a batch (B, 3, H, W) of 0..1; every image by its own numbers."""

import math
from typing import Final

import torch
from kornia.enhance import adjust_hue
from kornia.filters import gaussian_blur2d
from kornia.geometry.transform import get_perspective_transform
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from asl_exp.config.schema import AugmentationConfig
from asl_exp.data.chances import Chances

_ERASED_AREA: Final = (0.02, 0.2)
"""Of the image, as in Random Erasing (Zhong et al. 2017), whose upper bound is 0.4."""

_ERASED_ASPECT: Final = (0.5, 2.0)
_BLUR_SIGMA: Final = (0.005, 0.02)
"""Of the image's side."""


def flipped(images: Tensor, which: Tensor) -> Tensor:
    """Mirror some images left to right, exactly."""
    return torch.where(column(which), images.flip(-1), images)


def warped(images: Tensor, config: AugmentationConfig, chances: Chances) -> Tensor:
    """Turn, scale, move and tilt in one resampling; what comes from outside is mirrored."""
    homography = _affine(config, chances)
    if config.perspective:
        homography = homography @ _tilt(config.perspective, chances)
    height, width = images.shape[-2:]
    grid = _grid(homography, height, width)
    sampled: Tensor = grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    return sampled


def _affine(config: AugmentationConfig, chances: Chances) -> Tensor:
    """Return (B, 3, 3) from output to input coordinates of -1..1."""
    angle = chances.uniform(-config.rotation, config.rotation) * (math.pi / 180)
    scale = 1 / chances.uniform(1 - config.zoom, 1 + config.zoom)
    shift = 2 * chances.uniform(-config.shift, config.shift, 2)
    cos, sin, zero, one = (
        scale * angle.cos(), scale * angle.sin(), torch.zeros_like(angle), torch.ones_like(angle),
    )  # fmt: skip
    rows = [cos, -sin, shift[:, 0], sin, cos, shift[:, 1], zero, zero, one]
    return torch.stack(rows, 1).view(-1, 3, 3)


def _tilt(scale: float, chances: Chances) -> Tensor:
    """Return (B, 3, 3) that move each corner inwards by up to `scale` of the half side."""
    corners = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    corners = corners.to(chances.device).expand(chances.n_images, 4, 2)
    inwards = chances.uniform(0.0, scale, 4, 2)
    tilt: Tensor = get_perspective_transform(corners, corners * (1 - inwards))
    return tilt


def _grid(homography: Tensor, height: int, width: int) -> Tensor:
    """Return (B, H, W, 2) the input coordinates of every output pixel."""
    x = (torch.arange(width, device=homography.device) + 0.5) * (2 / width) - 1
    y = (torch.arange(height, device=homography.device) + 0.5) * (2 / height) - 1
    across, down = torch.meshgrid(x, y, indexing="xy")
    places = torch.stack([across, down, torch.ones_like(down)])
    mapped = (homography @ places.reshape(3, -1)).view(-1, 3, height, width)
    return (mapped[:, :2] / mapped[:, 2:].clamp_min(1e-3)).permute(0, 2, 3, 1)


def recoloured(images: Tensor, config: AugmentationConfig, chances: Chances) -> Tensor:
    """Change brightness, contrast around the image's mean, saturation and hue."""
    gain = column(chances.uniform(1 - config.brightness, 1 + config.brightness))
    images = images * gain
    if config.contrast:
        factor = column(chances.uniform(1 - config.contrast, 1 + config.contrast))
        mean = images.mean((1, 2, 3), keepdim=True)
        images = (images - mean) * factor + mean
    images = images.clamp(0, 1)
    if config.saturation:
        factor = column(chances.uniform(1 - config.saturation, 1 + config.saturation))
        grey = images.mean(1, keepdim=True)
        images = (images - grey) * factor + grey
    if config.hue:
        turn = chances.uniform(-config.hue, config.hue) * (2 * math.pi)
        images = adjust_hue(images.clamp(0, 1), turn)
    return images.clamp(0, 1)


def blurred(images: Tensor, which: Tensor, chances: Chances) -> Tensor:
    """Blur some images, each by its own width."""
    side = images.shape[-1]
    sigma = chances.uniform(*_BLUR_SIGMA, 1).expand(-1, 2) * side
    kernel = 2 * math.ceil(2 * _BLUR_SIGMA[1] * side) + 1
    chosen = which.nonzero().squeeze(1)
    if not len(chosen):
        return images
    soft = gaussian_blur2d(images[chosen], (kernel, kernel), sigma[chosen], border_type="reflect")
    return images.index_copy(0, chosen, soft)


def noisy(images: Tensor, deviation: float, chances: Chances) -> Tensor:
    """Add Gaussian noise whose standard deviation is drawn up to the one given."""
    strength = column(chances.uniform(0.0, deviation))
    return (images + strength * chances.normal_like(images)).clamp(0, 1)


def erased(images: Tensor, which: Tensor, chances: Chances) -> Tensor:
    """Paint a rectangle of some images in one random grey."""
    area = chances.uniform(*_ERASED_AREA)
    aspect = chances.uniform(math.log(_ERASED_ASPECT[0]), math.log(_ERASED_ASPECT[1])).exp()
    inside = rectangle(images, chances, (area * aspect).sqrt(), (area / aspect).sqrt())
    grey = column(chances.uniform(0.0, 1.0))
    return torch.where(inside & column(which), grey.expand_as(images), images)


def rectangle(images: Tensor, chances: Chances, height: Tensor, width: Tensor) -> Tensor:
    """Return (B, 1, H, W) bool of a rectangle of the relative sides given, somewhere inside."""
    place = chances.uniform(0.0, 1.0, 2)
    top, left = place[:, 0] * (1 - height), place[:, 1] * (1 - width)
    y = (torch.arange(images.shape[-2], device=images.device) + 0.5) / images.shape[-2]
    x = (torch.arange(images.shape[-1], device=images.device) + 0.5) / images.shape[-1]
    rows = (y >= top[:, None]) & (y < (top + height)[:, None])
    columns = (x >= left[:, None]) & (x < (left + width)[:, None])
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def column(values: Tensor) -> Tensor:
    """Return (B, 1, 1, 1) of (B,)."""
    return values[:, None, None, None]


def behind_the_hand(images: Tensor, config: AugmentationConfig, chances: Chances) -> Tensor:
    """Give some images another background, and some a bright one with the hand in the shade.

    What is background is guessed from colour: what looks like the image's top and side edges. The
    guess is soft and often wrong; as augmentation it need only be right on the whole.
    """
    behind = _background(images)
    replaced = column(chances.events(config.background)) * behind
    images = torch.lerp(images, _scenery(images, chances), replaced)
    lit = column(chances.events(config.backlight))
    glow = column(chances.uniform(0.5, 1.0)) * behind * lit
    shade = 1 - column(chances.uniform(0.2, 0.6)) * (1 - behind) * lit
    return torch.lerp(images * shade, torch.ones_like(images), glow).clamp(0, 1)


_GUESS_SIDE: Final = 32
_EDGE: Final = 2


def _background(images: Tensor) -> Tensor:
    """Return (B, 1, H, W) of 0..1: how much each pixel looks like the edges of its image."""
    small = interpolate(images, (_GUESS_SIDE, _GUESS_SIDE), mode="area")
    edges = torch.cat(
        [
            small[:, :, :_EDGE].flatten(2),
            small[:, :, : _GUESS_SIDE // 2, :_EDGE].flatten(2),
            small[:, :, : _GUESS_SIDE // 2, -_EDGE:].flatten(2),
        ],
        2,
    )
    # The nearest of the edge colours, not their mean: a wall and a ceiling are two colours.
    distance = torch.cdist(small.flatten(2).transpose(1, 2), edges.transpose(1, 2)).amin(2)
    guess = torch.exp(-((distance / 0.12) ** 2)).view(-1, 1, _GUESS_SIDE, _GUESS_SIDE)
    return interpolate(guess, images.shape[-2:], mode="bilinear", align_corners=False)


def _scenery(images: Tensor, chances: Chances) -> Tensor:
    """Return (B, 3, H, W): another image of the batch as mere patches of colour."""
    patches = interpolate(images[chances.order()], (6, 6), mode="area")
    tint = chances.uniform(0.7, 1.3, 3, 1, 1)
    smooth = interpolate(patches * tint, images.shape[-2:], mode="bicubic", align_corners=False)
    return smooth.clamp(0, 1)

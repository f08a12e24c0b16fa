"""The operations of augmentation on a batch (B, 3, H, W) of 0..1, and their random numbers.

Every image is changed by numbers of its own. MixUp (Zhang et al. 2018) and CutMix (Yun et al. 2019)
make one image of two, and their targets.
"""

import math
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, grid_sample, interpolate, one_hot, pad

from asl_exp.config.schema import AugmentationConfig

_ERASED_AREA: Final = (0.02, 0.2)
"""Of the image, as in Random Erasing (Zhong et al. 2017), whose upper bound is 0.4."""

_ERASED_ASPECT: Final = (0.5, 2.0)
_YIQ: Final = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))
_BLUR_SIGMA: Final = (0.005, 0.02)
"""Of the image's side."""


class BatchRandom:
    """Random numbers for each of B images; equal seeds and the same order of calls give equal ones.

    Attributes:
        n_images: B.
    """

    def __init__(self, seed: int, n_images: int, device: torch.device) -> None:
        self.n_images = n_images
        self.device = device
        self._generator = np.random.default_rng(seed)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Return (B, *shape) float32 of low..high."""
        return self._tensor(self._generator.uniform(low, high, (self.n_images, *shape)))

    def events(self, probability: float) -> Tensor:
        """Return (B,) bool, true with the probability given."""
        return self.uniform(0.0, 1.0) < probability

    def beta(self, alpha: float) -> Tensor:
        """Return (B,) float32 from Beta(alpha, alpha)."""
        return self._tensor(self._generator.beta(alpha, alpha, self.n_images))

    def order(self) -> Tensor:
        """Return a permutation (B,) of the images."""
        return torch.from_numpy(self._generator.permutation(self.n_images)).to(self.device)

    def normal_like(self, images: Tensor) -> Tensor:
        """Return standard normal numbers of the shape of images, drawn on their device."""
        generator = torch.Generator(self.device)
        generator.manual_seed(int(self._generator.integers(2**62)))
        n_images, channels, height, width = images.shape
        # Drawn into plain memory: into channels-last memory it takes three times as long.
        numbers = torch.empty(n_images, height, width, channels, device=self.device)
        return numbers.normal_(generator=generator).permute(0, 3, 1, 2)

    def normal(self, *shape: int) -> Tensor:
        """Return (B, *shape) float32 standard normal numbers."""
        return self._tensor(self._generator.standard_normal((self.n_images, *shape)))

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(self.device, non_blocking=True)


def flipped(images: Tensor, which: Tensor) -> Tensor:
    """Mirror some images left to right, exactly."""
    return torch.where(column(which), images.flip(-1), images)


def homographies(config: AugmentationConfig, rng: BatchRandom) -> Tensor:
    """Return (B, 3, 3): how to turn, scale, move and tilt each image.

    They lead from the coordinates of the changed image to those of the one given; both are -1..1
    from edge to edge.
    """
    homography = _affine(config, rng)
    if config.perspective:
        homography = homography @ _tilt(config.perspective, rng)
    return homography


def warped(images: Tensor, homography: Tensor) -> Tensor:
    """Resample images once, by `homographies`; what comes from outside is mirrored."""
    grid = _grid(homography, *images.shape[-2:])
    sampled: Tensor = grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    return sampled


def _affine(config: AugmentationConfig, rng: BatchRandom) -> Tensor:
    """Return (B, 3, 3) from output to input coordinates of -1..1."""
    angle = rng.uniform(-config.rotation, config.rotation) * (math.pi / 180)
    scale = 1 / rng.uniform(1 - config.zoom, 1 + config.zoom)
    shift = 2 * rng.uniform(-config.shift, config.shift, 2)
    cos, sin, zero, one = (
        scale * angle.cos(), scale * angle.sin(), torch.zeros_like(angle), torch.ones_like(angle),
    )  # fmt: skip
    rows = [cos, -sin, shift[:, 0], sin, cos, shift[:, 1], zero, zero, one]
    return torch.stack(rows, 1).view(-1, 3, 3)


def _tilt(scale: float, rng: BatchRandom) -> Tensor:
    """Return (B, 3, 3) that move each corner inwards by up to `scale` of the half side."""
    corners = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    corners = corners.to(rng.device).expand(rng.n_images, 4, 2)
    inwards = rng.uniform(0.0, scale, 4, 2)
    return _perspective(corners, corners * (1 - inwards))


def _perspective(points: Tensor, images: Tensor) -> Tensor:
    """Return (B, 3, 3) with a last entry of 1 that map 4 points (B, 4, 2) to their images."""
    (x, y), (u, v) = points.unbind(2), images.unbind(2)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    of_u = torch.stack([x, y, one, zero, zero, zero, -u * x, -u * y], 2)
    of_v = torch.stack([zero, zero, zero, x, y, one, -v * x, -v * y], 2)
    entries = torch.linalg.solve(torch.cat([of_u, of_v], 1), torch.cat([u, v], 1))
    return torch.cat([entries, one[:, :1]], 1).view(-1, 3, 3)


def _grid(homography: Tensor, height: int, width: int) -> Tensor:
    """Return (B, H, W, 2) the input coordinates of every output pixel."""
    x = (torch.arange(width, device=homography.device) + 0.5) * (2 / width) - 1
    y = (torch.arange(height, device=homography.device) + 0.5) * (2 / height) - 1
    across, down = torch.meshgrid(x, y, indexing="xy")
    places = torch.stack([across, down, torch.ones_like(down)])
    mapped = (homography @ places.reshape(3, -1)).view(-1, 3, height, width)
    return (mapped[:, :2] / mapped[:, 2:].clamp_min(1e-3)).permute(0, 2, 3, 1)


def recoloured(images: Tensor, config: AugmentationConfig, rng: BatchRandom) -> Tensor:
    """Change hue, saturation, contrast around the image's mean, and brightness, in one product."""
    hue = rng.uniform(-config.hue, config.hue) * (2 * math.pi)
    saturation = rng.uniform(1 - config.saturation, 1 + config.saturation)
    contrast = rng.uniform(1 - config.contrast, 1 + config.contrast)
    brightness = rng.uniform(1 - config.brightness, 1 + config.brightness)
    mixed = _colour_matrix(hue, saturation) * (contrast * brightness)[:, None, None]
    lift = images.mean((1, 2, 3)) * (1 - contrast) * brightness
    flat = images.permute(0, 2, 3, 1).flatten(1, 2)  # (B, H * W, 3)
    changed = torch.baddbmm(lift[:, None, None], flat, mixed.transpose(1, 2)).clamp_(0, 1)
    return changed.view(-1, *images.shape[2:], 3).permute(0, 3, 1, 2)


def _colour_matrix(angle: Tensor, saturation: Tensor) -> Tensor:
    """Return (B, 3, 3) that turn colours around the grey axis by an angle and stretch from it.

    The turn is in the plane of chrominance of YIQ (NTSC), as in television's hue control: linear,
    keeps luminance and greys, and is close to a turn of HSV's hue.
    """
    to_yiq = torch.tensor(_YIQ, device=angle.device)
    cos, sin = saturation * angle.cos(), saturation * angle.sin()
    turn = torch.zeros(len(angle), 3, 3, device=angle.device)
    turn[:, 0, 0] = 1.0
    turn[:, 1, 1] = turn[:, 2, 2] = cos
    turn[:, 1, 2], turn[:, 2, 1] = -sin, sin
    matrix: Tensor = torch.linalg.inv(to_yiq) @ turn @ to_yiq
    return matrix


def blurred(images: Tensor, which: Tensor, rng: BatchRandom) -> Tensor:
    """Blur some images, each by its own width."""
    side = images.shape[-1]
    sigma = rng.uniform(*_BLUR_SIGMA) * side
    chosen = which.nonzero().squeeze(1)
    if not len(chosen):
        return images
    soft = _gaussian(images[chosen], sigma[chosen], math.ceil(2 * _BLUR_SIGMA[1] * side))
    return images.index_copy(0, chosen, soft)


def _gaussian(images: Tensor, sigma: Tensor, reach: int) -> Tensor:
    """Return images (B, 3, H, W), each blurred by its own width; borders are mirrored.

    Args:
        images: of 0..1.
        sigma: (B,) in pixels.
        reach: pixels on either side that count.
    """
    n_planes = images.shape[0] * images.shape[1]
    away = torch.arange(-reach, reach + 1, device=images.device)
    weights = (-(away**2) / (2 * sigma[:, None] ** 2)).exp()
    weights = (weights / weights.sum(1, keepdim=True)).repeat_interleave(images.shape[1], 0)
    padded = pad(images.contiguous(), (reach,) * 4, mode="reflect")
    planes = padded.reshape(1, n_planes, *padded.shape[2:])
    across = conv2d(planes, weights[:, None, None, :], groups=n_planes)
    return conv2d(across, weights[:, None, :, None], groups=n_planes).view(images.shape)


def noisy(images: Tensor, deviation: float, rng: BatchRandom) -> Tensor:
    """Add Gaussian noise whose standard deviation is drawn up to the one given."""
    strength = column(rng.uniform(0.0, deviation))
    return (images + strength * rng.normal_like(images)).clamp(0, 1)


def erased(images: Tensor, which: Tensor, rng: BatchRandom) -> Tensor:
    """Paint a rectangle of some images in one random grey."""
    area = rng.uniform(*_ERASED_AREA)
    aspect = rng.uniform(math.log(_ERASED_ASPECT[0]), math.log(_ERASED_ASPECT[1])).exp()
    inside = rectangle(images, rng, (area * aspect).sqrt(), (area / aspect).sqrt())
    grey = column(rng.uniform(0.0, 1.0))
    return torch.where(inside & column(which), grey.expand_as(images), images)


def rectangle(images: Tensor, rng: BatchRandom, height: Tensor, width: Tensor) -> Tensor:
    """Return (B, 1, H, W) bool of a rectangle of the relative sides given, somewhere inside."""
    place = rng.uniform(0.0, 1.0, 2)
    top, left = place[:, 0] * (1 - height), place[:, 1] * (1 - width)
    y = (torch.arange(images.shape[-2], device=images.device) + 0.5) / images.shape[-2]
    x = (torch.arange(images.shape[-1], device=images.device) + 0.5) / images.shape[-1]
    rows = (y >= top[:, None]) & (y < (top + height)[:, None])
    columns = (x >= left[:, None]) & (x < (left + width)[:, None])
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def column(values: Tensor) -> Tensor:
    """Return (B, 1, 1, 1) of (B,)."""
    return values[:, None, None, None]


def behind_the_hand(images: Tensor, config: AugmentationConfig, rng: BatchRandom) -> Tensor:
    """Give some images another background, and some a bright one with the hand in the shade.

    What is background is guessed from colour: what looks like the image's top and side edges. The
    guess is soft and often wrong; as augmentation it need only be right on the whole.
    """
    replaced, lit = rng.events(config.background), rng.events(config.backlight)
    partner, tint = rng.order(), rng.uniform(0.7, 1.3, 3, 1, 1)
    brightness, darkness = rng.uniform(0.5, 1.0), rng.uniform(0.2, 0.6)
    chosen = (replaced | lit).nonzero().squeeze(1)
    if not len(chosen):
        return images
    changed, behind = images[chosen], _background(images[chosen])
    other = _patches(images[partner[chosen]], tint[chosen])
    changed = torch.lerp(changed, other, column(replaced[chosen]) * behind)
    glow = column((brightness * lit)[chosen]) * behind
    shade = 1 - column((darkness * lit)[chosen]) * (1 - behind)
    changed = torch.lerp(changed * shade, torch.ones_like(changed), glow).clamp(0, 1)
    return images.index_copy(0, chosen, changed)


_GUESS_SIDE: Final = 25
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


def _patches(images: Tensor, tint: Tensor) -> Tensor:
    """Return images (B, 3, H, W) blurred until only tinted patches of colour are left."""
    colours = interpolate(images, (6, 6), mode="area") * tint
    smooth = interpolate(colours, images.shape[-2:], mode="bilinear", align_corners=False)
    return smooth.clamp(0, 1)


def mixed(
    images: Tensor, labels: Tensor, config: AugmentationConfig, n_classes: int, rng: BatchRandom
) -> tuple[Tensor, Tensor]:
    """Mix each image (B, 3, H, W) with another of its batch; where both are on, a coin decides.

    Returns:
        Images, and soft targets (B, C) that sum to 1.
    """
    partner = rng.order()
    cut = rng.events(0.5) if config.mixup and config.cutmix else config.cutmix > 0
    cut = torch.as_tensor(cut, device=images.device).expand(len(images))
    share = torch.ones(len(images), device=images.device)
    result = images
    if config.mixup:
        share = torch.where(cut, share, rng.beta(config.mixup))
        blended = torch.lerp(images[partner], images, column(share))
        result = torch.where(column(cut), images, blended)
    if config.cutmix:
        side = (1 - rng.beta(config.cutmix)).sqrt()
        inside = rectangle(images, rng, side, side) & column(cut)
        result = torch.where(inside, images[partner], result)
        share = torch.where(cut, 1 - inside.float().mean((1, 2, 3)), share)
    hot = one_hot(labels, n_classes).to(images.dtype)
    return result, torch.lerp(hot[partner], hot, share[:, None].to(images.dtype))

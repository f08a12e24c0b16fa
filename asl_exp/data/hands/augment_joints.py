"""Random changes of joints: those of the image they were found in, and those of a hand.

`mirrored` and `moved` do to joints what augment_ops.flipped and augment_ops.warped do to the
pixels, given the same random numbers. `varied` changes the joints alone, as other people, cameras
and detectors would: it is what lets a network meet hands that no training image shows.

Joints are (B, 21, 2 or 3) in shares of the image: x from its left to its right edge, y from its
top to its bottom edge, then depth, which no change of the image's plane alters.
"""

from typing import Final

import torch
from torch import Tensor

from asl_exp.config.schema import AugmentationConfig, VariationConfig
from asl_exp.data import augment_ops
from asl_exp.data.augment_ops import BatchRandom
from asl_exp.data.hands.hand import FINGERS, N_JOINTS

_PALM: Final = (0, 5, 9, 13, 17)
_NEAREST: Final = 0.3
"""Of the distance of the palm: no tilt brings a joint nearer to the camera."""


def mirrored(joints: Tensor, which: Tensor) -> Tensor:
    """Mirror some hands left to right, with their images; ``which`` is (B,) bool."""
    x = torch.where(which[:, None], 1 - joints[..., 0], joints[..., 0])
    return torch.cat([x[..., None], joints[..., 1:]], -1)


def moved(joints: Tensor, homography: Tensor) -> Tensor:
    """Move joints with images that are resampled by ``homography`` (B, 3, 3).

    augment_ops.homographies gives it; a point of the image given is found again where the
    inverse leads.
    """
    plane = 2 * joints[..., :2] - 1
    there = torch.cat([plane, torch.ones_like(plane[..., :1])], -1)
    there = there @ torch.linalg.inv(homography).transpose(1, 2)
    plane = (there[..., :2] / there[..., 2:].clamp_min(1e-3) + 1) / 2
    return torch.cat([plane, joints[..., 2:]], -1)


def varied(joints: Tensor, by: VariationConfig, rng: BatchRandom) -> Tensor:
    """Return other hands that show the same: each hand is changed round its own palm.

    A hand that was not found (NaN) stays so.
    """
    plane = joints[..., :2]
    palm = plane[:, _PALM].mean(1, keepdim=True)
    plane = plane - palm
    reach = plane.norm(dim=-1).amax(1)[:, None, None].clamp_min(1e-9)
    plane = _other_bones(plane / reach, by, rng)
    plane = _other_places(plane, by, rng)
    plane = _other_view(plane, by, rng) * reach + palm
    return torch.cat([plane, joints[..., 2:]], -1)


def _other_bones(plane: Tensor, by: VariationConfig, rng: BatchRandom) -> Tensor:
    """Lengthen and shorten fingers and bones; joints move with the bones that carry them."""
    finger = 1 + by.finger * rng.normal(len(FINGERS), 1)
    bone = 1 + by.bone * rng.normal(len(FINGERS), 4)
    factor = (finger * bone)[..., None]  # (B, 5, 4, 1)
    wrist = plane[:, :1]
    chains = plane[:, [[0, *joints] for joints in FINGERS]]  # (B, 5, 5, 2)
    grown = ((chains[:, :, 1:] - chains[:, :, :-1]) * factor).cumsum(2)
    return torch.cat([wrist, wrist + grown.flatten(1, 2)], 1)


def _other_places(plane: Tensor, by: VariationConfig, rng: BatchRandom) -> Tensor:
    """Move joints as detectors do: each hand has its own share, 0.3 to about 3 times the noise."""
    strength = by.noise * (0.3 + rng.normal(1, 1).abs())
    plane = plane + strength * rng.normal(N_JOINTS, 2)
    if not by.lost:
        return plane
    lost = rng.uniform(0.0, 1.0, N_JOINTS, 1) < by.lost
    return torch.where(lost, plane + 0.15 * rng.normal(N_JOINTS, 2), plane)


def _other_view(plane: Tensor, by: VariationConfig, rng: BatchRandom) -> Tensor:
    """Show hands as squashed images, lenses and other views would."""
    stretch = torch.exp(by.stretch * rng.normal(2))
    shear = by.shear * rng.normal(1)
    x = (plane[..., 0] + shear * plane[..., 1]) * stretch[:, :1]
    plane = torch.stack([x, plane[..., 1] * stretch[:, 1:]], -1)
    distance = 1 + (plane * (by.tilt * rng.normal(1, 2))).sum(-1, keepdim=True)
    return plane / distance.clamp_min(_NEAREST)


class JointAugmentation:
    """Applies what the configuration asks for; nothing where all of it is zero."""

    def __init__(self, config: AugmentationConfig, variation: VariationConfig) -> None:
        self._config = config
        self._moves = any((config.rotation, config.zoom, config.shift, config.perspective))
        self._variation = variation
        self._varies = any(variation.model_dump().values())

    @torch.no_grad()
    def __call__(self, joints: Tensor, *, seed: int) -> Tensor:
        """Return changed joints (B, 21, 3) of joints (B, 21 K, 3); equal seeds, equal changes.

        Of K looks at a hand the first is trained on, as it was found; one by lot gained nothing.
        """
        config, rng = self._config, BatchRandom(seed, len(joints), joints.device)
        joints = joints[:, :N_JOINTS]
        if config.horizontal_flip:
            joints = mirrored(joints, rng.events(config.horizontal_flip))
        if self._moves:
            joints = moved(joints, augment_ops.homographies(config, rng))
        return varied(joints, self._variation, rng) if self._varies else joints

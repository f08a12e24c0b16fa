"""Random changes of whole batches, on the device the batch is on, another for every image.

All random numbers come from one seed and a generator of this module's own, so that the same seed
gives the same images whatever else draws numbers; torch's global generators are not touched. The
operations, and the random numbers of one batch, are in augment_ops.py.
"""

import torch
from torch import Tensor, nn

from asl_exp.config.schema import AugmentationConfig
from asl_exp.data import augment_ops
from asl_exp.data.augment_ops import BatchRandom


class Augmentation(nn.Module):
    """Applies what an AugmentationConfig asks for; nothing where all of it is zero."""

    def __init__(self, config: AugmentationConfig, n_classes: int) -> None:
        super().__init__()
        self.config = config
        self.n_classes = n_classes
        self._off = not any(config.model_dump().values())

    @torch.no_grad()
    def forward(self, images: Tensor, labels: Tensor, *, seed: int) -> tuple[Tensor, Tensor]:
        """Return changed images and their targets.

        Args:
            images: (B, 3, H, W) of 0..1; left as they are.
            labels: (B,) class indices.
            seed: of all random numbers of this batch.

        Returns:
            Images (B, 3, H, W) of 0..1 in the memory format given, and the labels; with mixup or
            cutmix soft rows (B, C) that sum to 1 in their place.
        """
        if self._off or not len(images):
            return images, labels
        config, rng = self.config, BatchRandom(seed, len(images), images.device)
        changed = images
        if config.background or config.backlight:
            changed = augment_ops.behind_the_hand(changed, config, rng)
        if config.horizontal_flip:
            changed = augment_ops.flipped(changed, rng.events(config.horizontal_flip))
        if config.rotation or config.zoom or config.shift or config.perspective:
            changed = augment_ops.warped(changed, augment_ops.homographies(config, rng))
        if config.brightness or config.contrast or config.saturation or config.hue:
            changed = augment_ops.recoloured(changed, config, rng)
        if config.blur:
            changed = augment_ops.blurred(changed, rng.events(config.blur), rng)
        if config.noise:
            changed = augment_ops.noisy(changed, config.noise, rng)
        if config.erasing:
            changed = augment_ops.erased(changed, rng.events(config.erasing), rng)
        targets = labels
        if config.mixup or config.cutmix:
            changed, targets = augment_ops.mixed(changed, labels, config, self.n_classes, rng)
        return _in_format_of(images, changed), targets


def _in_format_of(images: Tensor, changed: Tensor) -> Tensor:
    """Return the changed images in the memory format of those given: resampling loses it."""
    if images.is_contiguous(memory_format=torch.channels_last):
        return changed.contiguous(memory_format=torch.channels_last)
    return changed

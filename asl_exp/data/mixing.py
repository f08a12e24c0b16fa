"""MixUp (Zhang et al. 2018) and CutMix (Yun et al. 2019): two images in one, and their targets."""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from asl_exp.config.schema import AugmentationConfig
from asl_exp.data.chances import Chances
from asl_exp.data.changes import column, rectangle


def mixed(
    images: Tensor,
    labels: Tensor,
    config: AugmentationConfig,
    n_classes: int,
    chances: Chances,
) -> tuple[Tensor, Tensor]:
    """Mix each image (B, 3, H, W) with another of its batch; where both are on, a coin decides.

    Returns:
        Images, and soft targets (B, C) that sum to 1.
    """
    partner = chances.order()
    cut = chances.events(0.5) if config.mixup and config.cutmix else config.cutmix > 0
    cut = torch.as_tensor(cut, device=images.device).expand(len(images))
    share = torch.ones(len(images), device=images.device)
    result = images
    if config.mixup:
        share = torch.where(cut, share, chances.beta(config.mixup))
        blended = torch.lerp(images[partner], images, column(share))
        result = torch.where(column(cut), images, blended)
    if config.cutmix:
        side = (1 - chances.beta(config.cutmix)).sqrt()
        inside = rectangle(images, chances, side, side) & column(cut)
        result = torch.where(inside, images[partner], result)
        share = torch.where(cut, 1 - inside.float().mean((1, 2, 3)), share)
    hot = one_hot(labels, n_classes).to(images.dtype)
    return result, torch.lerp(hot[partner], hot, share[:, None].to(images.dtype))

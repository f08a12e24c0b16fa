"""Networks of this project, registered with timm so that every room treats them as any other.

Two are published and were trained from scratch, two are small ones of ours. Only their
convolutions are here: what follows the feature map (flatten, dense layers) is the configuration
group `head`. Weights exist for the demo's alone, of drawn hands (docs/benchmarks.md says how they
were made); the others need ``backbone.pretrained=false``.
"""

from collections.abc import Callable
from importlib import resources
from typing import Any

import torch
from timm.layers import create_classifier
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn


def _recorded(image_size: int) -> dict[str, Any]:
    """Return what timm records of a network: no weights, pixels in 0..1 as they are."""
    return {
        "url": "",
        "num_classes": 1000,
        "input_size": (3, image_size, image_size),
        "pool_size": None,
        "crop_pct": 1.0,
        "interpolation": "bilinear",
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
        "first_conv": None,
        "classifier": "fc",
    }


_WEIGHTS = str(resources.files(__package__) / "asl_small_resnet.safetensors")
default_cfgs = generate_default_cfgs(
    {
        "asl_residual_cnn": _recorded(224),
        "asl_plain_cnn": _recorded(128),
        "asl_small_cnn": _recorded(64),
        "asl_small_resnet": _recorded(48) | {"file": _WEIGHTS, "license": "mit"},
    }
)
"""Read by register_model, so it stands before the networks."""


Layers = Callable[[int], tuple[nn.Sequential, int]]


class LetterNetwork(nn.Module):
    """Convolutions with timm's interface.

    Args:
        layers: makes of in_chans what leads from images ``(B, in_chans, S, S)`` to a feature map
            ``(B, C, H, W)``, and returns C as well.
        num_classes: width of timm's own classifier, which a run replaces by its head.
        global_pool: timm's name of the pooling before that classifier; "" for none.
    """

    def __init__(
        self, layers: Layers, in_chans: int = 3, num_classes: int = 1000, global_pool: str = "avg"
    ) -> None:
        super().__init__()
        self.features, self.num_features = layers(in_chans)
        self.head_hidden_size = self.num_features
        self.reset_classifier(num_classes, global_pool)

    def reset_classifier(self, num_classes: int, global_pool: str = "avg") -> None:
        """Replace the classifier by a fresh one; 0 classes leave it out."""
        self.num_classes = num_classes
        self.global_pool, self.fc = create_classifier(
            self.num_features, num_classes, pool_type=global_pool
        )

    def get_classifier(self) -> nn.Module:
        """Return timm's own classifier."""
        return self.fc  # type: ignore[no-any-return]

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Return how parameters form groups by depth, for rates that fall towards the image."""
        return {"stem": r"^features\.0\.", "blocks": r"^features\.(\d+)\."}

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the feature map ``(B, C, H, W)``."""
        return self.features(images)  # type: ignore[no-any-return]

    def forward_head(self, features: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Return scores ``(B, num_classes)``, or pooled features ``(B, C)``."""
        pooled = self.global_pool(features)
        return pooled if pre_logits else self.fc(pooled)  # type: ignore[no-any-return]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return scores ``(B, num_classes)``."""
        return self.forward_head(self.forward_features(images))


class ResidualStem(nn.Module):
    """Two convolutions and a pooling, plus a shortcut that is added after the pooling.

    ``(B, in_chans, S, S)`` to ``(B, 256, ceil(S / 2), ceil(S / 2))``. The shortcut starts behind
    the first convolution and is one 1x1 convolution with stride 2 and no activation.
    """

    def __init__(self, in_chans: int, width: int = 256) -> None:
        super().__init__()
        self.first = _convolution(in_chans, width, padding=1)
        self.second = _convolution(width, width, padding=1)
        self.pool = nn.MaxPool2d(2, ceil_mode=True)  # Keras's padding="same"
        self.shortcut = nn.Conv2d(width, width, 1, stride=2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the sum of both ways."""
        early = self.first(images)
        return self.pool(self.second(early)) + self.shortcut(early)  # type: ignore[no-any-return]


class ResidualLayer(nn.Module):
    """A convolution with BatchNorm and ReLU that is added to what goes in, ``(B, width, S, S)``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the sum, of the same shape."""
        return features + nn.functional.relu(self.norm(self.convolution(features)))


@register_model  # type: ignore[untyped-decorator]
def asl_residual_cnn(pretrained: bool = False, **options: Any) -> nn.Module:
    """Make the published residual CNN: 256, 256 + shortcut, 128, 128, 64, 64, 32, 32.

    Convolutions keep the size (padding "same"), each pair is halved by pooling, then dropout 0.3:
    ``(B, 3, 224, 224)`` to ``(B, 32, 14, 14)``.
    """
    return _make("asl_residual_cnn", _residual_cnn, pretrained, options)


@register_model  # type: ignore[untyped-decorator]
def asl_plain_cnn(pretrained: bool = False, **options: Any) -> nn.Module:
    """Make the published plain CNN: 32, 64, 128, 256, 512, each with ReLU and halving.

    The account shows no padding argument, so convolutions are "valid", Keras's default:
    ``(B, 3, 128, 128)`` to ``(B, 512, 2, 2)``.
    """
    return _make("asl_plain_cnn", _plain_cnn, pretrained, options)


@register_model  # type: ignore[untyped-decorator]
def asl_small_cnn(pretrained: bool = False, **options: Any) -> nn.Module:
    """Make a small CNN with BatchNorm: it learns from scratch on a CPU in minutes.

    ``(B, 3, 64, 64)`` to ``(B, 192, 4, 4)``.
    """
    return _make("asl_small_cnn", _small_cnn, pretrained, options)


@register_model  # type: ignore[untyped-decorator]
def asl_small_resnet(pretrained: bool = False, **options: Any) -> nn.Module:
    """Make the demo's network: asl_small_cnn, narrower, and residual layers where they are cheap.

    ``(B, 3, 48, 48)`` to ``(B, 128, 3, 3)``.
    """
    return _make("asl_small_resnet", _small_resnet, pretrained, options)


def _residual_cnn(in_chans: int) -> tuple[nn.Sequential, int]:
    blocks: list[nn.Module] = [ResidualStem(in_chans), nn.Dropout(0.3)]
    width = 256
    for narrower in (128, 64, 32):
        blocks += [
            _convolution(width, narrower, padding=1),
            _convolution(narrower, narrower, padding=1),
            nn.MaxPool2d(2),
            nn.Dropout(0.3),
        ]
        width = narrower
    return _started_as_keras(nn.Sequential(*blocks)), width


def _plain_cnn(in_chans: int) -> tuple[nn.Sequential, int]:
    blocks: list[nn.Module] = []
    width = in_chans
    for wider in (32, 64, 128, 256, 512):
        blocks += [_convolution(width, wider, padding=0), nn.MaxPool2d(2)]
        width = wider
    return _started_as_keras(nn.Sequential(*blocks)), width


def _small_cnn(in_chans: int) -> tuple[nn.Sequential, int]:
    blocks: list[nn.Module] = []
    width = in_chans
    for wider, stride in ((24, 2), (48, 1), (96, 1), (192, 1)):
        blocks.append(_normed(width, wider, stride=stride))
        width = wider
    return nn.Sequential(*blocks), width


def _small_resnet(in_chans: int) -> tuple[nn.Sequential, int]:
    blocks: list[nn.Module] = []
    width = in_chans
    for wider, stride, n_residual in ((16, 2, 0), (32, 1, 0), (64, 1, 2), (128, 1, 2)):
        blocks.append(_normed(width, wider, stride=stride))
        blocks += [ResidualLayer(wider) for _ in range(n_residual)]
        width = wider
    return nn.Sequential(*blocks), width


def _normed(width: int, wider: int, *, stride: int) -> nn.Sequential:
    """Convolve, normalise and halve, by the stride or by a pooling."""
    return nn.Sequential(
        nn.Conv2d(width, wider, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(wider),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2) if stride == 1 else nn.Identity(),
    )


def _convolution(width: int, wider: int, *, padding: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width, wider, 3, padding=padding), nn.ReLU(inplace=True))


def _started_as_keras(features: nn.Sequential) -> nn.Sequential:
    """Fill kernels Glorot-uniform and biases with zero, as the published networks started."""
    for module in features.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return features


def _make(name: str, layers: Layers, pretrained: bool, options: dict[str, Any]) -> nn.Module:
    network: nn.Module = build_model_with_cfg(
        LetterNetwork, name, pretrained, layers=layers, **options
    )
    return network

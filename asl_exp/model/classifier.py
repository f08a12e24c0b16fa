"""The whole network: images in, class scores out; normalisation included."""

import torch
from torch import nn

from asl_exp.config.schema import Config
from asl_exp.model.backbone import Backbone, build_backbone
from asl_exp.model.head import Head, Pooling, pooled_width
from asl_exp.model.preprocessing import Preprocessing
from asl_exp.model.weights import WeightsReport


class LetterClassifier(nn.Module):
    """Backbone, pooling and head.

    Attributes:
        backbone: the network that is frozen and unfrozen.
        head: from features to scores.
        backbone_layers: modules of the backbone that own parameters, in the order of an image.
        weights: what the backbone started from.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self, backbone: Backbone, head: Head, pooling: Pooling, preprocessing: Preprocessing
    ) -> None:
        super().__init__()
        self.backbone = backbone.network
        self.pooling = pooling
        self.head = head
        self.backbone_layers = backbone.layers
        self.weights: WeightsReport = backbone.weights
        self.image_size = preprocessing.image_size
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(preprocessing.std).view(1, -1, 1, 1))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return pooled features ``(B, F)`` of images ``(B, 3, S, S)`` with values in 0..1."""
        normalised = (images - self.mean) / self.std
        return self.pooling(self.backbone.forward_features(normalised))  # type: ignore[no-any-return, operator]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return scores (logits) ``(B, C)`` of images ``(B, 3, S, S)`` with values in 0..1."""
        return self.head(self.features(images))  # type: ignore[no-any-return]


def build_classifier(
    config: Config,
    n_classes: int,
    preprocessing: Preprocessing,
    backbone: Backbone | None = None,
) -> LetterClassifier:
    """Make the network of an experiment, with a new head and a backbone of loaded weights."""
    backbone = backbone or build_backbone(
        config.backbone,
        preprocessing.image_size,
        sync_batchnorm=config.trainer.sync_batchnorm,
    )
    how = config.head.pooling
    head = Head(
        pooled_width(backbone.feature_shape, how), n_classes, config.head, config.regularization
    )
    pooling = Pooling(
        how, channels_last=backbone.channels_last, n_prefix_tokens=backbone.n_prefix_tokens
    )
    return LetterClassifier(backbone, head, pooling, preprocessing)

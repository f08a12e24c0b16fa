"""The whole network: images in, joints in, or both; class scores out; normalisation included.

Between backbone and scores: pooling and head.
"""

import torch
from torch import nn

from asl_exp.config.schema import Config, HeadConfig, RegularizationConfig
from asl_exp.data.hands.hand import N_JOINTS
from asl_exp.model.backbone import Backbone, Preprocessing, build_backbone
from asl_exp.model.joint_network import JointNetwork, mirrored
from asl_exp.model.weights import WeightsReport


class Pooling(nn.Module):
    """Turn a feature map ``(B, C, H, W)`` or tokens ``(B, N, C)`` into vectors ``(B, F)``."""

    def __init__(self, how: str, *, channels_last: bool = False, n_prefix_tokens: int = 0) -> None:
        super().__init__()
        self.how = how
        self.channels_last = channels_last
        self.n_prefix_tokens = n_prefix_tokens

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return ``(B, F)``."""
        if features.ndim == 2 or self.how == "flatten":
            return features.flatten(1)
        if features.ndim == 3:
            over: tuple[int, ...] = (1,)
            features = features[:, self.n_prefix_tokens :]
        else:
            over = (1, 2) if self.channels_last else (2, 3)
        if self.how == "avg":
            return features.mean(over)
        if self.how == "max":
            return features.amax(over)
        return 0.5 * (features.mean(over) + features.amax(over))


def pooled_width(feature_shape: tuple[int, ...], how: str) -> int:
    """Return F for a feature map of ``(C, H, W)``, tokens ``(N, C)`` or a vector ``(C,)``."""
    if how == "flatten" or len(feature_shape) == 1:
        return int(torch.Size(feature_shape).numel())
    return feature_shape[0] if len(feature_shape) == 3 else feature_shape[-1]


class Head(nn.Sequential):
    """Dropout, dense layers with activation and dropout, and the output layer: F to C scores.

    Dense kernels start as Keras's do (Glorot uniform, zero bias), as the published systems did.
    """

    def __init__(
        self, width: int, n_classes: int, config: HeadConfig, regularization: RegularizationConfig
    ) -> None:
        given = regularization.dropout
        dropouts = given if isinstance(given, list) else [given] * len(config.hidden)
        layers: list[nn.Module] = [nn.Dropout(regularization.feature_dropout)]
        for hidden, dropout in zip(config.hidden, dropouts, strict=True):
            layers += [nn.Linear(width, hidden), _activation(config), nn.Dropout(dropout)]
            width = hidden
        if not config.hidden and isinstance(given, float):
            layers.append(nn.Dropout(given))
        super().__init__(*layers, nn.Linear(width, n_classes))
        self._penalise_output = regularization.l2_on == "all"
        for dense in self._dense_layers():
            nn.init.xavier_uniform_(dense.weight)
            nn.init.zeros_(dense.bias)

    def _dense_layers(self) -> list[nn.Linear]:
        return [layer for layer in self if isinstance(layer, nn.Linear)]

    def penalised_kernels(self) -> list[torch.Tensor]:
        """Return the kernels under the L2 penalty (never the biases)."""
        kernels = [dense.weight for dense in self._dense_layers()]
        return kernels if self._penalise_output else kernels[:-1]


def _activation(config: HeadConfig) -> nn.Module:
    if config.activation == "leaky_relu":
        return nn.LeakyReLU(config.negative_slope)
    if config.activation == "relu":
        return nn.ReLU()
    return nn.GELU() if config.activation == "gelu" else nn.Identity()


class LetterClassifier(nn.Module):
    """Backbone and pooling, a network of joints, or both; and a head over what they give.

    Attributes:
        backbone: the network that is frozen and unfrozen; without parameters where the network
            sees joints alone.
        joints: the network of joints; None where no joints are seen. It trains with the head.
        head: from features to scores.
        backbone_layers: modules of the backbone that own parameters, in the order of an image.
        weights: what the backbone started from.
        sees_pixels: whether there is a backbone.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        backbone: Backbone | None,
        head: Head,
        pooling: Pooling,
        preprocessing: Preprocessing,
        joints: JointNetwork | None = None,
    ) -> None:
        super().__init__()
        self.sees_pixels = backbone is not None
        self.backbone = backbone.network if backbone else nn.Identity()
        self.pooling = pooling
        self.head = head
        self.joints = joints
        self.backbone_layers = backbone.layers if backbone else []
        self.weights: WeightsReport = backbone.weights if backbone else _NO_BACKBONE
        self.image_size = preprocessing.image_size
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(preprocessing.std).view(1, -1, 1, 1))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return pooled features ``(B, F)`` of images ``(B, 3, S, S)`` with values in 0..1."""
        normalised = (images - self.mean) / self.std
        return self.pooling(self.backbone.forward_features(normalised))  # type: ignore[no-any-return, operator]

    def forward(
        self,
        images: torch.Tensor,
        joints: torch.Tensor | None = None,
        has_image: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return scores (logits) ``(B, C)``.

        Args:
            images: ``(B, 3, S, S)`` with values in 0..1; not looked at where joints alone are seen.
            joints: ``(B, 21 K, 3)`` of K looks in shares of the square round the hand, NaN where
                none was found; needed where joints are seen.
            has_image: ``(B,)`` bool, where some hands have no image; None: all have.
        """
        if not self.sees_pixels:
            return self.scores(None, joints)
        if has_image is None or bool(has_image.all()):
            return self.scores(self.features(images), joints)
        return self.scores(self._features_where(has_image, images), joints, has_image)

    def _features_where(self, has_image: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """Return pooled features ``(B, F)``, computed where there is an image.

        Where there is none in the batch one is computed all the same: with several devices every
        weight must take part in every step.
        """
        shown = has_image.clone()
        shown[0] |= ~has_image.any()
        features = self.features(images[shown])
        place = shown.nonzero().squeeze(1)
        return features.new_zeros(len(images), features.shape[1]).index_copy(0, place, features)

    def scores(
        self,
        features: torch.Tensor | None,
        joints: torch.Tensor | None = None,
        has_image: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return scores ``(B, C)`` of pooled features ``(B, F)`` and joints, see `forward`.

        In eval mode a hand of joints alone is answered as the mean of it and its mirror image:
        signers use either hand. Several looks at a hand are answered with their mean as well.
        """
        if self.joints is None:
            return self.head(features)  # type: ignore[no-any-return]
        if joints is None:
            raise ValueError("this network sees joints, and none were given")
        if (looks := joints.shape[1] // N_JOINTS) > 1:
            return self._scores_of_looks(looks, features, joints, has_image)
        if features is None:
            scores: torch.Tensor = self.head(self.joints(joints))
            if self.training:
                return scores
            other = self.head(self.joints(mirrored(joints)))
            return torch.logaddexp(scores.log_softmax(1), other.log_softmax(1))
        if has_image is not None:
            features = features * has_image[:, None].to(features.dtype)
        return self.head(torch.cat([features, self.joints(joints)], 1))  # type: ignore[no-any-return]

    def _scores_of_looks(
        self,
        looks: int,
        features: torch.Tensor | None,
        joints: torch.Tensor,
        has_image: torch.Tensor | None,
    ) -> torch.Tensor:
        """Return the logarithm of the looks' mean probabilities, ``(B, C)``."""
        if features is not None:
            features = features.repeat_interleave(looks, 0)
        if has_image is not None:
            has_image = has_image.repeat_interleave(looks, 0)
        each = self.scores(features, joints.reshape(-1, N_JOINTS, joints.shape[2]), has_image)
        of_looks = each.log_softmax(1).reshape(-1, looks, each.shape[1])
        return of_looks.logsumexp(1)

    def any_hands(self, n: int) -> dict[str, torch.Tensor]:
        """Return arguments beside images for n hands of no meaning, to try the network with."""
        if self.joints is None:
            return {}
        generator = torch.Generator().manual_seed(0)
        n_joints = N_JOINTS * self.joints.n_looks
        return {"joints": torch.rand(n, n_joints, 3, generator=generator).to(self.mean.device)}


_NO_BACKBONE = WeightsReport(pretrained=False, source="no backbone: hand=joints")


def build_classifier(
    config: Config, n_classes: int, preprocessing: Preprocessing, backbone: Backbone | None = None
) -> LetterClassifier:
    """Make the network of an experiment, with a new head and a backbone of loaded weights."""
    seen, how, width = config.hand.mode, config.head.pooling, 0
    pooling = Pooling(how)
    if seen != "joints":
        backbone = backbone or build_backbone(
            config.backbone, preprocessing.image_size, sync_batchnorm=config.trainer.sync_batchnorm
        )
        width = pooled_width(backbone.feature_shape, how)
        pooling = Pooling(
            how, channels_last=backbone.channels_last, n_prefix_tokens=backbone.n_prefix_tokens
        )
    joints = JointNetwork(config.hand) if seen in ("joints", "both") else None
    width += joints.width if joints else 0
    head = Head(width, n_classes, config.head, config.regularization)
    return LetterClassifier(backbone, head, pooling, preprocessing, joints)

"""From a feature map to class scores."""

import torch
from torch import nn

from asl_exp.config.schema import HeadConfig, RegularizationConfig


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
        dropouts = _dropouts(config, regularization)
        layers: list[nn.Module] = [nn.Dropout(regularization.feature_dropout)]
        for hidden, dropout in zip(config.hidden, dropouts, strict=True):
            layers += [nn.Linear(width, hidden), _activation(config), nn.Dropout(dropout)]
            width = hidden
        if not config.hidden and isinstance(regularization.dropout, float):
            layers.append(nn.Dropout(regularization.dropout))
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


def _dropouts(config: HeadConfig, regularization: RegularizationConfig) -> list[float]:
    given = regularization.dropout
    return list(given) if isinstance(given, list) else [given] * len(config.hidden)


def _activation(config: HeadConfig) -> nn.Module:
    if config.activation == "leaky_relu":
        return nn.LeakyReLU(config.negative_slope)
    if config.activation == "relu":
        return nn.ReLU()
    return nn.GELU() if config.activation == "gelu" else nn.Identity()

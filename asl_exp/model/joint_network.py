"""The network from joints to a vector: features of the hand, scaled, and a small residual network.

Its first layer is fixed: the joints' features (data/hands/features.py) less their mean over the
training hands, divided by their standard deviation.
"""

from typing import Final

import torch
from torch import Tensor, nn

from asl_exp.config.schema import HandConfig
from asl_exp.data.hands.features import N_FEATURES, joint_features
from asl_exp.data.hands.hand import N_JOINTS, n_looks

_LEAST_DEVIATION: Final = 0.02
_LARGEST: Final = 6.0
"""Scaled features beyond it are cut off: hands unlike any that was trained on."""

_CHUNK: Final = 4096


class JointNetwork(nn.Module):
    """From joints (B, 21, 3) to vectors (B, width); zeros where no hand was found."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: HandConfig) -> None:
        super().__init__()
        self.width = width = config.network.width
        self.n_looks = n_looks(config)
        dropout = config.network.dropout
        self.first = nn.Sequential(
            nn.Dropout(config.network.input_dropout),
            nn.Linear(N_FEATURES, width),
            nn.LayerNorm(width),
            nn.GELU(),
            nn.Dropout(dropout),
        )
        self.blocks = nn.ModuleList([_block(width, dropout) for _ in range(config.network.depth)])
        self.last = nn.LayerNorm(width)
        self.register_buffer("mean", torch.zeros(N_FEATURES))
        self.register_buffer("deviation", torch.ones(N_FEATURES))

    @torch.no_grad()
    def fit_scale(self, joints: Tensor) -> None:
        """Take mean and deviation of the features of hands (N, 21 K, 3) and their mirror images.

        The first look counts. Hands that were not found (NaN) have no part in it.
        """
        found = joints[torch.isfinite(joints[:, 0, 0]), :N_JOINTS]
        both = torch.cat([found, mirrored(found)])
        features = torch.cat([joint_features(part) for part in torch.split(both, _CHUNK)])
        self.mean.copy_(features.double().mean(0))
        self.deviation.copy_(features.double().std(0).clamp_min(_LEAST_DEVIATION))

    def forward(self, joints: Tensor) -> Tensor:
        """Return (B, width) of joints (B, 21, 3)."""
        found = torch.isfinite(joints[:, 0, 0])[:, None]
        scaled = (joint_features(joints) - self.mean) / self.deviation
        vectors = self.first(scaled.clamp(-_LARGEST, _LARGEST))
        for block in self.blocks:
            vectors = vectors + block(vectors)
        return torch.where(found, self.last(vectors), torch.zeros_like(vectors))


def mirrored(joints: Tensor) -> Tensor:
    """Return the same hands as a mirror shows them."""
    return torch.cat([1 - joints[..., :1], joints[..., 1:]], -1)


def _block(width: int, dropout: float) -> nn.Module:
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.Linear(width, width),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(width, width),
        nn.Dropout(dropout),
    )

"""Random changes of a batch of joints: those of the group `augmentation` that move pixels, drawn
and applied as for pixels, then those of the group `hand.variation`, which are a hand's alone.
"""

import torch
from torch import Tensor

from asl_exp.config.schema import AugmentationConfig, VariationConfig
from asl_exp.data import augment_ops
from asl_exp.data.augment_ops import BatchRandom
from asl_exp.data.hands.augment_joints import Variation, mirrored, moved, varied
from asl_exp.data.hands.hand import N_JOINTS


class JointAugmentation:
    """Applies what the configuration asks for; nothing where all of it is zero.

    Args:
        config: the group `augmentation`.
        variation: the group `hand.variation`.
    """

    def __init__(self, config: AugmentationConfig, variation: VariationConfig) -> None:
        self._config = config
        self._moves = any((config.rotation, config.zoom, config.shift, config.perspective))
        self._variation = Variation(**variation.model_dump())
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

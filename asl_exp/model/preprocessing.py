"""What the backbone expects of an image: size, normalisation, interpolation.

The weights' own values, unless the configuration gives others.
"""

from dataclasses import asdict, dataclass
from typing import Any

import timm

from asl_exp.config.schema import BackboneConfig
from asl_exp.model import scratch_networks  # noqa: F401  (registers ours with timm)


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes an input.

    Attributes:
        image_size: side of the square input, pixels.
        mean, std: per channel, of values in 0..1.
        interpolation: how images are resized.
    """

    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for a checkpoint or JSON."""
        return asdict(self)


def resolve_preprocessing(config: BackboneConfig) -> Preprocessing:
    """Return the configured values, completed by those of the weights.

    They are what timm records, or, where training starts from a model of one's own, that model's.
    """
    from asl_exp.model.own_weights import own_model  # which is made of this module's

    if (own := own_model(config)) is not None:
        return Preprocessing(
            image_size=config.image_size or own.preprocessing.image_size,
            mean=tuple(config.mean or own.preprocessing.mean),
            std=tuple(config.std or own.preprocessing.std),
            interpolation=config.interpolation or own.preprocessing.interpolation,
        )
    recorded = timm.models.get_pretrained_cfg(config.name, allow_unregistered=True)
    values = timm.data.resolve_data_config(
        {}, pretrained_cfg=recorded.to_dict() if recorded else {}
    )
    return Preprocessing(
        image_size=config.image_size or int(values["input_size"][-1]),
        mean=tuple(config.mean or values["mean"]),
        std=tuple(config.std or values["std"]),
        interpolation=config.interpolation or str(values["interpolation"]),
    )

"""Makes a backbone: any timm network without its classifier, seen as a list of layers in order."""

from dataclasses import dataclass, field

import timm
import torch
from torch import nn

from asl_exp.config.errors import ConfigError
from asl_exp.config.schema import BackboneConfig
from asl_exp.model import scratch_networks  # noqa: F401  (registers ours with timm)
from asl_exp.model.weights import WeightsReport, load_weights


@dataclass
class Backbone:
    """A network from images to a feature map.

    Attributes:
        network: a timm network; ``forward_features`` maps ``(B, 3, S, S)`` to the feature map.
        layers: modules that own parameters, in the order in which an image meets them.
        feature_shape: of one image's feature map, channels first: ``(C, H, W)`` or ``(N, C)``.
        channels_last: the network gives ``(B, H, W, C)``.
        n_prefix_tokens: leading tokens that are no patches, for transformers.
        weights: what was loaded.
    """

    network: nn.Module
    layers: list[nn.Module]
    feature_shape: tuple[int, ...]
    channels_last: bool
    n_prefix_tokens: int
    weights: WeightsReport = field(repr=False)


def build_backbone(
    config: BackboneConfig, image_size: int, *, sync_batchnorm: bool = False
) -> Backbone:
    """Make the network, load its weights, and leave out what an image never meets.

    With ``sync_batchnorm`` its BatchNorms are timm's synchronised ones: torch's own conversion
    would drop the activation that timm keeps inside them.

    Raises:
        ConfigError: timm does not accept ``backbone.options`` or the image size.
        WeightsError: the pretrained weights cannot be had or do not fit.
    """
    network = _create(config, image_size)
    report = load_weights(network, config)
    if sync_batchnorm:
        network = timm.layers.convert_sync_batchnorm(network)
    network.reset_classifier(0, "")  # type: ignore[operator]
    layers, features = _trace(network, image_size, config.name)
    _drop_unused(network, layers)
    channels_last = getattr(network, "output_fmt", "NCHW") == "NHWC"
    if channels_last:
        features = features.permute(0, 3, 1, 2)
    return Backbone(
        network=network,
        layers=layers,
        feature_shape=tuple(features.shape[1:]),
        channels_last=channels_last,
        n_prefix_tokens=int(getattr(network, "num_prefix_tokens", 0)),
        weights=report,
    )


def _create(config: BackboneConfig, image_size: int) -> nn.Module:
    options = dict(config.options)
    recorded = timm.models.get_pretrained_cfg(config.name, allow_unregistered=True)
    if recorded and recorded.fixed_input_size:
        options["img_size"] = image_size
    try:
        network: nn.Module = timm.create_model(config.name, pretrained=False, **options)
    except (TypeError, RuntimeError, ValueError, AssertionError) as error:
        raise ConfigError(
            [
                f"backbone.name: timm cannot make '{config.name}' with {options or 'no options'}: "
                f"{error}; see backbone.options and backbone.image_size"
            ]
        ) from error
    return network


@torch.no_grad()
def _trace(network: nn.Module, image_size: int, name: str) -> tuple[list[nn.Module], torch.Tensor]:
    """Send one blank image through; return the layers it met and its feature map.

    Runs in eval mode, so that no BatchNorm statistic moves.
    """
    met: dict[nn.Module, None] = {}
    hooks = [
        module.register_forward_pre_hook(lambda module, _: met.setdefault(module))
        for module in network.modules()
        if any(True for _ in module.parameters(recurse=False))
    ]
    was_training = network.training
    network.eval()
    try:
        features = network.forward_features(torch.zeros(1, 3, image_size, image_size))  # type: ignore[operator]
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ConfigError(
            [f"backbone.image_size: {name} cannot take {image_size} x {image_size} pixels: {error}"]
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
        network.train(was_training)
    if any(True for _ in network.parameters(recurse=False)):
        met = {network: None, **met}  # tokens and position embeddings, owned by the network itself
    return list(met), features


def _drop_unused(network: nn.Module, layers: list[nn.Module]) -> None:
    """Replace children that no image meets (VGG's dense layers): they would get no gradient."""
    met = set(layers)
    for name, child in network.named_children():
        owners = [m for m in child.modules() if any(True for _ in m.parameters(recurse=False))]
        if owners and not met.intersection(owners):
            setattr(network, name, nn.Identity())

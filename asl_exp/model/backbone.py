"""Makes a backbone: any timm network without its classifier, seen as a list of layers in order.

Also what is expected of an image that goes in: size, normalisation, interpolation.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from asl_exp.compat.quick_start import load_kernels
from asl_exp.config.errors import ConfigError
from asl_exp.config.schema import BackboneConfig
from asl_exp.model.weights import WeightsReport, load_weights, recorded, timm_with_ours

_MOST_WEIGHTS: Final = 2_000_000_000
"""Timm's largest network has 1.8 thousand millions."""


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


@dataclass
class Backbone:
    """A network from images to a feature map.

    Attributes:
        network: a timm network; ``forward_features`` maps ``(B, 3, S, S)`` to the feature map.
        layers: modules that own parameters, in the order in which an image meets them.
        feature_shape: of one image's feature map, channels first: ``(C, H, W)`` or ``(N, C)``.
        channels_last: the network gives ``(B, H, W, C)``.
        n_prefix_tokens: leading tokens that are no patches, for transformers.
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
        network = timm_with_ours().layers.convert_sync_batchnorm(network)
    network.reset_classifier(0, "")  # type: ignore[operator]
    layers, features = _trace(network, image_size, config.name)
    if config.options and not bool(torch.isfinite(features).all()):
        raise ConfigError(
            [
                f"backbone.options: {config.name} with {config.options} gives features that are "
                "infinite or NaN; leave out what makes them so"
            ]
        )
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


def require_options(config: BackboneConfig, image_size: int) -> None:
    """Refuse options that the network does not take; nothing is loaded.

    Raises:
        ConfigError: timm does not accept them.
    """
    if config.options:
        options = _options(config, image_size)
        with _said_as_ours(config, options):
            _require_sound(_shapes(config.name, options), config)
            _require_heard(config, options)


def _create(config: BackboneConfig, image_size: int) -> nn.Module:
    require_options(config, image_size)
    options = _options(config, image_size)
    with _said_as_ours(config, options):
        network: nn.Module = timm_with_ours().create_model(config.name, pretrained=False, **options)
    return network


def _options(config: BackboneConfig, image_size: int) -> dict[str, Any]:
    """Return what timm is given beside the name."""
    fixed = recorded(config.name).get("fixed_input_size")
    return {**config.options, **({"img_size": image_size} if fixed else {})}


@contextmanager
def _said_as_ours(config: BackboneConfig, options: dict[str, Any]) -> Iterator[None]:
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:  # timm's networks raise what they like
        unknown = isinstance(error, KeyError) and error.args
        reason = f"no '{error.args[0]}'" if unknown else str(error)
        raise ConfigError(
            [
                f"backbone.name: timm cannot make '{config.name}' with {options or 'no options'}: "
                f"{reason}; see backbone.options and backbone.image_size"
            ]
        ) from error


def _shapes(name: str, options: dict[str, Any]) -> nn.Module:
    """Return the network without values, which takes no memory."""
    load_kernels()
    with torch.device("meta"), _Unfilled():
        network: nn.Module = timm_with_ours().create_model(name, pretrained=False, **options)
    return network


class _Unfilled(TorchFunctionMode):
    """Leaves out random values, for which tensors without memory have torch load its compiler."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if getattr(func, "__name__", "").endswith(("normal_", "uniform_", "erfinv_")):
            return args[0] if args else given["tensor"]
        return func(*args, **given)


def _require_sound(network: nn.Module, config: BackboneConfig) -> None:
    """Refuse options that no machine has the memory for, or that are switches and given words."""
    parameters = inspect.signature(type(network).__init__).parameters
    faults = [
        f"backbone.options.{option}: got '{value}'; must be true or false"
        for option, value in config.options.items()
        if isinstance(value, str)
        and option in parameters
        and isinstance(parameters[option].default, bool)
    ]
    if (count := n_weights(network)) > _MOST_WEIGHTS:
        faults.append(
            f"backbone.options: {config.name} with {config.options} has {count:,} weights; at "
            f"most {_MOST_WEIGHTS:,} are taken"
        )
    if faults:
        raise ConfigError(faults)


def _require_heard(config: BackboneConfig, options: dict[str, Any]) -> None:
    """Refuse words that timm passes over: with them, without, and with any other it is the same."""
    made = _made(config.name, options)
    for option, value in config.options.items():
        if not isinstance(value, str) or not value:
            continue
        without = {name: one for name, one in options.items() if name != option}
        try:
            others = [_made(config.name, w) for w in (without, {**without, option: "no such word"})]
        except Exception:  # timm's networks raise what they like: this one looks at the word
            continue
        if others == [made, made]:
            raise ConfigError(
                [
                    f"backbone.options.{option}: got '{value}', which {config.name} does not know: "
                    "timm makes the same network with and without it; leave it out"
                ]
            )


def _made(name: str, options: dict[str, Any]) -> tuple[str, dict[str, torch.Size]]:
    network = _shapes(name, options)
    return repr(network), {key: tensor.shape for key, tensor in network.state_dict().items()}


def n_weights(network: nn.Module) -> int:
    """Return how many weights a network has, its classifier included."""
    return sum(parameter.numel() for parameter in network.parameters())


def planned_weights(config: BackboneConfig) -> int:
    """Return how many weights the backbone of a configuration has, without making them."""
    return n_weights(_shapes(config.name, dict(config.options)))


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
    except Exception as error:  # as above
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

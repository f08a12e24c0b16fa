"""Loads pretrained weights whole or not at all, and says what was loaded from where.

Nothing falls back to random weights by itself, and no tensor is skipped but the old classifier.
"""

import hashlib
import socket
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.parse import urlsplit

import safetensors
import safetensors.torch
import torch
from torch import nn

from asl_exp.compat.quick_start import load_quickly
from asl_exp.config.conf_folder import home_expanded
from asl_exp.config.errors import WeightsError, first_line
from asl_exp.config.process_setup import collector_paused
from asl_exp.config.schema import BackboneConfig
from asl_exp.data.cache_files import file_digest

Tensors = Mapping[str, torch.Tensor]

RANDOM = "random initialisation"
_CONNECT_TIMEOUT_S = 5.0  # a server that is there answers in less, also far away


@cache
def timm_with_ours() -> Any:
    """Return timm, with the networks of this project registered.

    Loaded when it is asked for: that takes a CPU second, and a network of joints needs no backbone.
    """
    with collector_paused():
        load_quickly("timm")
        import timm

        from asl_exp.model import scratch_networks  # noqa: F401
    return timm


@dataclass(frozen=True)
class WeightsReport:
    """What the backbone started from.

    Attributes:
        pretrained: False for random initialisation.
        source: file name, hub repository or address, or "random initialisation".
        digest: sha256 of the file, or of the tensors that came from a hub; empty if random.
        n_tensors: tensors loaded.
        left_out: names of the old classifier's tensors.
        left_out_classes: how many classes that classifier had; 0 if there was none.
    """

    pretrained: bool
    source: str
    digest: str = ""
    n_tensors: int = 0
    left_out: tuple[str, ...] = ()
    left_out_classes: int = 0

    def __str__(self) -> str:
        """Return the sentence that a run prints."""
        if not self.pretrained and self.source != RANDOM:
            return self.source
        if not self.pretrained:
            return "random initialisation (backbone.pretrained=false): not a transfer result"
        text = f"{self.n_tensors} tensors from {self.source}, sha256 {self.digest[:16]}"
        if self.left_out:
            text += f"; its classifier of {self.left_out_classes} classes left out"
        return text


def load_weights(network: nn.Module, config: BackboneConfig) -> WeightsReport:
    """Fill ``network``, which still has its classifier, as the configuration says.

    Raises:
        WeightsError: missing or unreadable file, no published weights, hub out of reach, or
            tensors that do not fit.
    """
    if not config.pretrained:
        return WeightsReport(pretrained=False, source=RANDOM)
    path = home_expanded(config.weights) if config.weights is not None else _packaged(config.name)
    if path is not None:
        return _fill(network, read_tensors(path), path.name, file_digest(path))
    return _load_published(network, config)


def recorded(name: str) -> dict[str, Any]:
    """Return what timm records of a network; nothing of one that it does not know."""
    found = timm_with_ours().models.get_pretrained_cfg(name, allow_unregistered=True)
    return found.to_dict() if found else {}


def _packaged(name: str) -> Path | None:
    """Return the file of weights that comes with this package, of a network of ours."""
    file = recorded(name).get("file")
    return Path(file) if file else None


def licence_of(config: BackboneConfig) -> str:
    """Return in words where the weights that training starts from come from, and their licence."""
    if not config.pretrained:
        return "none, it started from random values"
    known = recorded(config.name)
    licence = known.get("license") or "unknown to timm"
    if config.weights is not None:
        return (
            f"the file {Path(config.weights).name}, whose licence is its maker's; that of timm's "
            f"own {config.name} is {licence}"
        )
    if _packaged(config.name) is not None:
        return f"drawn hands, with asl_exp, licence {licence}"
    where = known.get("hf_hub_id") or config.name
    return f"{where}, through timm, licence {licence}"


def require_reachable(config: BackboneConfig) -> None:
    """Refuse, before any image is decoded, weights that are not published or out of reach.

    Raises:
        WeightsError: with what to do instead.
    """
    if not config.pretrained or config.weights is not None or _packaged(config.name) is not None:
        return
    _published_source(config.name, recorded(config.name))


def _published_source(name: str, published: Mapping[str, Any]) -> str:
    """Return the repository or address of published weights; fail where it cannot be reached."""
    source = published.get("hf_hub_id") or published.get("url")
    if not source:
        raise WeightsError(
            f"backbone.pretrained: no weights are published for '{name}'; give "
            "backbone.weights=FILE or start from random weights with backbone.pretrained=false"
        )
    if published.get("hf_hub_id") and not _cached(str(source)):
        _reach_hub(name, str(source))
    return str(source)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file or a torch state dict (tensors only: nothing in it is executed)."""
    if not path.is_file():
        raise WeightsError(f"backbone.weights: no file '{path}'")
    try:
        if path.suffix == ".safetensors":
            tensors: dict[str, torch.Tensor] = safetensors.torch.load_file(path)
            return tensors
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make torch.load raise eight kinds of errors
        raise WeightsError(
            f"backbone.weights: cannot read '{path}' ({first_line(error)}); allowed are "
            "safetensors files and torch files that hold nothing but tensors"
        ) from error
    return _state_dict(content, path)


def _state_dict(content: object, path: Path) -> dict[str, torch.Tensor]:
    """Unwrap the usual containers and the prefix that DataParallel adds."""
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if (
        not isinstance(content, dict)
        or not content
        or not all(isinstance(value, torch.Tensor) for value in content.values())
    ):
        raise WeightsError(f"backbone.weights: '{path}' holds no state dict of named tensors")
    return {str(name).removeprefix("module."): tensor for name, tensor in content.items()}


def _fill(network: nn.Module, given: Tensors, source: str, digest: str) -> WeightsReport:
    """Copy all tensors but the classifier's; missing, unknown or misshapen ones are an error."""
    classifier = _classifier_names(network)
    expected = {k: v for k, v in network.state_dict().items() if k not in classifier}
    taken = {k: v for k, v in given.items() if k not in classifier}
    wrong = misfits(expected, taken)
    wrong["missing"] = [n for n in wrong["missing"] if not n.endswith("num_batches_tracked")]
    infinite = wrong.pop("infinite")
    if any(wrong.values()):
        raise WeightsError(_mismatch(source, wrong, expected, taken))
    if infinite:
        raise WeightsError(
            f"backbone.weights: {source} holds infinite or NaN values in {len(infinite)} tensors: "
            f"{', '.join(infinite[:3])}; it is damaged"
        )
    network.load_state_dict(taken, strict=False)
    left_out = sorted(classifier & given.keys())
    n_classes = max((given[name].shape[0] for name in left_out), default=0)
    return WeightsReport(True, source, digest, len(taken), tuple(left_out), n_classes)


def misfits(expected: Tensors, given: Tensors) -> dict[str, list[str]]:
    """Return the names of tensors that do not fit, by what is wrong with them."""
    both = sorted(expected.keys() & given.keys())
    fitting = {name for name in both if expected[name].shape == given[name].shape}
    return {
        "missing": sorted(expected.keys() - given.keys()),
        "unknown": sorted(given.keys() - expected.keys()),
        "misshapen": [name for name in both if name not in fitting],
        "of another kind": [
            name
            for name in both
            if expected[name].is_floating_point() != given[name].is_floating_point()
            or given[name].is_complex()
        ],
        "infinite": [n for n in both if n in fitting and not bool(given[n].isfinite().all())],
    }


def first_names(names: Sequence[str]) -> str:
    """Return some tensors' names, for a message."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _classifier_names(network: nn.Module) -> set[str]:
    """Return the state-dict names of the network's own classifier."""
    classifier = network.get_classifier()  # type: ignore[operator]
    parts = classifier if isinstance(classifier, (tuple, list)) else (classifier,)
    prefixes = [n for n, m in network.named_modules() if any(m is part for part in parts)]
    return {
        name for name in network.state_dict() if any(name.startswith(p + ".") for p in prefixes)
    }


def _mismatch(
    source: str, wrong: Mapping[str, list[str]], expected: Tensors, given: Tensors
) -> str:
    lines = [f"backbone.weights: {source} does not fit the network of backbone.name:"]
    for what, tensors in (
        ("missing in the file", wrong["missing"]),
        ("unknown to the network", wrong["unknown"]),
        ("of another shape", [
            f"{n} {tuple(given[n].shape)} instead of {tuple(expected[n].shape)}"
            for n in wrong["misshapen"]
        ]),
        ("of whole numbers or another kind", [
            f"{n} {str(given[n].dtype).removeprefix('torch.')}" for n in wrong["of another kind"]
        ]),
    ):  # fmt: skip
        if tensors:
            lines.append(f"  {len(tensors)} tensors {what}: {first_names(tensors)}")
    lines.append("  choose the backbone.name (and backbone.options) that the weights were made for")
    return "\n".join(lines)


def _load_published(network: nn.Module, config: BackboneConfig) -> WeightsReport:
    source = _published_source(config.name, getattr(network, "pretrained_cfg", None) or {})
    try:
        # With its own number of classes timm loads strictly, the classifier included.
        loaded = timm_with_ours().create_model(config.name, pretrained=True, **config.options)
    except (OSError, RuntimeError, safetensors.SafetensorError, UnpicklingError) as error:
        # The hub's and urllib's errors are OSErrors; the others are downloads that are no weights.
        raise WeightsError(_out_of_reach(config.name, str(source), error)) from error
    tensors = loaded.state_dict()
    return _fill(network, tensors, str(source), tensors_digest(tensors))


def _cached(repository: str) -> bool:
    import huggingface_hub  # comes with timm

    names = ("model.safetensors", "pytorch_model.bin")
    return any(
        isinstance(huggingface_hub.try_to_load_from_cache(repository, name), str) for name in names
    )


def _reach_hub(name: str, source: str) -> None:
    """Fail at once where the hub has no route; the hub's client would retry for 45 s."""
    import huggingface_hub

    address = urlsplit(huggingface_hub.constants.ENDPOINT)
    by_proxy = {address.scheme, "all"} & urllib.request.getproxies().keys()
    if by_proxy and not urllib.request.proxy_bypass(address.hostname or ""):
        return
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname or "", port), _CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise WeightsError(_out_of_reach(name, source, error)) from error


def _out_of_reach(name: str, source: str, error: Exception) -> str:
    return (
        f"backbone.pretrained: the weights of '{name}' ({source}) could not be fetched: "
        f"{first_line(error)}. Connect to the hub, or give a local file with "
        "backbone.weights=FILE, or start from random weights with backbone.pretrained=false"
    )


def tensors_digest(tensors: dict[str, torch.Tensor]) -> str:
    """Return the sha256 of named tensors, whatever file they come from."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()

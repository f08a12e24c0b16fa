"""Looks at the machine before anything is loaded: names, files and devices that are not there.

Cheap on purpose: timm and torch take seconds to import, so neither is asked.
"""

import importlib.util
import os
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

from asl_exp.compat.timm import published_tags, registered_models
from asl_exp.config.conf_folder import exists_at, home_expanded, is_file_at
from asl_exp.config.errors import nearest
from asl_exp.config.schema import Config


def preflight(config: Config) -> list[str]:
    """Return one sentence for each thing that the run would miss later."""
    return [*_backbone(config), *_hand(config), *_devices(config), *_graphs(config)]


def _hand(config: Config) -> Iterator[str]:
    hand = config.hand
    if hand.mode != "none" and hand.detector == "mediapipe":
        if importlib.util.find_spec("ai_edge_litert") is None:
            yield (
                f"hand={hand.mode} needs the extra 'hands': pip install 'asl-exp[hands]' "
                "(ai-edge-litert, 22 MB)"
            )
        if hand.model is not None and not is_file_at(hand.model):
            yield (
                f"hand.model: no file '{hand.model}'; give MediaPipe's hand_landmarker.task, or "
                "leave it out and it is fetched"
            )
    for name in config.data.joints:
        if not is_file_at(name):
            yield f"data.joints: no file '{name}'"


def _backbone(config: Config) -> Iterator[str]:
    if config.hand.mode == "joints":
        return  # there is none
    architecture, _, tag = config.backbone.name.partition(".")
    if tag and known_backbones(architecture) and (tags := _tags(architecture)) is not None:
        if tag not in tags:
            named = f"allowed: {', '.join(sorted(tags))}, or none" if tags else "it has none"
            yield (
                f"backbone.name: '{architecture}' has no weights '{tag}'{nearest(tag, tags)}; "
                f"{named}"
            )
    elif not known_backbones(architecture) and (names := known_backbones()):
        yield (f"backbone.name: timm has no model '{architecture}'{nearest(architecture, names)}")
    weights = config.backbone.weights
    if weights is not None and (fault := _weights_fault(weights)):
        yield f"backbone.weights: {fault}"


_OF_MODELS = ("result.json", "model.json", "MLmodel")


def _weights_fault(weights: str) -> str | None:
    """Return what is wrong with a file of weights, or a folder of a run or a model."""
    if is_file_at(weights):
        return None
    given = home_expanded(weights)
    if not (exists_at(weights) and given.is_dir()):
        hint = "; ImageNet's weights are backbone.pretrained=true, without backbone.weights"
        return f"no file '{weights}'{'' if set(weights) & set('./') else hint}"
    if any((given / name).is_file() for name in _OF_MODELS):
        return None
    return (
        f"'{given}' is a folder of no run and no model (it has no {' or '.join(_OF_MODELS[:2])}); "
        "give a run folder, a model folder, or a file of weights"
    )


def known_backbones(only: str | None = None) -> set[str]:
    """Return the names that timm and asl_exp register, read from their sources; empty if unread.

    Args:
        only: the one name that is asked for, which is found sooner.
    """
    return registered_models(Path(__file__).resolve().parent.parent / "model", only=only)


def _tags(architecture: str) -> set[str] | None:
    """Return the names of published weights of a network; None where they cannot be told."""
    ours = Path(__file__).resolve().parent.parent / "model"
    if any(f"def {architecture}(".encode() in file.read_bytes() for file in ours.glob("*.py")):
        return set()
    return published_tags(architecture)


def _devices(config: Config) -> Iterator[str]:
    trainer = config.trainer
    if trainer.accelerator == "cpu" or (trainer.accelerator == "auto" and trainer.devices == 1):
        return  # the driver need not be asked
    gpus = visible_gpus()
    if trainer.accelerator == "gpu" and gpus < trainer.devices:
        yield (
            f"trainer.devices: got {trainer.devices} with trainer.accelerator=gpu, but this "
            f"machine shows {_counted(gpus)}; use trainer.accelerator=cpu or fewer devices"
        )
    if trainer.accelerator == "auto" and trainer.devices > max(1, gpus):
        fewer = "one device" if gpus < 2 else f"at most {gpus}"
        yield (
            f"trainer.devices: got {trainer.devices}, but this machine shows {_counted(gpus)}; "
            f"use {fewer}, or trainer.accelerator=cpu for processes on the CPU"
        )


def _graphs(config: Config) -> Iterator[str]:
    trainer = config.trainer
    if trainer.compile == "cuda_graphs" and (trainer.accelerator == "cpu" or visible_gpus() == 0):
        yield "trainer.compile=cuda_graphs needs a GPU; trainer.compile=true is for any device"


def visible_gpus() -> int:
    """Return how many NVIDIA devices the driver shows and CUDA_VISIBLE_DEVICES lets through.

    The driver's library is asked, not /dev, which is empty of GPUs under WSL2. As CUDA does, the
    list of devices is read up to the first number that no device has.
    """
    there, allowed = gpus_of_driver(), os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None:
        return there
    names = [name.strip() for name in allowed.split(",")]
    valid = list(takewhile(lambda name: _is_device(name, there), names))
    return min(there, len(valid))


def gpus_of_driver() -> int:
    """Return how many NVIDIA devices the driver shows, whatever this process may use."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver, no library of it, or one that does not fit the other
        return 0
    try:
        return int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return 0
    finally:
        pynvml.nvmlShutdown()


def _is_device(name: str, n_devices: int) -> bool:
    """Return whether CUDA takes a name: a number, or the beginning of an identifier."""
    if name.startswith(("GPU-", "MIG-")):
        return True
    return name.isdecimal() and int(name) < n_devices


def _counted(gpus: int) -> str:
    return "no GPU" if gpus == 0 else "1 GPU" if gpus == 1 else f"{gpus} GPUs"

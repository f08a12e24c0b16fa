"""``data.batch_size=auto``: the most images a step that fit, in every phase of the schedule.

On a GPU steps are tried until one is out of memory. On a CPU the kernel would kill the process, so
a small step is measured and the rest is calculated. Powers of two, at most 1024 and at most the
training set.
"""

import copy
import os
from typing import Any

import torch
from torch import nn

from asl_exp.config.errors import OutOfMemoryError
from asl_exp.config.schema import Config, PhaseConfig
from asl_exp.model.backbone import Preprocessing
from asl_exp.model.classifier import LetterClassifier
from asl_exp.training.optimizer import make_optimizer
from asl_exp.training.ranks import gather
from asl_exp.training.terminal import say
from asl_exp.training.trainable import hold_frozen, set_trainable

_MOST = 1024
"""Images a step; larger steps would need other learning rates than the presets have."""

_CPU_SHARE = 0.6
"""Of the memory that is free; stored pixels, figures and other processes need some too."""

_MEASURED = 4
"""Images of the step that is measured: enough that what a step holds once counts for little."""


def step_images(config: Config) -> int:
    """Return the global batch size, once it is known."""
    size = config.data.batch_size
    if size == "auto":
        raise ValueError("data.batch_size=auto has not been found out yet")
    return size


def with_batch_size(
    config: Config,
    model: LetterClassifier,
    n_train_images: int,
    preprocessing: Preprocessing,
    device: torch.device,
    *,
    known: int | None,
) -> Config:
    """Return the configuration with ``auto`` replaced; the model is left as it was.

    All ranks take part and agree on the least of what they found. ``known`` is what a run that is
    taken up again began with.
    """
    if config.data.batch_size != "auto":
        return config
    if known is not None:
        return _with(config, known)
    parts = config.trainer.devices * config.trainer.num_nodes * config.trainer.accumulate
    per_part = min(
        _largest(copy.deepcopy(model), phase, config, preprocessing.image_size, device)
        for phase in config.schedule.values()
        if phase.epochs
    )
    most = 2 ** (min(_MOST, n_train_images).bit_length() - 1)
    size = max(parts, min(most // parts * parts, min(gather(per_part)) * parts))
    say(f"data.batch_size=auto: {size} images a step")
    return _with(config, size)


def _with(config: Config, size: int) -> Config:
    data = config.data.model_copy(update={"batch_size": size})
    return config.model_copy(update={"data": data})


def _largest(
    model: LetterClassifier, phase: PhaseConfig, config: Config, size: int, device: torch.device
) -> int:
    """Return the largest power of two of images that one device can train on at once."""
    model.to(device)
    set_trainable(model, phase)
    model.train()
    hold_frozen(model, phase)
    optimizer = make_optimizer(model, config.optimizer, lr=1e-9, layer_decay=1.0)
    if device.type == "cuda":
        return _until_out_of_memory(model, optimizer, size, device)
    return _calculated(model, optimizer, size)


def _until_out_of_memory(
    model: LetterClassifier, optimizer: torch.optim.Optimizer, size: int, device: torch.device
) -> int:
    fits, n_images = 0, 1
    try:
        while n_images <= _MOST:
            _step(model, optimizer, n_images, size, device)
            fits, n_images = n_images, 2 * n_images
    except torch.OutOfMemoryError:
        if not fits:
            raise OutOfMemoryError(
                "data.batch_size=auto: not even one image fits; lower backbone.image_size or "
                "choose a smaller backbone"
            ) from None
    finally:
        optimizer.zero_grad()
        torch.cuda.empty_cache()
    return fits


def _calculated(model: LetterClassifier, optimizer: torch.optim.Optimizer, size: int) -> int:
    per_image = _bytes_of_step(model, optimizer, size) / _MEASURED
    fits = _CPU_SHARE * _available_bytes() / per_image
    return int(2 ** max(0, min(_MOST, int(fits)).bit_length() - 1))


def _bytes_of_step(model: LetterClassifier, optimizer: torch.optim.Optimizer, size: int) -> int:
    """Return what a step of a few images holds: all that backward needs, and the largest layer.

    Counted tensor by tensor: what the process holds tells nothing where memory is reused.
    """
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    saved: dict[int, int] = {}
    largest = 0

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    def layer(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal largest
        tensors = [t for t in (*inputs, output) if isinstance(t, torch.Tensor)]
        largest = max(largest, sum(t.nbytes for t in tensors))

    hooks = [module.register_forward_hook(layer) for module in model.modules()]
    try:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            _step(model, optimizer, _MEASURED, size, torch.device("cpu"))
    finally:
        for hook in hooks:
            hook.remove()
    return sum(saved.values()) + 2 * largest  # backward holds a layer's gradients beside it


def _available_bytes() -> int:
    """Return the memory that is free for new tensors."""
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _step(
    model: LetterClassifier,
    optimizer: torch.optim.Optimizer,
    n_images: int,
    size: int,
    device: torch.device,
) -> None:
    """Do what a training step does to memory: forward, backward, optimizer."""
    images = torch.rand(n_images, 3, size, size, device=device)
    logits = model(images, **model.any_hands(n_images))
    labels = torch.zeros(n_images, dtype=torch.int64, device=device)
    nn.functional.cross_entropy(logits, labels).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    optimizer.zero_grad()

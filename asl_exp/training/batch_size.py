"""``data.batch_size=auto``: the most images a step that fit, in every phase of the schedule.

On a GPU real steps are taken until memory ends. On a CPU nothing ends politely, so two small steps
are measured and the rest is calculated. Powers of two, at most 1024 and at most the training set.
"""

import copy
import re
from pathlib import Path

import torch
from torch import nn

from asl_exp.config.errors import OutOfMemoryError
from asl_exp.config.schema import Config, PhaseConfig
from asl_exp.model.classifier import LetterClassifier
from asl_exp.model.preprocessing import Preprocessing
from asl_exp.training.display import say
from asl_exp.training.optimizer import make_optimizer
from asl_exp.training.ranks import gather
from asl_exp.training.trainable import hold_frozen, set_trainable

_MOST = 1024
_CPU_SHARE = 0.6  # of the memory that is free; the store, the figures and others need some too
_MEASURED = (8, 16)


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
        return _until_memory_ends(model, optimizer, size, device)
    return _calculated(model, optimizer, size)


def _until_memory_ends(
    model: nn.Module, optimizer: torch.optim.Optimizer, size: int, device: torch.device
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


def _calculated(model: nn.Module, optimizer: torch.optim.Optimizer, size: int) -> int:
    low, high = (_peak_bytes(model, optimizer, n, size) for n in _MEASURED)
    per_image = max(1.0, (high - low) / (_MEASURED[1] - _MEASURED[0]))
    fits = _CPU_SHARE * _kilobytes("/proc/meminfo", "MemAvailable") * 1024 / per_image
    return int(2 ** max(0, min(_MOST, int(fits)).bit_length() - 1))


def _peak_bytes(
    model: nn.Module, optimizer: torch.optim.Optimizer, n_images: int, size: int
) -> int:
    """Return the most memory that the process held during one step."""
    Path("/proc/self/clear_refs").write_text("5")  # begins the high-water mark anew
    _step(model, optimizer, n_images, size, torch.device("cpu"))
    return _kilobytes("/proc/self/status", "VmHWM") * 1024


def _kilobytes(path: str, field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", Path(path).read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def _step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    n_images: int,
    size: int,
    device: torch.device,
) -> None:
    """Do what a training step does to memory: forward, backward, optimizer."""
    logits = model(torch.rand(n_images, 3, size, size, device=device))
    labels = torch.zeros(n_images, dtype=torch.int64, device=device)
    nn.functional.cross_entropy(logits, labels).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    optimizer.zero_grad()

"""Reads a kept checkpoint back into a network, with nothing but the file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from asl_exp.config.errors import UserError
from asl_exp.config.schema import Config
from asl_exp.model.classifier import LetterClassifier, build_classifier
from asl_exp.model.preprocessing import Preprocessing
from asl_exp.runs.writing import replaced

_PREFIX = "model."  # the network's name within the LightningModule


@dataclass(frozen=True)
class KeptModel:
    """A trained network and what it needs to be used.

    Attributes:
        model: in eval mode, on the CPU.
        classes: names of its C outputs.
        preprocessing: how an image becomes its input.
        config: of the experiment that trained it.
        phase, epoch: where it was kept; the epoch counts across phases.
    """

    model: LetterClassifier
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    config: Config
    phase: str
    epoch: int


def checkpoint_metadata(
    config: Config, classes: tuple[str, ...], preprocessing: Preprocessing
) -> dict[str, Any]:
    """Return the plain values that a checkpoint carries beside its weights."""
    return {
        "config": config.model_dump(),
        "classes": list(classes),
        "preprocessing": {k: _plain(v) for k, v in preprocessing.to_dict().items()},
    }


def load_kept_model(path: Path) -> KeptModel:
    """Load a checkpoint of a run; tensors and plain values only, nothing in it is executed.

    Raises:
        UserError: the file is missing, damaged, or no checkpoint of asl_exp.
    """
    content = _read(path)
    about = content.get("asl_exp") if isinstance(content, dict) else None
    if about is None:
        raise UserError(f"{path}: not a checkpoint of asl_exp")
    config = Config.model_validate(about["config"])
    plain = config.trainer.model_copy(update={"sync_batchnorm": False})
    random_start = config.backbone.model_copy(update={"pretrained": False, "weights": None})
    preprocessing = Preprocessing(**about["preprocessing"])
    start = config.model_copy(update={"backbone": random_start, "trainer": plain})
    model = build_classifier(start, len(about["classes"]), preprocessing)
    model.load_state_dict(model_state(content))
    return KeptModel(
        model.eval(), tuple(about["classes"]), preprocessing, config, about["phase"], about["epoch"]
    )


def take_weights(model: LetterClassifier, path: Path) -> int:
    """Load a run's own checkpoint, whole or of what trained, into its network; return its epoch."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    tensors = model_state(content)
    model.load_state_dict({**model.state_dict(), **tensors})
    return int(content["asl_exp"]["epoch"])


def save_kept_model(model: LetterClassifier, about: dict[str, Any], path: Path) -> None:
    """Write the whole network as a checkpoint of a run, in one step."""
    tensors = {f"{_PREFIX}{name}": tensor for name, tensor in model.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as part:
        torch.save({"state_dict": tensors, "asl_exp": about}, part)


def model_state(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Return the network's own tensors out of a Lightning checkpoint."""
    return {
        name.removeprefix(_PREFIX): tensor
        for name, tensor in checkpoint["state_dict"].items()
        if name.startswith(_PREFIX)
    }


def _read(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make torch.load raise eight kinds of errors
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: damaged or not a checkpoint ({reason})") from error


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value

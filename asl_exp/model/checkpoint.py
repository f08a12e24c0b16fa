"""Checkpoints of runs: written as Lightning writes them, read back with nothing but the file."""

import zipfile
from pathlib import Path
from typing import Any

import torch

from asl_exp.config.errors import UserError, first_line
from asl_exp.model.classifier import LetterClassifier
from asl_exp.model.folder import DESCRIPTION, read_model
from asl_exp.model.kept import KeptModel, faults_of, kept_model
from asl_exp.runs.writing import replaced

_PREFIX = "model."  # the network's name within the LightningModule


def load_kept_model(path: Path) -> KeptModel:
    """Load a model folder's model.json, or a run's checkpoint; nothing in either is executed.

    Raises:
        UserError: the file is missing, damaged, of a newer version, or no model of asl_exp.
    """
    if path.name == DESCRIPTION:
        return read_model(path)
    if path.suffix == ".onnx":
        from asl_exp.model.onnx_network import read_onnx  # needs more packages than the rest

        return read_onnx(path)
    content = _read(path)
    about = content.get("asl_exp") if isinstance(content, dict) else None
    if not isinstance(about, dict):
        raise UserError(f"{path}: not a checkpoint of asl_exp")
    with faults_of(path):
        return kept_model(about, model_state(content))


def take_weights(model: LetterClassifier, path: Path) -> int:
    """Load a run's own checkpoint, whole or of what trained, into its network; return its epoch."""
    content = _read(path)
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
    """Return the network's own tensors out of a Lightning checkpoint.

    Raises:
        UserError: it holds something else under a tensor's name.
    """
    state = checkpoint.get("state_dict")
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise UserError("damaged: it holds no weights of a network")
    own = {k.removeprefix(_PREFIX): v for k, v in state.items() if k.startswith(_PREFIX)}
    if strange := [name for name, value in own.items() if not _is_plain(value)]:
        raise UserError(f"damaged: {strange[0]} is no plain tensor")
    return own


def _is_plain(value: Any) -> bool:
    return (
        isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and not value.is_quantized
        and value.device.type == "cpu"
    )


def _read(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    try:
        _require_stored(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except Exception as error:  # damaged bytes make torch.load raise eight kinds of errors
        raise UserError(
            f"{path}: damaged or not a checkpoint of asl_exp ({first_line(error)[:200]})"
        ) from error


def _require_stored(path: Path) -> None:
    """Refuse what would unpack to more than the file has: torch never compresses."""
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path}: damaged or not a checkpoint of asl_exp")
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        size = sum(entry.file_size for entry in entries)
        if size > path.stat().st_size or any(entry.compress_type for entry in entries):
            raise UserError(f"{path}: not a checkpoint of asl_exp (its content is compressed)")

"""Reads a kept checkpoint back into a network, with nothing but the file."""

import zipfile
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import torch
from pydantic import ValidationError

from asl_exp.config.errors import ConfigError, UserError
from asl_exp.config.saved import read_saved
from asl_exp.config.schema import BackboneConfig, Config
from asl_exp.model.classifier import LetterClassifier, build_classifier
from asl_exp.model.preprocessing import Preprocessing
from asl_exp.runs.writing import replaced

_CHECKED: Final = ("image_size", "mean", "std", "interpolation")
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
        detector: digest of what found the hands; "" where none were looked for.
    """

    model: LetterClassifier
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    config: Config
    phase: str
    epoch: int
    detector: str = ""


def checkpoint_metadata(
    config: Config, classes: tuple[str, ...], preprocessing: Preprocessing, detector: str = ""
) -> dict[str, Any]:
    """Return the plain values that a checkpoint carries beside its weights."""
    found_by = {"detector": detector} if detector else {}
    return found_by | {
        "config": config.model_dump(),
        "classes": list(classes),
        "preprocessing": {k: _plain(v) for k, v in preprocessing.to_dict().items()},
    }


def load_kept_model(path: Path) -> KeptModel:
    """Load a checkpoint of a run; tensors and plain values only, nothing in it is executed.

    Raises:
        UserError: the file is missing, damaged, or no checkpoint of asl_exp.
    """
    if path.suffix == ".onnx":
        from asl_exp.model.onnx_network import read_onnx  # needs more packages than the rest

        return read_onnx(path)
    content = _read(path)
    about = content.get("asl_exp") if isinstance(content, dict) else None
    if not isinstance(about, dict):
        raise UserError(f"{path}: not a checkpoint of asl_exp")
    try:
        return _kept(content, about)
    except UserError as error:
        raise UserError(f"{path}: {_one_line(error)}") from None
    except Exception as error:  # timm's networks raise what they like at sizes they cannot have
        raise UserError(f"{path}: its network cannot be made ({_one_line(error)})") from error


def _kept(content: dict[str, Any], about: dict[str, Any]) -> KeptModel:
    """Build the network that a checkpoint describes, checking each thing before it is used."""
    config = read_saved(about.get("config"))
    classes = _classes(about.get("classes"))
    preprocessing = _preprocessing(about.get("preprocessing"))
    phase, epoch = about.get("phase"), about.get("epoch")
    if not isinstance(phase, str) or type(epoch) is not int:
        raise UserError("damaged: it does not say which phase and epoch it is of")
    tensors = model_state(content)
    plain = config.trainer.model_copy(update={"sync_batchnorm": False})
    random_start = config.backbone.model_copy(update={"pretrained": False, "weights": None})
    start = config.model_copy(update={"backbone": random_start, "trainer": plain})
    _require_outputs(tensors, len(classes))
    model = build_classifier(start, len(classes), preprocessing)
    _require_fit(model.state_dict(), tensors)
    model.load_state_dict(tensors)
    detector = about.get("detector", "")
    if not isinstance(detector, str):
        raise UserError("damaged: it does not say what found its hands")
    return KeptModel(model.eval(), classes, preprocessing, config, phase, epoch, detector)


def kept_with(about: dict[str, Any], model: LetterClassifier, path: Path) -> KeptModel:
    """Return a network that is there already, with what its file says of it, which is checked."""
    try:
        config, detector = read_saved(about.get("config")), about.get("detector", "")
        return KeptModel(
            model, _classes(about.get("classes")), _preprocessing(about.get("preprocessing")),
            config, str(about.get("phase")), int(about.get("epoch", 0)), str(detector),
        )  # fmt: skip
    except UserError as error:
        raise UserError(f"{path}: {_one_line(error)}") from None


def _classes(given: Any) -> tuple[str, ...]:
    named = isinstance(given, list | tuple) and all(isinstance(name, str) for name in given)
    if not named or len(given) < 2 or len(set(given)) < len(given):
        raise UserError("damaged: its classes are not a list of at least two different names")
    return tuple(given)


def _preprocessing(given: Any) -> Preprocessing:
    """Return how images become inputs, checked as the keys of ``backbone`` are."""
    expected = {field.name for field in fields(Preprocessing)}
    if not isinstance(given, dict) or not expected <= given.keys():
        raise UserError("damaged: it does not say how images become its input")
    if unknown := sorted(map(str, given.keys() - expected)):
        raise UserError(
            f"made by a newer version of asl_exp, or changed: unknown keys of its preprocessing "
            f"{', '.join(unknown[:3])}; update asl_exp to use it"
        )
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in given.items()}
    try:
        checked = BackboneConfig.model_validate({k: values[k] for k in sorted(_CHECKED)})
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"]))
        raise UserError(f"damaged: its preprocessing has a faulty {key}") from None
    if None in (checked.image_size, checked.mean, checked.std, checked.interpolation):
        raise UserError("damaged: it does not say how images become its input")
    return Preprocessing(
        **{**given, "mean": tuple(checked.mean or ()), "std": tuple(checked.std or ())}
    )


def _require_outputs(tensors: dict[str, torch.Tensor], n_classes: int) -> None:
    """Refuse a checkpoint whose last layer has another number of classes than it names."""
    if not tensors:
        raise UserError("damaged: it holds no weights of a network")
    head = [t for name, t in tensors.items() if name.startswith("head.") and t.ndim == 2]
    if head and head[-1].shape[0] != n_classes:
        raise UserError(
            f"damaged: it names {n_classes} classes, but its last layer has {head[-1].shape[0]}"
        )


def _require_fit(expected: dict[str, torch.Tensor], given: dict[str, torch.Tensor]) -> None:
    """Refuse tensors that are missing, unknown, of another shape or kind, or no numbers."""
    for what, names in (
        ("lacks", sorted(expected.keys() - given.keys())),
        ("has unknown", sorted(given.keys() - expected.keys())),
        ("has misshapen", _where(expected, given, lambda a, b: a.shape != b.shape)),
        ("has integer", _where(expected, given, _of_another_kind)),
        ("has infinite or NaN", _where(expected, given, lambda _, b: not _is_finite(b))),
    ):
        if names:
            shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            raise UserError(f"does not fit its network: {what} tensors {shown}")


def _where(
    expected: dict[str, torch.Tensor],
    given: dict[str, torch.Tensor],
    wrong: Callable[[torch.Tensor, torch.Tensor], bool],
) -> list[str]:
    both = [name for name in expected if name in given]
    return [name for name in both if wrong(expected[name], given[name])]


def _of_another_kind(expected: torch.Tensor, given: torch.Tensor) -> bool:
    return expected.is_floating_point() != given.is_floating_point() or given.is_complex()


def _is_finite(tensor: torch.Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())


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
            f"{path}: damaged or not a checkpoint of asl_exp ({_one_line(error)})"
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


def _one_line(error: BaseException) -> str:
    """Return the reason alone: a traceback's worth of text helps nobody here."""
    if isinstance(error, ConfigError):
        return error.faults[0].splitlines()[0][:200]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value

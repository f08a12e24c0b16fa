"""A trained network with all that it needs to be used, made from what was read of a file.

The file may be a stranger's: each thing that it says is checked before it is used.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import torch
from pydantic import ValidationError

from asl_exp.config.errors import UserError, first_line
from asl_exp.config.saved import read_saved
from asl_exp.config.schema import BackboneConfig, Config, HeadConfig
from asl_exp.config.signature import without_places
from asl_exp.data.decode import Geometry
from asl_exp.model.backbone import Preprocessing, build_backbone, planned_weights
from asl_exp.model.classifier import LetterClassifier, build_classifier, pooled_width
from asl_exp.model.weights import Tensors, first_names, misfits

NOT_SURE: Final = "not sure"
"""The answer where the highest probability is below the model's threshold."""


@dataclass(frozen=True)
class Calibration:
    """How a kept model's scores become the probabilities that are shown.

    The scores in a run's predictions.parquet, and all that is made of them, are not calibrated.

    Attributes:
        temperature: scores (logits) are divided by it; over 1 makes answers less confident (Guo et
            al., ICML 2017).
        abstain_below: the least probability of an answer; None: every image gets one.
        told: on what both were fitted, or why they were not.
    """

    temperature: float = 1.0
    abstain_below: float | None = None
    told: str = "not calibrated"

    def __post_init__(self) -> None:
        """Refuse what makes no probabilities.

        Raises:
            ValueError: a temperature or a threshold out of range.
        """
        if not _between(0.01, self.temperature, 100):
            raise ValueError(f"the temperature {self.temperature}; it must be in 0.01 to 100")
        if self.abstain_below is not None and not _between(0, self.abstain_below, 1):
            raise ValueError(f"the threshold {self.abstain_below}; it must be in 0 to 1")

    def probabilities(self, scores: torch.Tensor) -> torch.Tensor:
        """Return calibrated probabilities ``(B, C)`` of scores (logits) ``(B, C)``."""
        return (scores / self.temperature).softmax(1)  # x / 1.0 is x, to the last bit


def _between(low: float, value: object, high: float) -> bool:
    return type(value) in (int, float) and low <= value <= high  # type: ignore[operator]


UNCALIBRATED: Final = Calibration()


@dataclass(frozen=True)
class KeptModel:
    """A trained network and what it needs to be used.

    Attributes:
        model: in eval mode, on the CPU.
        classes: names of its C outputs.
        phase, epoch: where it was kept; the epoch counts across phases.
        detector: digest of what found the hands; "" where none were looked for.
        calibration: of its probabilities; a checkpoint alone has none.
    """

    model: LetterClassifier
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    config: Config
    phase: str
    epoch: int
    detector: str = ""
    calibration: Calibration = UNCALIBRATED

    @property
    def geometry(self) -> Geometry:
        """How its images become squares."""
        prepared = self.preprocessing
        return Geometry(prepared.image_size, self.config.data.resize, prepared.interpolation)

    def description(self) -> dict[str, Any]:
        """Return the plain values that a file for other machines carries beside its weights."""
        config = without_places(self.config)
        return {
            "phase": self.phase,
            "epoch": self.epoch,
            "calibration": asdict(self.calibration),
            **checkpoint_metadata(config, self.classes, self.preprocessing, self.detector),
        }


def checkpoint_metadata(
    config: Config, classes: tuple[str, ...], preprocessing: Preprocessing, detector: str = ""
) -> dict[str, Any]:
    """Return the plain values that a checkpoint carries beside its weights."""
    found_by = {"detector": detector} if detector else {}
    return found_by | {
        "config": config.model_dump(),
        "classes": list(classes),
        "preprocessing": {k: _plain(v) for k, v in vars(preprocessing).items()},
    }


@contextmanager
def faults_of(file: Path) -> Iterator[None]:
    """Name the file in whatever is wrong with it, in one sentence."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{file}: {first_line(error)[:200]}") from None
    except Exception as error:  # timm's networks raise what they like at sizes they cannot have
        reason = first_line(error)[:200]
        raise UserError(f"{file}: its network cannot be made ({reason})") from error


def kept_model(
    about: Mapping[str, Any],
    tensors: Tensors,
    calibration: Calibration = UNCALIBRATED,
) -> KeptModel:
    """Build the network that a file describes, checking each thing before it is used.

    Args:
        about: what ``checkpoint_metadata`` returned, and phase and epoch.
        tensors: all of the network's.
        calibration: of its probabilities.

    Raises:
        UserError: with the reason alone; ``faults_of`` names the file.
    """
    config = read_saved(about.get("config"))
    classes = _classes(about.get("classes"))
    preprocessing = _preprocessing(about.get("preprocessing"))
    _require_same_input(config.backbone, preprocessing)
    phase, epoch = about.get("phase"), about.get("epoch")
    if not isinstance(phase, str) or type(epoch) is not int:
        raise UserError("damaged: it does not say which phase and epoch it is of")
    plain = config.trainer.model_copy(update={"sync_batchnorm": False})
    random_start = config.backbone.model_copy(update={"pretrained": False, "weights": None})
    start = config.model_copy(update={"backbone": random_start, "trainer": plain})
    dense = _dense_layers_of_head(tensors)
    _require_outputs(dense, config.head, len(classes))
    _require_size(start, tensors)
    backbone = None
    if config.hand.mode != "joints":
        backbone = build_backbone(start.backbone, preprocessing.image_size)
        width = pooled_width(backbone.feature_shape, config.head.pooling)
        if width > dense[0].shape[1]:
            raise UserError(f"damaged: its head takes {dense[0].shape[1]} features of {width}")
    model = build_classifier(start, len(classes), preprocessing, backbone)
    _require_fit(model.state_dict(), tensors)
    model.load_state_dict(tensors)
    detector = about.get("detector", "")
    if not isinstance(detector, str):
        raise UserError("damaged: it does not say what found its hands")
    return KeptModel(
        model.eval(), classes, preprocessing, config, phase, epoch, detector, calibration
    )


def kept_with(about: Mapping[str, Any], model: LetterClassifier, path: Path) -> KeptModel:
    """Return a network that is there already, with what its file says of it, which is checked."""
    with faults_of(path):
        config, detector = read_saved(about.get("config")), about.get("detector", "")
        told = about.get("calibration")
        return KeptModel(
            model, _classes(about.get("classes")), _preprocessing(about.get("preprocessing")),
            config, str(about.get("phase")), int(about.get("epoch", 0)), str(detector),
            UNCALIBRATED if told is None else read_calibration(told),
        )  # fmt: skip


def read_calibration(given: Any) -> Calibration:
    """Return what a file says of a model's calibration, checked.

    Raises:
        UserError: with the reason alone.
    """
    expected = {field.name for field in fields(Calibration)}
    if not isinstance(given, dict) or given.keys() != expected or type(given["told"]) is not str:
        raise UserError("damaged: it does not say how its probabilities are calibrated")
    try:
        return Calibration(**given)
    except (TypeError, ValueError) as error:
        raise UserError(f"damaged, or changed: its calibration has {error}") from None


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
        checked = BackboneConfig.model_validate({k: values[k] for k in sorted(expected)})
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"]))
        raise UserError(f"damaged: its preprocessing has a faulty {key}") from None
    if None in (getattr(checked, key) for key in expected):
        raise UserError("damaged: it does not say how images become its input")
    return Preprocessing(
        **{**given, "mean": tuple(checked.mean or ()), "std": tuple(checked.std or ())}
    )


def _require_same_input(config: BackboneConfig, preprocessing: Preprocessing) -> None:
    """Refuse a file that says in two places, and differently, how images become its input."""
    for key, value in vars(preprocessing).items():
        given = getattr(config, key)
        if given is not None and _plain(value) != _plain(given):
            raise UserError(
                f"damaged: its {key} is {_plain(value)} in one place and {_plain(given)} in another"
            )


def _require_size(config: Config, tensors: Tensors) -> None:
    """Refuse a file that names a network far larger than its weights, before that is made.

    VGG's dense layers, which no kept model has, are 14 times the rest of the smallest.
    """
    if config.hand.mode == "joints":
        return
    there = sum(tensor.numel() for tensor in tensors.values())
    if (needed := planned_weights(config.backbone)) > 20 * there + 50_000_000:
        raise UserError(
            f"damaged: it names {config.backbone.name}, a network of {needed:,} weights, and "
            f"holds {there:,}"
        )


def _dense_layers_of_head(tensors: Tensors) -> list[torch.Tensor]:
    """Return the kernels of the head, first to last."""
    if not tensors:
        raise UserError("damaged: it holds no weights of a network")
    named = [(n, t) for n, t in tensors.items() if n.startswith("head.") and t.ndim == 2]
    return [tensor for _, tensor in sorted(named, key=lambda one: (len(one[0]), one[0]))]


def _require_outputs(dense: list[torch.Tensor], config: HeadConfig, n_classes: int) -> None:
    """Refuse a head of other layers than are named, before layers of any size are made."""
    there, named = [kernel.shape[0] for kernel in dense], [*config.hidden, n_classes]
    if there and there[-1] != n_classes:
        raise UserError(
            f"damaged: it names {n_classes} classes, but its last layer has {there[-1]}"
        )
    if there != named:
        raise UserError(
            "does not fit its network: it names a head of layers of "
            f"{', '.join(map(str, named))}, and holds {', '.join(map(str, there)) or 'none'}"
        )


def _require_fit(expected: Tensors, given: Tensors) -> None:
    """Refuse tensors that are missing, unknown, of another shape or kind, or no numbers."""
    said = {"missing": "lacks", "of another kind": "has integer", "infinite": "has infinite or NaN"}
    for what, names in misfits(expected, given).items():
        if names:
            told = said.get(what, f"has {what}")
            raise UserError(f"does not fit its network: {told} tensors {first_names(names)}")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value

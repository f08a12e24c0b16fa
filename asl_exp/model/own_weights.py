"""Starting from a model of one's own: ``backbone.weights`` names a run, a model folder or either's
checkpoint.

The backbone's weights are taken whole. The head's are as well where it answers the same classes in
the same layers, and the joints' network where both have one; what was taken is said. Images are
prepared as that model had them, or, without one, as timm records of the weights.
"""

from functools import lru_cache
from pathlib import Path
from typing import Final

from torch import nn

from asl_exp.config.conf_folder import home_expanded
from asl_exp.config.errors import UserError, WeightsError
from asl_exp.config.schema import BackboneConfig
from asl_exp.model.backbone import Preprocessing
from asl_exp.model.checkpoint import load_kept_model
from asl_exp.model.classifier import LetterClassifier
from asl_exp.model.kept import KeptModel
from asl_exp.model.recognizer import find_checkpoint
from asl_exp.model.weights import WeightsReport, recorded, tensors_digest, timm_with_ours

_FILES: Final = (".ckpt", ".json")


def own_model(config: BackboneConfig) -> KeptModel | None:
    """Return the model of asl_exp that the configuration starts from; None where it names no such.

    Raises:
        WeightsError: a folder without a model, or a model that cannot be read.
    """
    if config.weights is None or not config.pretrained:
        return None
    where = home_expanded(config.weights)
    if not where.is_dir() and where.suffix not in _FILES:
        return None
    try:
        file = find_checkpoint(where)
        return _read(file, file.stat().st_mtime_ns)
    except UserError as error:
        raise WeightsError(f"backbone.weights: {error}") from None


@lru_cache(maxsize=1)
def _read(file: Path, _changed: int) -> KeptModel:
    return load_kept_model(file)


def resolve_preprocessing(config: BackboneConfig) -> Preprocessing:
    """Return the configured values, completed by those of the weights.

    They are what timm records, or, where training starts from a model of one's own, that model's.
    """
    own = own_model(config)
    known = own.preprocessing if own else _of_timm(config.name)
    return Preprocessing(
        image_size=config.image_size or known.image_size,
        mean=tuple(config.mean or known.mean),
        std=tuple(config.std or known.std),
        interpolation=config.interpolation or known.interpolation,
    )


def _of_timm(name: str) -> Preprocessing:
    values = timm_with_ours().data.resolve_data_config({}, pretrained_cfg=recorded(name))
    size, interpolation = int(values["input_size"][-1]), str(values["interpolation"])
    return Preprocessing(size, values["mean"], values["std"], interpolation)


def start_from(
    model: LetterClassifier, own: KeptModel, config: BackboneConfig, classes: tuple[str, ...]
) -> WeightsReport:
    """Take what a kept model has into a new network.

    Raises:
        WeightsError: its backbone is another network, or it has none.
    """
    require_same_backbone(model.backbone, own, config)
    parts = {"backbone": (model.backbone, own.model.backbone)}
    if own.classes == classes and _fits(model.head, own.model.head):
        parts["head"] = (model.head, own.model.head)
    joints, of_own = model.joints, own.model.joints
    if joints is not None and of_own is not None and _fits(joints, of_own):
        parts["network of joints"] = (joints, of_own)
    for new, old in parts.values():
        new.load_state_dict(old.state_dict())
    tensors = {f"{part}.{k}": v for part, (_, old) in parts.items() for k, v in
               old.state_dict().items()}  # fmt: skip
    return WeightsReport(
        pretrained=True,
        source=f"{config.weights} ({_taken(list(parts), own, classes)})",
        digest=tensors_digest(tensors),
        n_tensors=len(tensors),
    )


def require_same_backbone(new: nn.Module, own: KeptModel, config: BackboneConfig) -> None:
    """Refuse a kept model of another backbone than the new one.

    Raises:
        WeightsError: its backbone is another network, or it has none.
    """
    name = own.config.backbone.name
    if not own.model.sees_pixels:
        raise WeightsError(
            f"backbone.weights: '{config.weights}' sees joints alone and has no backbone; leave it "
            "out"
        )
    if name != config.name or not _fits(new, own.model.backbone):
        raise WeightsError(
            f"backbone.weights: '{config.weights}' has the backbone {name}"
            f"{_told(own.config.backbone)}, and backbone.name={config.name}{_told(config)} is "
            f"another network; write backbone.name={name}, with its options"
        )


def _fits(new: nn.Module, old: nn.Module) -> bool:
    shapes = [{k: v.shape for k, v in part.state_dict().items()} for part in (new, old)]
    return shapes[0] == shapes[1]


def _told(config: BackboneConfig) -> str:
    return f" {config.options}" if config.options else ""


def _taken(parts: list[str], own: KeptModel, classes: tuple[str, ...]) -> str:
    if "head" in parts:
        return " and ".join(parts)
    why = (
        "its head has other layers"
        if own.classes == classes
        else f"its head answers {len(own.classes)} other classes"
    )
    return f"{' and '.join(parts)}; {why}"

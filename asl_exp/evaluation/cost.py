"""What a network costs: parameters and FLOPs of its shape, and the time that its run took.

A network is built anew from its configuration without memory for its weights (torch's meta device),
so that hundreds of runs cost little; equal networks are counted once.
"""

import json
from dataclasses import dataclass

import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from asl_exp.config import names
from asl_exp.config.schema import Config
from asl_exp.data.hands.hand import N_JOINTS
from asl_exp.model.classifier import build_classifier
from asl_exp.model.own_weights import resolve_preprocessing
from asl_exp.runs.result import Result


@dataclass(frozen=True)
class Cost:
    """Of one run; None where it is not known.

    Attributes:
        flops: of one image: two for each multiplication with its addition, of matrix products and
            convolutions alone.
        images_per_second: in training, the median of the last phase's epochs.
        epoch_seconds: phase to seconds an epoch, validation and the phase's start included.
    """

    parameters: int | None
    flops: int | None
    images_per_second: float | None
    epoch_seconds: dict[str, float]


def cost(config: Config, n_classes: int, result: Result, history: pd.DataFrame) -> Cost:
    """Return what a run's network and training cost.

    Args:
        n_classes: that it tells apart.
        history: a row an epoch, as in epochs.csv; may be empty.
    """
    key = (_shape(config), n_classes)
    if key not in _known:
        _known[key] = _counted(config, n_classes)
    return Cost(*_known[key], _images_per_second(history), _epoch_seconds(result, history))


_known: dict[tuple[str, int], tuple[int | None, int | None]] = {}


def _shape(config: Config) -> str:
    """Return the configuration's parts that decide the network's shape: dropout and L2 do not."""
    parts = (config.backbone, config.head, config.hand)
    return json.dumps([part.model_dump() for part in parts], sort_keys=True)


def _counted(config: Config, n_classes: int) -> tuple[int | None, int | None]:
    """Return the parameters and FLOPs of a network, None where it cannot be made without memory."""
    preprocessing = resolve_preprocessing(config.backbone)
    backbone = config.backbone.model_copy(update={"pretrained": False, "weights": None})
    plain = config.trainer.model_copy(update={"sync_batchnorm": False})
    shaped = config.model_copy(update={"backbone": backbone, "trainer": plain})
    try:
        with torch.device("meta"), torch.no_grad():
            model = build_classifier(shaped, n_classes, preprocessing).eval()
            side = preprocessing.image_size
            n_joints = N_JOINTS * (model.joints.n_looks if model.joints is not None else 1)
            beside = {"joints": torch.zeros(1, n_joints, 3)} if model.joints is not None else {}
            with FlopCounterMode(display=False) as counter:
                model(torch.zeros(1, 3, side, side), **beside)
    except Exception:  # timm's networks raise what they like
        return None, None
    return sum(p.numel() for p in model.parameters()), int(counter.get_total_flops())


def _images_per_second(history: pd.DataFrame) -> float | None:
    if names.IMAGES_PER_SECOND not in history or "phase" not in history or history.empty:
        return None
    last = history[history["phase"] == history["phase"].iloc[-1]]
    median = last[names.IMAGES_PER_SECOND].median()
    return None if pd.isna(median) else float(median)


def _epoch_seconds(result: Result, history: pd.DataFrame) -> dict[str, float]:
    if "phase" not in history:
        return {}
    epochs = history.groupby("phase", sort=False).size()
    return {
        str(phase): result.seconds[str(phase)] / int(count)
        for phase, count in epochs.items()
        if str(phase) in result.seconds
    }

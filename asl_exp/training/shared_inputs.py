"""Per-process cache of datasets and pretrained backbones.

A study's trials follow each other in one process; listing files, splitting, and reading weights
would cost each of them more than many epochs of a head.
"""

import copy
from functools import lru_cache

import torch

from asl_exp.config.schema import BackboneConfig, Config, DataConfig, HandConfig
from asl_exp.data.dataset import load_letters
from asl_exp.data.letters import LetterData
from asl_exp.model.backbone import Backbone, Preprocessing, build_backbone, require_options
from asl_exp.model.classifier import LetterClassifier, build_classifier
from asl_exp.model.kept import KeptModel
from asl_exp.model.own_weights import own_model, require_same_backbone, start_from
from asl_exp.model.weights import require_reachable


def letters(config: Config, preprocessing: Preprocessing) -> LetterData:
    """Return the data of an experiment; loaded once for equal settings."""
    return _letters(
        config.data.model_dump_json(exclude={"batch_size"}),
        config.hand.model_dump_json(exclude={"network", "variation"}),
        preprocessing.image_size,
        preprocessing.interpolation,
    )


@lru_cache(maxsize=2)
def _letters(data: str, hand: str, image_size: int, interpolation: str) -> LetterData:
    config = DataConfig.model_validate_json(data)
    return load_letters(
        config,
        image_size=image_size,
        interpolation=interpolation,
        seed=config.split_seed,
        hand=HandConfig.model_validate_json(hand),
    )


def letters_for(kept: KeptModel, data: DataConfig, hand: HandConfig) -> LetterData:
    """Return data as a kept model takes them."""
    return load_letters(
        data,
        image_size=kept.preprocessing.image_size,
        interpolation=kept.preprocessing.interpolation,
        seed=data.split_seed,
        hand=hand,
    )


def classifier(config: Config, data: LetterData, preprocessing: Preprocessing) -> LetterClassifier:
    """Return the network of an experiment, its backbone's weights loaded once for equal settings.

    What is initialised at random depends on ``config.seed`` alone, shared or not. The features of
    joints are scaled by those of the training hands.
    """
    backbone, own = None, None
    if config.hand.mode != "joints":
        backbone, own = _backbone_of(config, preprocessing)
    torch.manual_seed(config.seed)
    n_classes = len(data.classes)
    model = build_classifier(config, n_classes, preprocessing, copy.deepcopy(backbone))
    if model.joints is not None:
        model.joints.fit_scale(torch.from_numpy(data.splits["train"].joints))
    if own is not None:
        model.weights = start_from(model, own, config.backbone, data.classes)
    return model


def require_backbone(config: Config, preprocessing: Preprocessing) -> None:
    """Refuse, before any image is decoded, a backbone that cannot be made or filled.

    Raises:
        ConfigError: timm does not accept its options.
        WeightsError: its weights are not published, out of reach, unreadable, or do not fit.
    """
    if config.hand.mode == "joints":
        return
    require_options(config.backbone, preprocessing.image_size)
    require_reachable(config.backbone)
    if config.backbone.weights is None:
        return
    backbone, own = _backbone_of(config, preprocessing)
    if own is not None:
        require_same_backbone(backbone.network, own, config.backbone)


def _backbone_of(config: Config, preprocessing: Preprocessing) -> tuple[Backbone, KeptModel | None]:
    """Return the backbone as it starts, and the model of one's own that it is to be filled from."""
    own, start = own_model(config.backbone), config.backbone
    if own is not None:
        start = start.model_copy(update={"pretrained": False, "weights": None})
    backbone = _backbone(
        start.model_dump_json(),
        preprocessing.image_size,
        config.trainer.sync_batchnorm,
        None if start.pretrained else config.seed,
    )
    return backbone, own


@lru_cache(maxsize=1)
def _backbone(config: str, image_size: int, sync_batchnorm: bool, seed: int | None) -> Backbone:
    torch.manual_seed(seed or 0)
    made = BackboneConfig.model_validate_json(config)
    return build_backbone(made, image_size, sync_batchnorm=sync_batchnorm)

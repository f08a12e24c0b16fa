"""Stored features: what a phase's frozen part makes of each image, not made again every epoch.

Here it is decided whether a phase goes from them; feature_files.py computes and keeps them.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from asl_exp.config.errors import DataError
from asl_exp.config.schema import AugmentationConfig, Config, PhaseConfig
from asl_exp.data.augmentation import Augmentation
from asl_exp.data.kept import NoRoomError, Rows
from asl_exp.data.letters import LetterData
from asl_exp.model.classifier import LetterClassifier
from asl_exp.model.cut import Cut, find_cut
from asl_exp.training.display import say
from asl_exp.training.feature_files import FeatureFile, Source
from asl_exp.training.ranks import first_of_folder
from asl_exp.training.trainable import trained_layers

_DEFAULT_VIEWS = 16  # as accurate as new changes every epoch; 4 lose 2 to 9 points
_AUTO_SHARE = 0.5  # of data.cache_limit_gb that features=auto may take


@dataclass(frozen=True)
class StoredFeatures:
    """The features that a phase goes from.

    Attributes:
        cut: where in the network they are taken.
        train: one source of rows for each view; epoch e of the phase sees view e mod V.
        val: of the images as they are.
    """

    cut: Cut
    train: list[Rows]
    val: Rows


def n_views(phase: PhaseConfig, augmentation: AugmentationConfig) -> int:
    """Return V: how many augmented views of an image are stored; 1 where nothing is augmented."""
    if not _augments(augmentation):
        return 1
    return phase.views or min(_DEFAULT_VIEWS, phase.epochs)


def stored_features(
    model: LetterClassifier, data: LetterData, config: Config, name: str, device: torch.device
) -> StoredFeatures | None:
    """Return the features of a phase, computed where they are not kept; None to go without.

    Raises:
        DataError: ``features=always``, and there is no way or no room.
    """
    phase = config.schedule[name]
    cut, reason = _place(model, data, config, phase)
    if cut is None:
        _go_without(name, phase, reason)
        return None
    model.eval().to(device)
    files = _files(model, cut, data, config, phase, device)
    needed, limit = sum(one.n_bytes for one in files), 1e9 * config.data.cache_limit_gb
    if phase.features == "auto" and needed > _AUTO_SHARE * limit:
        _go_without(name, phase, f"would take {needed / 1e9:.1f} GB of data.cache_limit_gb")
        return None
    keep = [one.kept.name for one in files]
    try:
        *train, val = (one.open(limit_gb=config.data.cache_limit_gb, keep=keep) for one in files)
    except NoRoomError as error:
        _go_without(name, phase, f"find no room: {error}")
        return None
    views = f"{len(train)} augmented views" if _augments(config.augmentation) else "no augmentation"
    numbers = f"{np.prod(cut.shape):,} numbers an image"
    say(f"{name}: trains on stored features: {views}, {numbers}, {needed / 1e6:,.1f} MB")
    return StoredFeatures(cut, train, val)


def _augments(augmentation: AugmentationConfig) -> bool:
    return any(augmentation.model_dump().values())


def _place(
    model: LetterClassifier, data: LetterData, config: Config, phase: PhaseConfig
) -> tuple[Cut | None, str]:
    """Return where to cut, or None and the reason."""
    if phase.features == "never" or phase.trainable == "all":
        return None, ""
    if not data.store_digest:
        return None, "need stored pixels (data.store=true)"
    if config.augmentation.mixup or config.augmentation.cutmix:
        return None, "cannot be mixed (augmentation.mixup, augmentation.cutmix)"
    layers = trained_layers(model, phase)
    if layers and config.trainer.compile:
        return None, "cannot be taken inside a compiled backbone (trainer.compile)"
    cut = find_cut(model, layers)
    return cut, "" if cut else "have no single place in this backbone below its last layers"


def _go_without(name: str, phase: PhaseConfig, reason: str) -> None:
    if phase.features == "always":
        raise DataError(f"schedule.{name}.features: always, but they {reason}; use auto or never")
    if reason:
        say(f"{name}: no stored features: they {reason}")


def _files(
    model: LetterClassifier,
    cut: Cut,
    data: LetterData,
    config: Config,
    phase: PhaseConfig,
    device: torch.device,
) -> list[FeatureFile]:
    """Return the file of each view of the training images, then that of the validation images."""
    folder = Path(config.data.cache_dir).expanduser() / "features"
    precision = config.trainer.precision
    source = Source(
        model, cut, precision, device, data.store_digest, folder, has_folder=first_of_folder(folder)
    )
    about = {"backbone": config.backbone.name, **source.describe()}
    changes = Augmentation(config.augmentation, len(data.classes))
    views = [
        FeatureFile(
            source,
            about,
            data.splits["train"],
            changes if _augments(config.augmentation) else None,
            view,
        )
        for view in range(n_views(phase, config.augmentation))
    ]
    return [*views, FeatureFile(source, about, data.splits["val"])]

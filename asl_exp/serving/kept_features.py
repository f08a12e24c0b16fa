"""What a run's network makes of its images, stored like any other features, and heads on them anew.

Of the last phase's network for pictures of its space; of the first phase's, whose backbone was
frozen and so never saw a label, for heads that are trained anew: they tell the price of a leak and
the worth of more people.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from asl_exp.config.conf_folder import home_expanded
from asl_exp.config.errors import UserError
from asl_exp.config.names import Artifact
from asl_exp.config.schema import Config
from asl_exp.data.audit.findings import look_at
from asl_exp.data.decode_pool import progress
from asl_exp.data.hands.features import joint_features
from asl_exp.data.hands.hand import N_JOINTS
from asl_exp.data.letters import LetterData, Split
from asl_exp.data.loader import BatchLoader
from asl_exp.data.near_duplicates import near_pairs
from asl_exp.evaluation.certificate import LEAK, write_certificate
from asl_exp.evaluation.leak_price import LeakPrice, leak_price
from asl_exp.evaluation.linear_head import Labelled
from asl_exp.evaluation.more_people import PeopleCurve, more_people_figure, people_curves
from asl_exp.model.checkpoint import load_kept_model
from asl_exp.model.feature_cut import find_cut
from asl_exp.model.kept import KeptModel
from asl_exp.model.recognizer import find_checkpoint, hand_settings
from asl_exp.runs.result import Result
from asl_exp.runs.run_folder import read_config
from asl_exp.runs.writing import replaced
from asl_exp.tracking.store import folder_of
from asl_exp.training.feature_files import FeatureFile, Source
from asl_exp.training.shared_inputs import letters_for

_BATCH = 64


@dataclass(frozen=True)
class KeptFeatures:
    """The images of a run and their features.

    Attributes:
        data: its splits and external sets.
        of: split or set to features, labels and table.
    """

    config: Config
    data: LetterData
    of: dict[str, Labelled]


def run_folder(given: str, runs_dir: Path) -> Path:
    """Return the run folder that a path or an MLflow run id means.

    Raises:
        UserError: there is none with a result.
    """
    folder = folder_of(given, runs_dir)
    if Result.read(folder) is None:
        raise UserError(f"{given}: not a run folder")
    return folder


def kept_features(folder: Path, *, frozen: bool) -> KeptFeatures:
    """Return the features of all images of a run.

    Args:
        frozen: by the network as the first phase left it, whose backbone must have been frozen,
            and without drawn signers, who are no people; else by the network that the run offers.

    Raises:
        UserError: no kept model, changed data, or a first phase that trained the backbone.
    """
    config = read_config(folder)
    checkpoint = _frozen_checkpoint(folder, config) if frozen else find_checkpoint(folder)
    kept = load_kept_model(checkpoint)
    hand = hand_settings(kept, checkpoint)
    no_people = {"drawn_signers": 0, "detected_signers": 0} if frozen else {}
    data = letters_for(kept, config.data.model_copy(update=no_people), hand)
    splits = data.splits
    if kept.model.sees_pixels:  # hands without an image have no features of pixels
        splits = {name: one.take(np.flatnonzero(one.rows >= 0)) for name, one in splits.items()}
    with torch.inference_mode():
        of = {
            name: Labelled(_features(kept, split, config), split.labels, split.table)
            for name, split in splits.items()
        }
    return KeptFeatures(config, data, of)


def _frozen_checkpoint(folder: Path, config: Config) -> Path:
    result = Result.read(folder)
    assert result is not None
    first, phase = next(iter(config.schedule.items()))
    path = folder / result.checkpoints.get(first, "")
    sees_pixels = config.hand.mode != "joints"
    if sees_pixels and (phase.trainable != "head" or not path.is_file()):
        raise UserError(
            f"{folder}: its first phase, {first}, did not train the head alone on a frozen "
            "backbone, so that its features already know the training images"
        )
    return path if path.is_file() else find_checkpoint(folder)


def _features(kept: KeptModel, split: Split, config: Config) -> NDArray[np.float32]:
    """Return ``(N, F)``: pooled features of the pixels, numbers of the joints, or both."""
    parts = []
    if kept.model.sees_pixels:
        parts.append(_of_pixels(kept, split, config))
    if split.joints is not None and kept.model.joints is not None:
        numbers = joint_features(torch.from_numpy(split.joints[:, :N_JOINTS])).numpy()
        parts.append(np.nan_to_num(numbers).astype(np.float32))
    return np.concatenate(parts, axis=1)


def _of_pixels(kept: KeptModel, split: Split, config: Config) -> NDArray[np.float32]:
    if not split.pixels.digest:
        loader = BatchLoader(split, _BATCH, shuffle=False, seed=0)
        parts = [kept.model.features(images.float() / 255.0).numpy() for images, _, _ in loader]
        return np.concatenate(parts)
    cut = find_cut(kept.model, [])
    assert cut is not None
    folder = home_expanded(config.data.cache_dir) / "features"
    source = Source(
        kept.model, cut, config.trainer.precision, torch.device("cpu"), split.pixels.digest, folder
    )
    file = FeatureFile(source, {"backbone": config.backbone.name, **source.describe()}, split)
    rows = file.open(limit_gb=config.data.cache_limit_gb, keep=[file.kept.name])
    return np.asarray(rows.gather(np.arange(len(split))), dtype=np.float32)


PEOPLE: Final = "more_people"


def leak(folder: Path) -> LeakPrice:
    """Say what near-duplicates of a run's test images were worth.

    Writes evaluation/leak.json, and the certificate with what it says.

    Raises:
        UserError: no kept model, or features that already know the training images.
    """
    known = kept_features(folder, frozen=True)
    train, test = known.of["train"], known.of["test"]
    found = leak_price(train, test, _near(known), known.data.classes)
    _write(folder / Artifact.EVALUATION / LEAK, {**found.as_json(), "sentence": found.sentence()})
    result = Result.read(folder)
    assert result is not None  # or it had no features
    write_certificate(folder, known.config, result)
    return found


def people(folder: Path) -> list[PeopleCurve]:
    """Extrapolate a run's accuracy to more training people; write evaluation/more_people.*.

    Raises:
        UserError: as `leak`, or too few groups among the training images.
    """
    known = kept_features(folder, frozen=True)
    tested = {name: one for name, one in known.of.items() if name not in ("train", "val")}
    curves = people_curves(known.of["train"], tested)
    evaluation = folder / Artifact.EVALUATION
    _write(evaluation / f"{PEOPLE}.json", {curve.name: curve.as_json() for curve in curves})
    more_people_figure(evaluation / f"{PEOPLE}.png", curves)
    return curves


def _near(known: KeptFeatures) -> NDArray[np.int64]:
    """Return pairs ``(P, 2)``, rows of train and of test, whose pictures are near-duplicates."""
    splits = {name: known.data.splits[name] for name in ("train", "test")}
    if (splits["train"].rows < 0).any():
        raise UserError("the training data have hands without images (data.joints)")
    with progress("comparing", sum(map(len, splits.values()))) as advance:
        looks = look_at(splits, known.config.data, advance)
    n_train = len(splits["train"])
    pairs = near_pairs(looks.hashes)
    across = pairs[(pairs[:, 0] < n_train) & (pairs[:, 1] >= n_train)]
    return np.asarray(across - np.array([0, n_train]), dtype=np.int64)


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as part:
        part.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")

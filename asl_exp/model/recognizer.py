"""Recognises letters with a kept model and the preprocessing that it was trained with."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from asl_exp.config.conf_folder import home_expanded
from asl_exp.config.errors import UserError
from asl_exp.config.names import Artifact
from asl_exp.config.schema import HandConfig
from asl_exp.data.decode import Pixels, read_image
from asl_exp.data.decode_pool import n_cores
from asl_exp.data.hands.hand import (
    NO_HAND,
    Detector,
    Floats,
    answers_without_hand,
    in_squares,
    n_looks,
    together,
)
from asl_exp.data.sources.folder import is_image
from asl_exp.model.checkpoint import load_kept_model
from asl_exp.model.folder import DESCRIPTION, WEIGHTS, require_whole
from asl_exp.model.kept import NOT_SURE, KeptModel
from asl_exp.runs.run_folder import checkpoints_on_disk, kept_checkpoint, run_folders

if TYPE_CHECKING:
    import pandas as pd

OLD_CHECKPOINT: Final = "artifacts/checkpoint.ckpt"
"""In a model folder of before there was a model.json."""

HAND_MODEL: Final = "hand_landmarker.task"
"""Name of the hand detector's file, in the folder of a model that looks for hands."""

_MODEL_FIRST: Final = (
    "the model comes first, then images; evaluate takes them as data=folder data.root=DIR"
)

BATCH: Final = {"cpu": 32, "cuda": 128}
"""Images that are answered at once, by the kind of device."""


@dataclass(frozen=True)
class Seen:
    """What a network sees of one image.

    Attributes:
        pixels: ``(S, S, 3)`` uint8, of the square round the hand where the network sees that.
        joints: ``(21, 3)`` in shares of that square, NaN where no hand was found; None where none
            is looked for.
    """

    pixels: Pixels
    joints: Floats | None = None

    @property
    def found(self) -> bool | None:
        """Whether a hand was found; None where none was looked for."""
        return None if self.joints is None else bool(np.isfinite(self.joints[0, 0]))


class Recognizer:
    """A kept model, ready to be shown images.

    Args:
        detector: what finds hands; None where the model looks for none.
    """

    def __init__(self, kept: KeptModel, detector: Detector | None = None) -> None:
        self.kept = kept
        self.detector = detector

    @classmethod
    def load(cls, where: Path, hand_model: Path | None = None) -> "Recognizer":
        """Load from a run folder, a model folder or a checkpoint.

        Args:
            hand_model: file of the hand detector; None: the model folder's, else the one that was
                trained with, else the cache's.

        Raises:
            UserError: there is no kept model, or its hand detector cannot be had or is another.
        """
        checkpoint = find_checkpoint(where)
        torch.set_num_threads(min(torch.get_num_threads(), n_cores()))  # torch knows no containers
        kept = load_kept_model(checkpoint)
        if kept.config.hand.mode == "none":
            return cls(kept)
        return cls(kept, _detector(kept, checkpoint, hand_model))

    @property
    def device(self) -> torch.device:
        """Where the network runs: an exported one on the CPU, whatever it is moved to."""
        return next((buffer.device for buffer in self.kept.model.buffers()), torch.device("cpu"))

    def read(self, image: Path | bytes) -> Pixels:
        """Read one whole image as training would: ``(S, S, 3)`` uint8.

        Raises:
            UnreadableImageError: with the reason.
        """
        return read_image(image, self.kept.geometry, self.kept.config.data.max_megapixels)

    def look(self, image: Path | bytes) -> Seen:
        """Return what the network sees of an image: its pixels, and the joints of its hand.

        Raises:
            UnreadableImageError: with the reason.
        """
        if self.detector is None:
            return Seen(self.read(image))
        from asl_exp.data.hands.crops import CropRule, crop_of  # need more packages than the rest
        from asl_exp.data.hands.hand_store import find_in

        config = self.kept.config
        limit = config.data.max_megapixels
        hand = find_in(self.detector, image, limit)
        seen = together([hand]).seen(n_looks(config.hand))
        joints = in_squares(seen, config.hand.margin)[0]
        if config.hand.mode == "joints":
            return Seen(np.zeros((1, 1, 3), np.uint8), joints)
        rule = CropRule(self.kept.geometry, config.hand.margin)
        return Seen(crop_of(image, hand.joints, (hand.width, hand.height), rule, limit), joints)

    def recognize(self, images: Sequence[Seen]) -> "pd.DataFrame":
        """Return what ``rows`` does, as a table."""
        import pandas as pd  # takes a fifth of the time that torch takes to load

        return pd.DataFrame(self.rows(images))

    def rows(self, images: Sequence[Seen]) -> list[dict[str, Any]]:
        """Return a row for each image: letter, probability, and ``probability/<class>``.

        A model that looks for hands adds ``hand_found``; where it does not guess without one, the
        letter is "no hand" and every class has the same probability. Probabilities are calibrated;
        where the highest is below the model's threshold, the letter is "not sure".
        """
        size = BATCH[self.device.type]
        starts = range(0, len(images), size)
        return [row for start in starts for row in self._answered(images[start : start + size])]

    @torch.inference_mode()
    def _answered(self, images: Sequence[Seen]) -> list[dict[str, Any]]:
        device = self.device
        batch = torch.from_numpy(np.stack([seen.pixels for seen in images])).to(device)
        inputs = batch.permute(0, 3, 1, 2).float() / 255.0
        joints = [seen.joints for seen in images if seen.joints is not None]
        beside = {}
        if self.kept.model.joints is not None:
            beside["joints"] = torch.from_numpy(np.stack(joints)).to(device)
        calibration = self.kept.calibration
        scores = calibration.probabilities(self.kept.model(inputs, **beside)).cpu().numpy()
        least = calibration.abstain_below or 0.0
        letters = [
            self.kept.classes[i] if row[i] >= least else NOT_SURE
            for row, i in zip(scores, scores.argmax(1), strict=True)
        ]
        for row, seen in enumerate(images):
            if seen.found is False and not answers_without_hand(
                self.kept.config.hand, self.kept.classes
            ):
                letters[row], scores[row] = NO_HAND, 1 / len(self.kept.classes)
        columns = [f"probability/{name}" for name in self.kept.classes]
        return [
            {
                "letter": letter,
                "probability": max(row),
                **({} if self.detector is None else {"hand_found": bool(seen.found)}),
                **dict(zip(columns, row, strict=True)),
            }
            for letter, row, seen in zip(letters, scores.tolist(), images, strict=True)
        ]


def hand_settings(kept: KeptModel, checkpoint: Path, hand_model: Path | None = None) -> HandConfig:
    """Return how a kept model finds hands on this machine: with the detector it was trained with.

    Args:
        checkpoint: where it was read; a model folder has the detector's file beside it.
        hand_model: file of the detector; None: the one beside, else the one that was trained
            with, else the cache's.

    Raises:
        UserError: the detector is not to be had, or the one there is gives other joints.
    """
    hand = kept.config.hand
    if hand.mode == "none" or hand.detector == "exact":
        return hand
    from asl_exp.data.hands.hand_store import hand_source

    saved = home_expanded(hand.model) if hand.model else None
    beside = checkpoint.with_name(HAND_MODEL)
    if hand_model is None and checkpoint.name == DESCRIPTION:
        require_whole(checkpoint, HAND_MODEL)
    there = [one for one in (beside, saved) if one and one.is_file()]
    given = hand_model or (there[0] if there else None)  # what was saved may be another machine's
    found = hand.model_copy(update={"model": None if given is None else str(given)})
    source = hand_source(found, kept.config.data.cache_dir)
    if kept.detector and not source.stands_for(kept.detector):
        raise UserError(
            f"the model was trained with the hand detector {kept.detector[:12]}, and "
            f"{given or 'the one in the cache'} is {source.digest[:12]}, whose joints are "
            "others; give the file that it was trained with, or train again"
        )
    return found


def _detector(kept: KeptModel, checkpoint: Path, hand_model: Path | None) -> Detector:
    if kept.config.hand.detector == "exact":
        raise UserError(
            "the model was trained on the embedded signer's true joints, which no detector finds "
            "in photos; train one with hand.detector=mediapipe"
        )
    from asl_exp.data.hands.hand_store import hand_source

    hand = hand_settings(kept, checkpoint, hand_model)
    return hand_source(hand, kept.config.data.cache_dir).open()


def find_checkpoint(where: Path) -> Path:
    """Return the file that a path means: a model folder's model.json, else a kept checkpoint.

    Args:
        where: a run folder, a model folder, or one of their files.

    Raises:
        UserError: there is none, or the folder's result.json cannot be read.
    """
    if where.is_file() and is_image(where.name):
        raise UserError(f"{where}: an image; {_MODEL_FIRST}")
    if where.name == WEIGHTS:
        where = where.parent
    if where.is_file():
        return where
    for folder in (where, where / Artifact.MODEL):
        for inside in (DESCRIPTION, OLD_CHECKPOINT):
            if (folder / inside).is_file():
                return folder / inside
    for folder in (where, where / Artifact.MODEL):
        if (folder / WEIGHTS).is_file():
            raise UserError(
                f"{folder / DESCRIPTION}: missing, and the model is nothing without it "
                "(its classes, its calibration); copy it as well"
            )
    if kept := kept_checkpoint(where):
        return kept
    raise UserError(f"{where}: {_why_no_model(where)}")


def _why_no_model(where: Path) -> str:
    if (where / "MLmodel").is_file():
        return (
            f"an MLflow model without {DESCRIPTION}, so not one of asl_exp, or not the whole of "
            "it; only JSON and safetensors are read, what else is there may hold code"
        )
    below = [run for run in run_folders(where) if where in run.parents]
    if with_model := [run for run in below if checkpoints_on_disk(run)]:
        newest = max(with_model, key=lambda run: (run / Artifact.RESULT).stat().st_mtime)
        return f"a folder of runs; give one of them, such as {newest}, the newest"
    if any(is_image(file.name) for depth in ("*", "*/*") for file in where.glob(depth)):
        return f"images, and no kept model; {_MODEL_FIRST}"
    return "no kept model; give a run folder, its model/ folder, or a .ckpt or .onnx file"

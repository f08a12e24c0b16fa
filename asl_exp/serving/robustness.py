"""Shows a kept model disturbed pictures, read, cropped and answered as any new photo is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from rich.table import Table

from asl_exp.config import readable
from asl_exp.config.compose import compose_config
from asl_exp.config.console import Console
from asl_exp.config.errors import UserError
from asl_exp.config.names import Artifact
from asl_exp.config.schema import Config
from asl_exp.data.decode import Pixels, read_upright
from asl_exp.data.decode_pool import progress
from asl_exp.data.hands.found import rendered_hands
from asl_exp.data.hands.hand import Detector, Floats, Hand, no_hand
from asl_exp.data.hands.hand_store import hand_source
from asl_exp.data.letters import Split
from asl_exp.data.sources.listing import is_file_key
from asl_exp.data.sources.synthetic import draw
from asl_exp.evaluation.disturbances import (
    DISTURBANCES,
    NEEDS_JOINTS,
    STRENGTHS,
    Shown,
    disturbed,
)
from asl_exp.evaluation.figures.canvas import line, number
from asl_exp.evaluation.model_card import with_robustness
from asl_exp.evaluation.robustness import (
    NONE,
    Answers,
    Robustness,
    examples_figure,
    scored_row,
    write_robustness,
)
from asl_exp.model.recognizer import Recognizer
from asl_exp.serving.evaluate import Member, asked_keys, folder_for, load_sets, open_member
from asl_exp.tracking.model_folder import CARD

FOLDER: Final = "robustness"
"""Of the results, below evaluation/; each set has a folder there."""

_MOST: Final = 200
"""Images of a set that are disturbed: 28 pictures of each are answered."""

_BATCH: Final = 64
_LARGEST: Final = 640
"""Side in pixels to which photos are reduced before they are disturbed."""


def robustness(
    run: str, overrides: Sequence[str] = (), hand_model: Path | None = None
) -> tuple[dict[str, Robustness], Path]:
    """Disturb images of a kept model's sets; write and return what becomes of its answers.

    The card of the run's model folder says it as well.

    Returns:
        Set name to what was found, and the folder that holds a folder for each.

    Args:
        run: run folder, MLflow run id, model folder or checkpoint.
        overrides: of the group data, as in ``evaluate``.
        hand_model: file of the hand detector; for a model that looks for none, it finds the hands
            behind which another background is put.

    Raises:
        UserError: no kept model, unusable data, or a network that pictures cannot disturb.
    """
    config = compose_config(overrides)
    member = open_member(run, Path(config.runs_dir), hand_model)
    splits, _ = load_sets(member, asked_keys(overrides), config)
    if not splits:
        raise UserError(f"{run}: no image has a class of the model")
    folder = folder_for([member], config) / Artifact.EVALUATION / FOLDER
    viewer = _viewer(member, config, hand_model)
    found = {}
    for name, split in splits.items():
        chosen = split.take(_sample(split))
        found[name], pictures = _of_set(chosen, viewer)
        write_robustness(folder / name, found[name])
        examples_figure(folder / name / "examples.png", pictures, f"Disturbed: {name}")
    card = folder.parents[1] / Artifact.MODEL / CARD
    if card.is_file():
        told = with_robustness(card.read_text(encoding="utf-8"), found)
        card.write_text(told, encoding="utf-8")
    return found, folder


def show(found: dict[str, Robustness], folder: Path) -> None:
    """Print accuracy and flipped answers of each disturbance at its three strengths."""
    console = Console()
    for name, one in found.items():
        plain = one.rows[0]
        table = Table(
            title=f"{name}: "
            + line(one.n_images, number("accuracy", plain.accuracy, plain.accuracy_interval))
        )
        for column in ("disturbance", "accuracy at strength 1 to 3", "share of flipped answers"):
            table.add_column(column, justify="left" if column == "disturbance" else "right")
        for disturbance in one.disturbances:
            rows = one.of(disturbance)[1:]
            accuracies, flips = [r.accuracy for r in rows], [r.flips for r in rows]
            told = ["  ".join(map(readable.score, part)) for part in (accuracies, flips)]
            table.add_row(disturbance, *told)
        console.print(table)
        for disturbance, reason in one.left_out.items():
            console.say(f"{name}: {disturbance} was left out: {reason}")
    console.say(f"files: {folder}")


@dataclass
class _KnownHand:
    """Answers the joints that an image is known to have; a detector where they are exact.

    Attributes:
        joints: (21, 2) in pixels of the next image; None: it has no hand.
    """

    joints: Floats | None = None
    digest: str = "exact"

    def find(self, image: Pixels) -> Hand:
        """Return the hand as it is known."""
        height, width = image.shape[:2]
        if self.joints is None:
            return no_hand(width, height)
        depth = np.full((len(self.joints), 1), np.nan, np.float32)
        joints = np.concatenate([self.joints.astype(np.float32), depth], axis=1)
        return Hand(joints, np.full_like(joints, np.nan), 1.0, 0.0, width, height)


@dataclass(frozen=True)
class _Viewer:
    """A model that answers whole pictures, and what finds the hands in undisturbed ones.

    Attributes:
        side: in pixels, at which images are drawn where they are no files.
        finder: None where no hand can be found, except in drawn images.
    """

    recognizer: Recognizer
    known: _KnownHand | None
    finder: Detector | None
    side: int

    def open(self, path: str) -> Shown:
        """Return the whole image, at most 640 pixels wide and high, and its joints if known."""
        if not is_file_key(path):
            hand = rendered_hands([path])
            scale = self.side / hand.sizes[0, 0]
            joints = hand.joints[0, :, :2].astype(np.float64) * scale
            found = np.isfinite(joints).all()
            return Shown(draw(path, self.side), joints if found else None)
        limit = self.recognizer.kept.config.data.max_megapixels
        pixels, _ = read_upright(path, enough=_LARGEST, max_megapixels=limit)
        image = Image.fromarray(pixels)
        image.thumbnail((_LARGEST, _LARGEST), Image.Resampling.BILINEAR)
        reduced = np.asarray(image)
        found = self.finder.find(reduced) if self.finder else None
        known = found is not None and found.found
        return Shown(reduced, found.joints[:, :2].astype(np.float64) if found and known else None)

    def answer(self, pictures: Iterator[Shown]) -> Answers:
        """Return the letter answered to each picture."""
        letters: list[str] = []
        batch = []
        for shown in pictures:
            if self.known is not None:
                self.known.joints = (
                    None if shown.joints is None else shown.joints.astype(np.float32)
                )
            batch.append(self.recognizer.look(_as_file(shown.pixels)))
            if len(batch) == _BATCH:
                letters += self.recognizer.recognize(batch)["letter"].tolist()
                batch = []
        if batch:
            letters += self.recognizer.recognize(batch)["letter"].tolist()
        return np.array(letters, dtype=object)


def _viewer(member: Member, config: Config, hand_model: Path | None) -> _Viewer:
    kept, hand = member.kept, member.hand
    exact = hand.mode != "none" and hand.detector == "exact"
    if exact and hand.mode != "crop":
        raise UserError(
            f"{member.given}: its joints are the embedded signer's true ones, which no picture "
            "disturbs; train with hand.detector=mediapipe to see what becomes of found ones"
        )
    known, finder = (_KnownHand() if exact else None), None
    if not exact and (hand.mode != "none" or hand_model is not None):
        named = hand if hand.mode != "none" else hand.model_copy(update={"model": str(hand_model)})
        finder = hand_source(named, config.data.cache_dir).open()
    recognizer = Recognizer(kept, known or (finder if hand.mode != "none" else None))
    side = kept.preprocessing.image_size if hand.mode == "none" else 320
    return _Viewer(recognizer, known, finder, side)


def _sample(split: Split) -> NDArray[np.int64]:
    """Return at most 200 rows, seeded, as many of each class as there are."""
    generator = np.random.default_rng(0)
    shuffled = generator.permutation(len(split))
    within = pd.Series(split.labels[shuffled]).groupby(split.labels[shuffled]).cumcount()
    return np.sort(shuffled[np.argsort(within.to_numpy(), kind="stable")[:_MOST]])


def _of_set(split: Split, viewer: _Viewer) -> tuple[Robustness, dict[str, list[Pixels]]]:
    opened = [viewer.open(path) for path in split.table["path"].astype(str)]
    tried, left_out = _tried(opened)
    total = len(split) * (1 + STRENGTHS * len(tried))
    pictures: dict[str, list[Pixels]] = {}
    with progress(f"disturbing {split.name}", total) as advance:
        undisturbed = viewer.answer(iter(opened))
        rows = [scored_row((NONE, 0), undisturbed, undisturbed, split.table)]
        advance(len(split))
        for name in tried:
            pictures[name] = [opened[0].pixels]
            for strength in range(STRENGTHS):
                seen = _disturbed(opened, name, strength)
                rows.append(
                    scored_row((name, strength + 1), viewer.answer(seen), undisturbed, split.table)
                )
                pictures[name].append(disturbed(opened[0], name, strength, 0).pixels)
                advance(len(rows) * len(split))
    return Robustness(split.name, len(split), rows, left_out), pictures


def _tried(opened: Sequence[Shown]) -> tuple[list[str], dict[str, str]]:
    """Return the disturbances that can be tried, and why the others cannot."""
    if any(shown.joints is not None for shown in opened):
        return list(DISTURBANCES), {}
    reason = "no hand's joints are known; --hand-model FILE finds them"
    left_out = dict.fromkeys(NEEDS_JOINTS, reason)
    return [name for name in DISTURBANCES if name not in left_out], left_out


def _disturbed(opened: Sequence[Shown], name: str, strength: int) -> Iterator[Shown]:
    """Yield images disturbed; one without known joints stays as it is where they are needed."""
    for seed, shown in enumerate(opened):
        skipped = name in NEEDS_JOINTS and shown.joints is None
        yield shown if skipped else disturbed(shown, name, strength, seed)


def _as_file(pixels: Pixels) -> bytes:
    content = BytesIO()
    Image.fromarray(pixels).save(content, "BMP")
    return content.getvalue()

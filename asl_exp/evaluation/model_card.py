"""The card in a model folder: what a kept model was made of, what it is worth, and its limits.

In Markdown, for the people that the folder is given to. What is not known is said to be unknown.
"""

import csv
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final

from asl_exp.config import names, readable
from asl_exp.config.documents import markdown_table, markdown_text
from asl_exp.config.redact import printable
from asl_exp.data.letters import LetterData
from asl_exp.evaluation.intervals import known_groups
from asl_exp.model.folder import made_by
from asl_exp.model.kept import KeptModel
from asl_exp.model.weights import licence_of
from asl_exp.runs.result import Result, spelled_cautions

if TYPE_CHECKING:
    from asl_exp.evaluation.robustness import Robustness  # matplotlib comes with it

_SCORES: Final = {"accuracy": "accuracy", "f1_macro": "F1 (macro)", "ece": "ECE"}
_MOST_CLASSES: Final = 40
"""Up to which the confusion matrix stands in the card."""

_DISTURBED: Final = "## Disturbed pictures"

_LICENCES: Final = {
    "synthetic": "drawn by asl_exp, MIT",
    "asl_alphabet": "Kaggle, grassknoted/asl-alphabet: its page there names the licence",
    "sign_mnist": "Kaggle, datamunge/sign-language-mnist: its page there names the licence",
}


@dataclass(frozen=True)
class Facts:
    """What a card is made of.

    Attributes:
        evaluation: the run's folder of that name.
        command: that trains it again; empty where none could.
    """

    kept: KeptModel
    result: Result
    data: LetterData
    evaluation: Path
    command: Sequence[str]


def model_card(facts: Facts) -> str:
    """Return the whole card."""
    parts = [
        *_what(facts),
        *_scores(facts),
        *_confusions(facts),
        *_data(facts),
        *_limits(facts),
        *_licences(facts),
        *_repeat(facts),
        _FILES,
    ]
    return "\n\n".join(parts) + "\n"


def _what(facts: Facts) -> Iterator[str]:
    kept = facts.kept
    millions = sum(tensor.numel() for tensor in kept.model.parameters()) / 1e6
    network = names.network_word(kept.config.hand.mode, kept.config.backbone.name)
    sees = {
        "none": f"one image, {_size(kept)}",
        "crop": f"the square round the hand that is found in an image, {_size(kept)}",
        "joints": "the 21 joints of the hand that is found in an image",
        "both": f"the square round the hand that is found in an image, {_size(kept)}, and its 21 "
        "joints",
    }[kept.config.hand.mode]
    yield f"# {markdown_text(facts.result.name)}"
    yield (
        f"Names the letter of the American Sign Language alphabet that a hand shows. The network "
        f"{network} ({millions:.1f} million parameters) sees {sees}, and answers with "
        f"one of {len(kept.classes)} classes: {', '.join(map(markdown_text, kept.classes))}."
    )
    yield "```\npython -m asl_exp.predict FOLDER IMAGE...\n```"


def _size(kept: KeptModel) -> str:
    side = kept.preprocessing.image_size
    return f"{side} x {side} pixels (resized by {kept.config.data.resize})"


def _scores(facts: Facts) -> Iterator[str]:
    metrics, intervals = facts.result.metrics, facts.result.intervals
    rows = []
    for name, split in facts.data.splits.items():
        keys = [names.score_key(name, score) for score in _SCORES]
        if not any(key in metrics for key in keys):
            continue
        cells = [readable.with_interval(metrics.get(key), intervals.get(key)) for key in keys]
        rows.append([printable(name), f"{len(split):,}", *cells])
    yield "## What it is worth"
    yield markdown_table(["set", "images", *_SCORES.values()], rows)
    yield (
        "In brackets the 95 % interval, by bootstrap over groups of images (people, recordings) "
        "where they are known, else over images. `val` chose what was kept, so it flatters. ECE is "
        "of the probabilities before calibration."
    )
    if facts.result.cautions:
        yield f"**{spelled_cautions(facts.result.cautions)}**"
    yield f"Calibration: {facts.kept.calibration.told}."


def _confusions(facts: Facts) -> Iterator[str]:
    file = facts.evaluation / "test" / "confusion_matrix.csv"
    if not file.is_file() or len(facts.kept.classes) > _MOST_CLASSES:
        return
    with file.open(newline="", encoding="utf-8") as lines:
        header, *rows = list(csv.reader(lines))
    yield "## Confusion matrix, test"
    yield markdown_table(["true \\ answered", *header[1:]], rows)


def with_robustness(card: str, found: Mapping[str, "Robustness"]) -> str:
    """Return a card that says, before its data, what disturbed pictures do to the answers.

    Args:
        card: which may say it already, of other pictures.
        found: set name to what was found.
    """
    rows = []
    for name, one in found.items():
        for disturbance in one.disturbances:
            tried = one.of(disturbance)[1:]
            shares = [[row.accuracy for row in tried], [row.flips for row in tried]]
            told = [", ".join(map(readable.score, of)) for of in shares]
            rows.append([printable(name), disturbance, *told])
    header = ["set", "disturbance", "accuracy at strengths 1 to 3", "answers that flip"]
    section = f"{_DISTURBED}\n\n{markdown_table(header, rows)}\n\n"
    before, data, after = card.partition("## Data\n")
    return before.partition(_DISTURBED)[0] + section + data + after


def _data(facts: Facts) -> Iterator[str]:
    data, config = facts.data, facts.kept.config.data
    rows = []
    for name, split in data.splits.items():
        groups = known_groups(split.table)
        of_groups = "unknown" if groups is None else f"{len(set(groups)):,}"
        sources = ", ".join(sorted(set(split.table["source"].astype(str))))
        rows.append([printable(name), f"{len(split):,}", of_groups, printable(sources)])
    yield "## Data"
    yield markdown_table(["set", "images", "groups", "sources"], rows)
    yield (
        f"Source `{config.source}`, split by `{data.split_rule}` with seed {config.split_seed}; "
        f"digest `{data.digest}`."
    )


def _limits(facts: Facts) -> Iterator[str]:
    kept = facts.kept
    limits = [
        "It sees one image at a time. J and Z are movements: what it knows of them is a moment.",
        "It answers with one of its classes whatever the image shows, unless it looks for hands "
        "or has a threshold for `not sure`.",
        "A letter is not the language: it reads no signs, no faces and no sentences.",
        "It knows people, rooms and cameras like those in the table above. On others it is worth "
        "what the rows `external/...` say, if anything.",
    ]
    if facts.data.leaks:
        limits.insert(0, "Near-copies of training images may be in val and test: see above.")
    if kept.config.data.source == "synthetic":
        limits.insert(0, "It was trained on drawn hands, and is worth little on photos.")
    if kept.config.hand.mode != "none":
        limits.append("It is no better than the hand detector: where no hand is found, it is lost.")
    yield "## Limits"
    yield "\n".join(f"- {limit}" for limit in limits)


def _licences(facts: Facts) -> Iterator[str]:
    config = facts.kept.config
    lines = [f"weights that it started from: {licence_of(config.backbone)}"]
    if config.hand.mode == "joints":
        lines = ["weights that it started from: none"]
    own = "the images' owners decide; asl_exp has no record of their licence"
    lines.append(f"training images: {_LICENCES.get(config.data.source, own)}")
    if config.hand.mode != "none" and config.hand.detector == "mediapipe":
        lines.append("hand detector: MediaPipe's networks, Google, Apache-2.0")
    lines.append("code: asl_exp, MIT")
    yield "## Licences"
    yield "\n".join(f"- {line}" for line in lines)


def _repeat(facts: Facts) -> Iterator[str]:
    versions = f"{made_by()}, signature `{facts.result.signature}`, seed "
    yield "## How to repeat"
    if facts.command:
        words = [_handed_on(word) for word in facts.command if not word.startswith(_OWN_FOLDERS)]
        yield f"```\n{printable(shlex.join(words))}\n```"
    yield (
        f"{versions}{facts.kept.config.seed}; the exact packages are in `requirements.txt`. "
        f"The weights are those of epoch {facts.kept.epoch + 1}, phase `{facts.kept.phase}`."
    )


def _handed_on(word: str) -> str:
    """Return a word of a command; of a file's absolute path its name alone."""
    key, equals, value = word.partition("=")
    return f"{key}={PurePath(value).name}" if equals and PurePath(value).is_absolute() else word


_OWN_FOLDERS: Final = ("runs_dir=", "data.cache_dir=")
"""Words of a command that say where something lies on the machine of the run."""


_FILES: Final = """## Files

`model.json` (classes, preprocessing, calibration, configuration, digests) and \
`weights.safetensors` are the model: they hold no code, and asl_exp reads nothing else. \
`MLmodel`, `code/` and the requirements are for MLflow: `mlflow.pyfunc.load_model` and \
`mlflow models serve` run the code in this folder, so give them only a folder whose maker \
you trust."""

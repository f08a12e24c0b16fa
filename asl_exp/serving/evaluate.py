"""Scores kept models on any data: one of them, or several together as an ensemble.

One model's scores go into its run's folder and MLflow run; an ensemble has a folder and an MLflow
run of its own. The images are read as each model's training read them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from asl_exp.config import names
from asl_exp.config.compose import compose_config
from asl_exp.config.debug import debug_caution, joined
from asl_exp.config.errors import UserError
from asl_exp.config.names import Artifact
from asl_exp.config.schema import Config, HandConfig
from asl_exp.data.dataset import load_whole
from asl_exp.data.letters import Split
from asl_exp.evaluation.certificate import n_trained_on, write_certificate
from asl_exp.evaluation.folder import PREDICTIONS, AnsweredSet, Evaluation, write_evaluation
from asl_exp.evaluation.inference import probabilities
from asl_exp.evaluation.scores import Probabilities
from asl_exp.model.checkpoint import load_kept_model
from asl_exp.model.kept import KeptModel
from asl_exp.model.recognizer import find_checkpoint, hand_settings
from asl_exp.runs.result import Result
from asl_exp.runs.run_folder import read_config
from asl_exp.tracking.recorder import Begin, Recorder
from asl_exp.tracking.store import folder_of, store_above
from asl_exp.training.device import set_up
from asl_exp.training.shared_inputs import letters_for
from asl_exp.training.terminal import console, show_result

_BATCH = 64


@dataclass(frozen=True)
class Member:
    """One model of those that are scored.

    Attributes:
        kept: the network and how it was trained.
        hand: how it finds hands on this machine.
        folder: its run folder; None for a model folder or a checkpoint alone.
    """

    given: str
    kept: KeptModel
    hand: HandConfig
    folder: Path | None
    result: Result | None

    @property
    def batch_size(self) -> int:
        """Images at once: as in the run, whose last bits depend on it."""
        known = self.result.batch_size if self.result else None
        size = known or self.kept.config.data.batch_size
        return size if isinstance(size, int) else _BATCH


@dataclass(frozen=True)
class Scored:
    """What was scored.

    Attributes:
        sets: set name to its evaluation.
        left_out: set name to label to images whose label the model does not know.
        absent: set name to the model's classes that have no image there.
        trained_on: set name to how many of its images were trained on, in words; "" for none.
        earlier: set name to what becomes of the scores of other images that had its name, in words;
            "" where there are none.
        folder: where the files are.
    """

    sets: dict[str, Evaluation]
    left_out: dict[str, dict[str, int]]
    absent: dict[str, tuple[str, ...]]
    trained_on: dict[str, str]
    earlier: dict[str, str]
    folder: Path


def evaluate(
    runs: Sequence[str],
    overrides: Sequence[str] = (),
    renamed: Mapping[str, str] | None = None,
    *,
    soup: bool = False,
    hand_model: Path | None = None,
    device: torch.device | None = None,
) -> Scored:
    """Score kept models and write and record what they are worth.

    Args:
        runs: run folders, MLflow run ids, model folders or checkpoints; several are an ensemble.
        overrides: of the group data. With a source (data=..., data.source, data.root or
            data.manifest) all its images are scored; without one, the run's own test and external
            sets, where only what the machine decides, and data.external, can be given.
        renamed: label of the data to class of the model.
        soup: average the weights of the models instead of their probabilities.
        hand_model: file of the hand detector, for models that look for hands; None: found as
            ``hand_settings`` does.
        device: where the networks run; None: the first GPU if there is one, else the CPU.

    Raises:
        UserError: no kept model there, models that do not fit each other, or unusable data.
    """
    config = compose_config(overrides)
    members = [open_member(run, Path(config.runs_dir), hand_model) for run in runs]
    _require_equal_classes(members)
    if soup:
        members = [_averaged(members)]
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    first = members[0]
    set_up(device, first.kept.config.trainer, first.result.threads if first.result else None)
    asked = asked_keys(overrides)
    loaded = [load_sets(member, asked, config, renamed) for member in members]
    splits, left_out = loaded[0]
    classes = members[0].kept.classes
    if not splits:
        raise UserError(_nothing(left_out, classes))
    folder = folder_for(members if not soup else [], config)
    scored = Scored({}, left_out, {}, {}, {}, folder)
    for given, split in splits.items():
        name, told = _place(folder / Artifact.EVALUATION, split)
        answers = _answers(members, [part[given] for part, _ in loaded], device)
        trained_on = _trained_on(members, split) if asked is None else ""
        said = joined(debug_caution(members[0].kept.config.debug), trained_on)
        named = replace(split, name=name, caution=joined(said, split.caution))
        answered = AnsweredSet.of(named, answers, classes)
        scored.sets[name] = write_evaluation(folder / Artifact.EVALUATION / name, answered)
        scored.absent[name] = _absent(split, classes)
        scored.trained_on[name], scored.earlier[name] = trained_on, told
    member = members[0] if len(runs) == 1 else None
    if member is not None and member.result is not None:
        write_certificate(folder, member.kept.config, member.result)
    _record(scored, runs, member, config)
    return scored


def open_member(given: str, runs_dir: Path, hand_model: Path | None) -> Member:
    """Return the kept model that a path or an MLflow run id means.

    Raises:
        UserError: there is none.
    """
    where = folder_of(given, runs_dir)
    folder = where if (where / Artifact.RESULT).is_file() else None
    if folder is None and (where.parent / Artifact.RESULT).is_file():
        folder = where.parent
    result = Result.read(folder) if folder else None
    checkpoint = find_checkpoint(where)
    kept = load_kept_model(checkpoint)
    if folder is not None:  # a model folder does not say where its images lie
        kept = replace(kept, config=read_config(folder))
    return Member(given, kept, hand_settings(kept, checkpoint, hand_model), folder, result)


_SOURCE = ("data", "data.source", "data.root", "data.manifest")
_OF_OWN_DATA = (
    "external", "cache_dir", "cache_limit_gb", "workers", "max_unreadable", "max_megapixels",
)  # fmt: skip
"""Keys of data that may change while the run's own images are scored."""


def asked_keys(overrides: Sequence[str]) -> tuple[str, ...] | None:
    """Return the keys of the run's own data that are given; None where other data are named.

    Raises:
        UserError: a key that would change the model, or which of its own images are scored.
    """
    keys = [override.partition("=")[0].lstrip("+") for override in overrides]
    for key in keys:
        if key.partition(".")[0] not in ("data", "runs_dir", "tracking"):
            raise UserError(
                f"{key}: a kept model is scored as it is; only data, data.*, runs_dir and "
                "tracking.* can be given"
            )
    if any(key in _SOURCE for key in keys):
        return None
    own = [key.removeprefix("data.") for key in keys if key.startswith("data.")]
    for key in own:
        if key not in _OF_OWN_DATA:
            raise UserError(
                f"data.{key}: without a source the run's own test and external images are scored, "
                f"of which only {', '.join(f'data.{one}' for one in _OF_OWN_DATA)} can be given; "
                "name a source, such as data=folder data.root=FOLDER, to score its images"
            )
    return tuple(own)


def _require_equal_classes(members: Sequence[Member]) -> None:
    first = members[0]
    for other in members[1:]:
        if other.kept.classes != first.kept.classes:
            raise UserError(
                f"{other.given} knows the classes {', '.join(other.kept.classes)} and "
                f"{first.given} {', '.join(first.kept.classes)}: they cannot answer together"
            )


def _averaged(members: Sequence[Member]) -> Member:
    """Return one model whose weights are the mean of all (Wortsman et al., ICML 2022).

    Raises:
        UserError: they are different networks, or did not start from the same weights.
    """
    states = [member.kept.model.state_dict() for member in members]
    first = states[0]
    for member, state in zip(members, states, strict=True):
        shapes = {k: v.shape for k, v in state.items()}
        if shapes != {k: v.shape for k, v in first.items()}:
            raise UserError(
                f"--soup: {member.given} is another network than {members[0].given}; weights can "
                "be averaged within one architecture alone"
            )
        if _start(member) != _start(members[0]):
            raise UserError(
                f"--soup: {member.given} and {members[0].given} did not start from the same "
                "weights, and the mean of their weights is no model; leave --soup out and their "
                "answers are averaged"
            )
    mean = {
        key: torch.stack([state[key].double() for state in states]).mean(0).to(tensor.dtype)
        for key, tensor in first.items()
    }
    members[0].kept.model.load_state_dict(mean)
    return replace(members[0], given="soup", folder=None, result=None)


def _start(member: Member) -> object:
    """Return what two networks that began at one place share: pretrained, or equal weights."""
    backbone = member.kept.config.backbone
    if backbone.pretrained and member.kept.model.sees_pixels:
        return backbone.name, backbone.weights
    return member.result.start.get("initial weights") if member.result else member.given


def load_sets(
    member: Member,
    asked: tuple[str, ...] | None,
    config: Config,
    renamed: Mapping[str, str] | None = None,
) -> tuple[dict[str, Split], dict[str, dict[str, int]]]:
    """Return a model's sets by name, and the labels left out of each.

    Args:
        asked: what `asked_keys` returns: keys of its own data, or None for the data of `config`.
        renamed: label of the data to class of the model.
    """
    kept, own = member.kept, member.kept.config
    if asked is not None:
        mine = own.data.model_copy(update={key: getattr(config.data, key) for key in asked})
        data = letters_for(kept, mine, member.hand)
        return {n: s for n, s in data.splits.items() if n not in ("train", "val")}, {}
    whole = load_whole(
        config.data, kept.classes, geometry=kept.geometry, renamed=renamed, hand=member.hand
    )
    left_out = {name: labels for name, labels in whole.left_out.items() if labels}
    return {split.name: split for split in whole.splits.values()}, left_out


def _answers(
    members: Sequence[Member], splits: Sequence[Split], device: torch.device
) -> Probabilities:
    """Return the mean of the models' probabilities, `(N, C)`."""
    parts = [
        probabilities(member.kept.model, split, batch_size=member.batch_size, device=device)
        for member, split in zip(members, splits, strict=True)
    ]
    return parts[0] if len(parts) == 1 else np.mean(parts, axis=0, dtype=np.float64)


def _absent(split: Split, classes: Sequence[str]) -> tuple[str, ...]:
    there = set(split.labels.tolist())
    return tuple(name for index, name in enumerate(classes) if index not in there)


def _trained_on(members: Sequence[Member], split: Split) -> str:
    """Return what must stand beside the scores of images that a model was trained on."""
    counts = [n_trained_on(member.folder, split) for member in members if member.folder]
    if not (most := max(counts, default=0)):
        return ""
    return f"trained on {most:,} of these {len(split):,} images: no score of other people's hands"


def _place(evaluation: Path, split: Split) -> tuple[str, str]:
    """Return the name under which a set is scored there, and what is to be said of it.

    The scores of other images stay, though they have its name: a number tells the sets apart.
    """
    name, told, number = split.name, "", 1
    while True:
        try:
            before = pd.read_parquet(evaluation / name / PREDICTIONS, columns=["path", "sha256"])
        except (OSError, ValueError):  # none, one of an older version, or a damaged one
            return name, told
        known = before["sha256"].isin(split.table["sha256"])
        if known.all() and len(before) == len(split):
            return name, told
        if known.any() or before["path"].isin(split.table["path"]).any():
            return name, (
                f"replaces the scores of {len(before):,} images, of which {known.sum():,} are "
                f"among these {len(split):,}"
            )
        number += 1
        name, told = f"{split.name}_{number}", f"{split.name} has the scores of other images"


def _nothing(left_out: Mapping[str, Mapping[str, int]], classes: Sequence[str]) -> str:
    found = sorted({label for labels in left_out.values() for label in labels})
    return (
        f"no image has a class of the model ({', '.join(classes)}); the labels found are "
        f"{', '.join(found)}; --map {found[0] if found else 'LABEL'}={classes[0]} says what a "
        "label means"
    )


def folder_for(members: Sequence[Member], config: Config) -> Path:
    """Return the folder of a model's run, or a new one where there is none or they are several."""
    if len(members) == 1:
        return members[0].folder or _new_folder(config, "evaluation")
    return _new_folder(config, "ensemble" if members else "soup")


def _new_folder(config: Config, what: str) -> Path:
    made = Path(config.runs_dir) / f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{what}"
    made.mkdir(parents=True)
    return made


def _record(scored: Scored, runs: Sequence[str], member: Member | None, config: Config) -> None:
    """Log scores and files to the run's own MLflow run, or to a new one where there is none."""
    if config.tracking.mode == "off":
        return
    result = member.result if member else None
    if result is None:
        own = member.kept.config if member else config
        evaluated = {"evaluated": ", ".join(runs)}
        begin = Begin(
            Path(config.runs_dir), own.tracking.experiment, scored.folder.name, scored.folder,
            evaluated,
        )  # fmt: skip
        recorder = Recorder.open(begin, run_id=None)
    elif result.mlflow_run_id is not None and (runs_dir := store_above(scored.folder)):
        recorder = Recorder.reopen(runs_dir, result.mlflow_run_id)
    else:
        return
    step = max(result.kept_epochs.values(), default=0) if result else 0
    for name, evaluation in scored.sets.items():
        recorder.metrics(
            {names.score_key(name, key): value for key, value in evaluation.scores.items()}, step
        )
    recorder.artifacts(scored.folder, Artifact.EVALUATION)
    recorder.end(result.status if result else "FINISHED")


def show(scored: Scored) -> None:
    """Print the scores with their intervals, and what was left out."""
    rows = {name: {"images": one.n_images, **one.scores} for name, one in scored.sets.items()}
    intervals = {
        names.score_key(name, "accuracy"): one.intervals.of["accuracy"]
        for name, one in scored.sets.items()
        if "accuracy" in one.intervals.of
    }
    show_result("", rows, intervals)
    for name, evaluation in scored.sets.items():
        console.say(f"{name}: {evaluation.intervals.described()}")
        for told in filter(None, (scored.trained_on[name], scored.earlier[name])):
            console.say(f"{name}: {told}", warning=True)
        if absent := scored.absent[name]:
            console.say(f"{name}: no image of {', '.join(absent)}")
    for name, labels in scored.left_out.items():
        told = ", ".join(f"{label} ({count:,})" for label, count in labels.items())
        console.say(
            f"external/{name}: left out {sum(labels.values()):,} images whose label is no class "
            f"of the model: {told}",
            warning=True,
        )
    console.say(f"files: {scored.folder / Artifact.EVALUATION}")

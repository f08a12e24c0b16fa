"""Finished runs side by side: scores with intervals, tests of differences, differing settings.

Owns what is read of each run and what is computed of several; the pages are comparison_page.py's.
Also owns the accuracies that the paper on the first nine letters reported in its Table I.

Runs that differ in nothing but their seed or fold are one row, with its spread. Scores are made
anew from predictions.parquet, so a report holds what anybody can check.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from asl_exp.config import names
from asl_exp.config.errors import UserError
from asl_exp.config.names import Artifact
from asl_exp.config.schema import Config
from asl_exp.config.signature import compared_settings, network_name
from asl_exp.evaluation import scores
from asl_exp.evaluation.intervals import Intervals, known_groups, score_intervals
from asl_exp.evaluation.paired import Difference, difference, holm, is_shown
from asl_exp.evaluation.report import summary
from asl_exp.runs.result import Result, spelled_cautions
from asl_exp.runs.run_folder import read_config, run_folders
from asl_exp.tracking.store import folder_of

PUBLISHED: Final = {
    "tf_efficientnet_b7": {"train": 1.00, "val": 0.95, "test": 0.96, "external": 0.53},
    "tf_efficientnetv2_b1": {"train": 1.00, "val": 0.95, "test": 0.95, "external": 0.49},
    "vgg19": {"train": 1.00, "val": 0.92, "test": 0.93, "external": 0.44},
    "legacy_xception": {"train": 1.00, "val": 0.94, "test": 0.93, "external": 0.51},
}
"""Accuracy by timm name and split; external is 4,500 images of the Kaggle ASL Alphabet."""

PREDICTIONS: Final = "predictions.parquet"
REPEATS: Final = ("seed", "data.leave_out", "data.fold")
"""Settings in which the repetitions of one configuration differ."""


@dataclass(frozen=True)
class Scored:
    """One run on one set, made anew from its predictions.

    Attributes:
        table: a row an image: key, label, group, predicted, correct, ...
        values: accuracy, f1_macro and ece.
        intervals: of the same.
        recall: class to the share of its images that were recognised.
    """

    table: pd.DataFrame
    values: dict[str, float]
    intervals: Intervals
    recall: dict[str, float]


@dataclass(frozen=True)
class Compared:
    """One finished run.

    Attributes:
        folder: of the run.
        label: by which the report calls it, different for every run.
        sets: "test" and "external/<set>" to what it is worth there.
    """

    folder: Path
    label: str
    config: Config
    result: Result
    sets: dict[str, Scored] = field(repr=False)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Return what decides what is computed, as ``group.key`` to value."""
        return compared_settings(self.config)

    @property
    def published(self) -> Mapping[str, float]:
        """Return the paper's accuracies of the same backbone by split, if it has any."""
        return PUBLISHED.get(self.config.backbone.name, {})

    def history(self) -> pd.DataFrame:
        """Return the metrics of every epoch, none where the file is gone."""
        file = self.folder / Artifact.EPOCHS
        return pd.read_csv(file) if file.is_file() else pd.DataFrame()


@dataclass(frozen=True)
class Pair:
    """Two runs on one set. `p` is corrected for all pairs of that set."""

    where: str
    first: str
    second: str
    found: Difference
    p: float


def find_folders(given: Sequence[str], runs_dir: Path) -> list[Path]:
    """Return the run folders that paths and MLflow run ids mean; of a folder of runs, all finished.

    Raises:
        UserError: one of them means none.
    """
    found: list[Path] = []
    for name in given:
        if not Path(name).exists():
            found.append(folder_of(name, runs_dir))
            continue
        folders = run_folders(Path(name))
        if len(folders) > 1:
            folders = [f for f in folders if (r := Result.read(f)) and r.status == "FINISHED"]
        if not folders:
            raise UserError(f"{name}: no finished run in it")
        found += folders
    return found


def read_runs(folders: Sequence[Path]) -> list[Compared]:
    """Read finished runs.

    Raises:
        UserError: a folder holds no finished run, or its predictions are gone or damaged.
    """
    unique = list(dict.fromkeys(folder.resolve() for folder in folders))
    labels = _labels(unique)
    return [_read(folder, label) for folder, label in zip(unique, labels, strict=True)]


def _read(folder: Path, label: str) -> Compared:
    result = Result.read(folder)
    if result is None:
        raise UserError(f"{folder}: not a run folder, it has no {Artifact.RESULT}")
    if result.status != "FINISHED":
        raise UserError(f"{folder}: its status is {result.status}; repeat the run first")
    evaluation = folder / Artifact.EVALUATION
    files = sorted(evaluation.rglob(PREDICTIONS), key=lambda file: (len(file.parts), str(file)))
    sets = {file.parent.relative_to(evaluation).as_posix(): score_file(file) for file in files}
    return Compared(folder, label, read_config(folder), result, sets)


def _labels(folders: Sequence[Path]) -> list[str]:
    """Return each folder's name, with so many folders above it that all are different."""
    depth = 1
    while True:
        labels = ["/".join(folder.parts[-depth:]) for folder in folders]
        if len(set(labels)) == len(labels) or depth > max(len(f.parts) for f in folders):
            return labels
        depth += 1


def score_file(file: Path) -> Scored:
    """Score the predictions of a file anew.

    Raises:
        UserError: it cannot be read, or holds no predictions.
    """
    try:
        table = pd.read_parquet(file)
        columns = [str(name) for name in table if str(name).startswith("probability/")]
        classes = [name.removeprefix("probability/") for name in columns]
        probabilities = table[columns].to_numpy(np.float64)
        labels = pd.Index(classes).get_indexer(pd.Index(table["label"])).astype(np.int64)
        scores.checked(probabilities, labels)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{file}: these are no predictions of asl_exp ({reason})") from error
    confusion = scores.confusion_matrix(probabilities, labels)
    recall = scores.recall_by_class(confusion)
    groups = known_groups(table["group"].astype(str).tolist())
    return Scored(
        table=table.assign(correct=probabilities.argmax(1) == labels),
        values=summary(probabilities, labels),
        intervals=score_intervals(probabilities, labels, groups),
        recall={
            name: float(share)
            for name, share in zip(classes, recall, strict=True)
            if not np.isnan(share)
        },
    )


def set_names(runs: Sequence[Compared]) -> list[str]:
    """Return every set on which a run was scored, test first."""
    return list(dict.fromkeys(name for run in runs for name in run.sets))


def repetitions(runs: Sequence[Compared]) -> list[list[Compared]]:
    """Return runs in groups that differ in their seed or fold alone."""
    groups: dict[str, list[Compared]] = {}
    for run in runs:
        settings = {k: v for k, v in run.settings.items() if k not in REPEATS}
        groups.setdefault(repr(sorted(settings.items())), []).append(run)
    return list(groups.values())


def differing_settings(runs: Sequence[Compared]) -> dict[str, list[Any]]:
    """Return ``group.key`` to each run's value, of the settings that are not equal in all."""
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    values = {key: [run.settings.get(key) for run in runs] for key in keys}
    return {key: given for key, given in values.items() if len(set(map(repr, given))) > 1}


def pairs(runs: Sequence[Compared]) -> list[Pair]:
    """Compare every two runs on the images that both were tested on, set by set."""
    found = []
    for where in set_names(runs):
        tested = [run for run in runs if where in run.sets]
        differences = [
            (first.label, second.label, one)
            for first, second in combinations(tested, 2)
            if (one := _paired(first.sets[where].table, second.sets[where].table)) is not None
        ]
        corrected = holm([one.p for _, _, one in differences])
        found += [
            Pair(where, first, second, one, p)
            for (first, second, one), p in zip(differences, corrected, strict=True)
        ]
    return found


def _paired(first: pd.DataFrame, second: pd.DataFrame) -> Difference | None:
    """Compare on the images that both have; None where they have none in common."""
    identity = ["sha256", "key", "label"] if "sha256" in first and "sha256" in second else ["key"]
    both = first.merge(second, on=identity, suffixes=("", "_second"), validate="many_to_many")
    both = both.drop_duplicates(identity)
    if both.empty:
        return None
    return difference(
        both["correct"].to_numpy(bool),
        both["correct_second"].to_numpy(bool),
        known_groups(both["group"].astype(str).tolist()),
    )


def warnings(runs: Sequence[Compared]) -> Iterator[str]:
    """Yield what a reader must know before believing the table."""
    for run in runs:
        if run.result.cautions:
            yield f"{run.label}: {spelled_cautions(run.result.cautions)}"
        if not run.config.backbone.pretrained and run.published:
            yield f"{run.label}: started from random weights, the published system did not"
    for where in set_names(runs):
        images = {
            frozenset(run.sets[where].table["key"].astype(str)) for run in runs if where in run.sets
        }
        if len(images) > 1:
            common = len(frozenset.intersection(*images))
            yield (
                f"{where}: the runs were tested on different images ({common:,} are common); "
                "pairs are compared on what both have"
            )
    digests = {run.result.start.get("data") for run in runs}
    if len(digests) > 1:
        yield "the runs did not have the same data: their data digests differ"


def as_json(runs: Sequence[Compared], found: Sequence[Pair]) -> dict[str, Any]:
    """Return plain values of each run, by its label, and of each pair, for other programs."""
    return {
        "runs": {run.label: _run_as_json(run) for run in runs},
        "pairs": [
            {"set": p.where, "first": p.first, "second": p.second, "p_corrected": p.p,
             "shown": is_shown(p.found, p.p), **asdict(p.found)}
            for p in found
        ],
    }  # fmt: skip


def _run_as_json(run: Compared) -> dict[str, Any]:
    return {
        "network": network_name(run.config),
        "pretrained": run.config.backbone.pretrained,
        "image_size": run.config.backbone.image_size,
        "lr": {"transfer": run.config.lr.transfer, "finetune": run.config.lr.finetune},
        "split": run.result.split or run.config.data.split,
        "split_leaks": run.result.split_leaks,
        "cautions": run.result.cautions,
        "measured": {
            **{s: run.result.metrics.get(names.score_key(s, "accuracy")) for s in ("train", "val")},
            **{name: scored.values["accuracy"] for name, scored in run.sets.items()},
        },
        "intervals": {
            name: list(scored.intervals.of["accuracy"])
            for name, scored in run.sets.items()
            if "accuracy" in scored.intervals.of
        },
        "published": dict(run.published),
        "seconds": run.result.seconds,
    }

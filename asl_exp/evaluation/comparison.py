"""Finished runs side by side: which are meant, what each came to, which repeat one configuration.

Runs that differ in nothing but their seed or fold are one configuration, with its spread. Scores
are made anew from predictions.parquet, so a report holds what anybody can check. Differences are
tested by differences.py; the pages are comparison_page.py's. Also owns the accuracies that the
paper on the first nine letters reported in its Table I.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import mean
from typing import Any, Final

import pandas as pd

from asl_exp.config import names
from asl_exp.config.errors import UserError, nearest
from asl_exp.config.names import Artifact, Tag
from asl_exp.config.schema import Config
from asl_exp.config.signature import compared_settings, network_name
from asl_exp.evaluation.cost import Cost, cost
from asl_exp.evaluation.folder import PREDICTIONS, Scored, score_file
from asl_exp.runs.result import Result
from asl_exp.runs.run_folder import read_config, run_folders
from asl_exp.tracking.store import every_run, folder_of, open_store
from asl_exp.tracking.store_file import DATABASE


def find_folders(given: Sequence[str], runs_dir: Path, experiment: str | None = None) -> list[Path]:
    """Return the run folders that are meant; of a folder of runs, a study or an experiment, those
    of all finished runs.

    Args:
        given: run folders, folders of runs, MLflow run ids, or names of studies.
        runs_dir: where ids, studies and experiments are known.
        experiment: an MLflow experiment whose runs are meant as well.

    Raises:
        UserError: one of them means none.
    """
    found = [folder for name in given for folder in _meant(name, runs_dir)]
    if experiment is not None:
        found += _of_experiment(experiment, runs_dir)
    return found


def _meant(name: str, runs_dir: Path) -> list[Path]:
    where = Path(name)
    if not where.exists():
        where = _study(name, runs_dir) or folder_of(name, runs_dir)
    folders = run_folders(where)
    if len(folders) > 1:
        folders = list(_finished(folders))
    if not folders:
        raise UserError(f"{name}: no finished run in it")
    return folders


def _finished(folders: Sequence[Path]) -> Iterator[Path]:
    for folder in folders:
        if (result := Result.read(folder)) and result.status == "FINISHED":
            yield folder


def _study(name: str, runs_dir: Path) -> Path | None:
    """Return the folder of the last study of that name; None where none is known."""
    if not (runs_dir / DATABASE).is_file() or "'" in name:
        return None
    runs = every_run(open_store(runs_dir), f"tags.{Tag.STUDY} = '{name}' and tags.{Tag.ROLE} != ''")
    folders = [run.data.tags.get(Tag.RUN_FOLDER) for run in runs]
    return next((Path(folder) for folder in reversed(folders) if folder), None)


def _of_experiment(name: str, runs_dir: Path) -> list[Path]:
    if not (runs_dir / DATABASE).is_file():
        raise UserError(f"--experiment {name}: no store of runs in {runs_dir}; give --runs-dir")
    client = open_store(runs_dir)
    known = {one.name: one.experiment_id for one in client.search_experiments()}
    if name not in known:
        raise UserError(
            f"--experiment {name}: no such experiment in {runs_dir}{nearest(name, known)}; it has "
            f"{', '.join(sorted(known))}"
        )
    runs = [run for run in every_run(client) if run.info.experiment_id == known[name]]
    folders = [Path(folder) for run in runs if (folder := run.data.tags.get(Tag.RUN_FOLDER))]
    finished = list(_finished(list(dict.fromkeys(folders))))
    if not finished:
        raise UserError(f"--experiment {name}: no finished run in it")
    return finished


PUBLISHED: Final = {
    "tf_efficientnet_b7": {"train": 1.00, "val": 0.95, "test": 0.96, "external": 0.53},
    "tf_efficientnetv2_b1": {"train": 1.00, "val": 0.95, "test": 0.95, "external": 0.49},
    "vgg19": {"train": 1.00, "val": 0.92, "test": 0.93, "external": 0.44},
    "legacy_xception": {"train": 1.00, "val": 0.94, "test": 0.93, "external": 0.51},
}
"""Accuracy by timm name and split; external is 4,500 images of the Kaggle ASL Alphabet."""

REPEATS: Final = ("seed", "data.leave_out", "data.fold")
"""Settings in which the repetitions of one configuration differ."""


@dataclass(frozen=True)
class Compared:
    """One finished run.

    Attributes:
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

    @cached_property
    def cost(self) -> Cost:
        """Return what its network and training cost."""
        tables = [scored.table for scored in self.sets.values()]
        columns = [str(name) for name in tables[0]] if tables else []
        n_classes = sum(name.startswith("probability/") for name in columns) or 2
        return cost(self.config, n_classes, self.result, self.history())

    def history(self) -> pd.DataFrame:
        """Return the metrics of every epoch, none where the file is gone."""
        file = self.folder / Artifact.EPOCHS
        return pd.read_csv(file) if file.is_file() else pd.DataFrame()


@dataclass(frozen=True)
class Configuration:
    """Runs that differ in their seed or fold alone.

    Attributes:
        runs: at least one.
        label: by which the report calls them together.
    """

    runs: Sequence[Compared]
    label: str

    @property
    def first(self) -> Compared:
        """The run whose settings stand for all."""
        return self.runs[0]

    @property
    def chosen_by(self) -> float:
        """The mean of val/accuracy, by which configurations are chosen where only some are shown.

        Never a score of test: what was chosen by it would look better than it is.
        """
        known = [run.result.metrics.get(names.VAL_ACCURACY) for run in self.runs]
        return mean([value for value in known if value is not None] or [0.0])

    def scored(self, where: str) -> list[Scored]:
        """Return what each run is worth on a set, of those that were scored on it."""
        return [run.sets[where] for run in self.runs if where in run.sets]

    @cached_property
    def _answers(self) -> dict[str, pd.DataFrame]:
        return {}

    def answers(self, where: str) -> pd.DataFrame:
        """Return a row for each image of a set: its identity, group, and share of runs right.

        The index tells images apart, by their bytes where they are known.
        """
        if where not in self._answers:
            tables = pd.concat([one.table for one in self.scored(where)], ignore_index=True)
            parts = [name for name in ("key", "label", "sha256") if name in tables]
            identity = tables[parts[0]].astype(str)
            for name in parts[1:]:
                identity = identity + "\x1f" + tables[name].astype(str)
            grouped = tables.groupby(identity, sort=False)
            self._answers[where] = grouped.agg(
                correct=("correct", "mean"), group=("group", "first")
            )
        return self._answers[where]


def configurations(runs: Sequence[Compared]) -> list[Configuration]:
    """Return runs in groups that differ in their seed or fold alone."""
    groups: dict[str, list[Compared]] = {}
    for run in runs:
        settings = {k: v for k, v in run.settings.items() if k not in REPEATS}
        groups.setdefault(repr(sorted(settings.items())), []).append(run)
    return [Configuration(same, _together(same)) for same in groups.values()]


def _together(same: Sequence[Compared]) -> str:
    label = same[0].label
    if len(same) == 1:
        return label
    above = {run.label.rpartition("/")[0] for run in same}
    if len(above) == 1 and (folder := above.pop()):
        return f"{folder} ({len(same)} runs)"
    return f"{label} and {len(same) - 1} more (repeated)"


def best_by_validation(compared: Sequence[Configuration], most: int) -> list[Configuration]:
    """Return so many of the configurations, in their order."""
    if len(compared) <= most:
        return list(compared)
    ranked = sorted(range(len(compared)), key=lambda i: -compared[i].chosen_by)[:most]
    return [compared[index] for index in sorted(ranked)]


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


def set_names(runs: Sequence[Compared]) -> list[str]:
    """Return every set on which a run was scored, test first."""
    return list(dict.fromkeys(name for run in runs for name in run.sets))


def differing_settings(runs: Sequence[Compared]) -> dict[str, list[Any]]:
    """Return ``group.key`` to each run's value, of the settings that are not equal in all."""
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    values = {key: [run.settings.get(key) for run in runs] for key in keys}
    return {key: given for key, given in values.items() if len(set(map(repr, given))) > 1}


def shown(values: Sequence[Any]) -> list[str]:
    """Return one setting of several runs as text; of paths the ends by which they differ."""
    texts = [", ".join(map(str, one)) if isinstance(one, list) else str(one) for one in values]
    paths = sorted({text for text in texts if "/" in text and "," not in text})
    ends = dict(zip(paths, _labels([Path(path) for path in paths]), strict=True))
    return [ends.get(text, text) for text in texts]


def run_as_json(run: Compared) -> dict[str, Any]:
    """Return plain values of one run, for other programs."""
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
        "cost": asdict(run.cost),
    }

"""One model a fold, each tested on people it never saw, and their answers scored together.

Each fold is a run of its own, in a folder of its own, and can be opened, predicted with and resumed
as any other. The folder of all has ``folds.json``, the pooled ``evaluation/folds/`` and an MLflow
run whose children they are.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from asl_exp.compat.mlflow import MLFLOW_PARENT_RUN_ID
from asl_exp.config.errors import Interrupted
from asl_exp.config.names import Artifact
from asl_exp.config.schema import Config
from asl_exp.config.signature import run_name
from asl_exp.data.manifest import label_indices, make_manifest
from asl_exp.data.pixel_store import DecodedPixels, Geometry
from asl_exp.data.sources.selection import list_images
from asl_exp.data.split import fold_of_rows
from asl_exp.evaluation.folder import HAND_FOUND, AnsweredSet, Evaluation, write_evaluation
from asl_exp.runs.result import Result
from asl_exp.runs.writing import replaced
from asl_exp.tracking.recorder import Begin, Recorder
from asl_exp.training.run import run_experiment
from asl_exp.training.terminal import say

FOLDS: Final = "folds"
"""Name of the pooled set: its scores are ``folds/accuracy`` and so on."""

FILE: Final = "folds.json"

_SHOWN: Final = 128
"""Side in pixels of the images in the figure of mistakes."""

_ANSWERS: Final = f"{Artifact.EVALUATION}/test/predictions.parquet"


@dataclass
class _Child:
    """Makes a fold's MLflow run a child of the folds' run; ends nothing.

    Attributes:
        tags: of the MLflow run.
        features_gb: None: each fold's own configuration says.
    """

    tags: Mapping[str, str] = field(default_factory=dict)
    features_gb: float | None = None

    def after_epoch(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Let the run go on."""
        return False


def run_folds(config: Config, folder: Path) -> float:
    """Run every fold that ``data.folds`` names, then score all their answers together.

    Args:
        config: checked, with ``data.folds`` and without ``data.fold``.
        folder: of the folds; each has one below it.

    Returns:
        The pooled accuracy: of all images, each answered by the model that never saw its fold.

    Raises:
        UserError: as run_experiment; folds that are finished stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = fold_names(config)
    recorder = _open_record(config, folder)
    say(f"{len(names)} folds, one model each, tested on: {', '.join(names)}")
    try:
        for number, name in enumerate(names, start=1):
            say(f"fold {number} of {len(names)}: {name}")
            run = run_folder_of(folder, name)
            run_experiment(_of_fold(config, name), run, observer=_child(recorder))
        evaluation = _score_together(config, folder, names, recorder)
    except BaseException as error:
        recorder.end("KILLED" if isinstance(error, Interrupted) else "FAILED")
        raise
    recorder.end("FINISHED")
    return evaluation.scores["accuracy"]


def fold_names(config: Config) -> list[str]:
    """Return the names of the folds, in their order.

    Raises:
        DataError: there cannot be such folds.
    """
    data = config.data
    assert data.folds is not None
    listing = list_images(data)
    table = make_manifest(listing.images, data).table
    labels = label_indices(table, listing.classes)
    folds = fold_of_rows(table, labels, listing.classes, data.folds, data.split_seed)
    return sorted(set(folds.tolist()))


def run_folder_of(folder: Path, fold: str) -> Path:
    """Return the folder of one fold's run."""
    return folder / re.sub(r"[^\w.-]", "_", fold)


def _of_fold(config: Config, name: str) -> Config:
    data = config.data.model_copy(update={"fold": name})
    named = f"{config.name or run_name(config)} fold {name}"
    return config.model_copy(update={"data": data, "name": named})


def _open_record(config: Config, folder: Path) -> Recorder:
    if config.tracking.mode == "off":
        return Recorder(None, None)
    name = f"{config.name or run_name(config)} folds"
    begin = Begin(Path(config.runs_dir), config.tracking.experiment, name, folder)
    return Recorder.open(begin, run_id=None)


def _child(recorder: Recorder) -> _Child:
    return _Child({MLFLOW_PARENT_RUN_ID: recorder.run_id} if recorder.run_id else {})


def _score_together(
    config: Config, folder: Path, names: list[str], recorder: Recorder
) -> Evaluation:
    """Pool the folds' answers, write and record what they are worth, and print it."""
    answers = {name: pd.read_parquet(run_folder_of(folder, name) / _ANSWERS) for name in names}
    accuracies = {name: float(table["correct"].mean()) for name, table in answers.items()}
    pooled = pd.concat(answers.values(), ignore_index=True)
    columns = [column for column in pooled if str(column).startswith("probability/")]
    classes = [str(column).removeprefix("probability/") for column in columns]
    images = DecodedPixels(
        pooled["path"].tolist(),
        Geometry(_SHOWN, "pad", "bilinear"),
        max_megapixels=config.data.max_megapixels,
        workers=config.data.workers,
    )
    evaluation = write_evaluation(
        folder / Artifact.EVALUATION / FOLDS,
        AnsweredSet(
            name=FOLDS,
            probabilities=pooled[columns].fillna(0.0).to_numpy(np.float32),
            labels=label_indices(pooled, tuple(classes)),
            classes=classes,
            table=pooled[["path", "label", "group", "source"]],
            gather=images.gather,
            found=pooled[HAND_FOUND].to_numpy(bool) if HAND_FOUND in pooled else None,
            caution=_caution(run_folder_of(folder, name) for name in names),
        ),
    )
    values = np.array(list(accuracies.values()))
    scores = {f"{FOLDS}/{key}": value for key, value in evaluation.scores.items()}
    scores |= {f"{FOLDS}/mean": float(values.mean()), f"{FOLDS}/spread": float(values.std(ddof=1))}
    interval = evaluation.intervals.of.get("accuracy")
    told = {"folds": accuracies, "scores": scores, "interval": interval, "images": len(pooled)}
    with replaced(folder / FILE) as part:
        part.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    recorder.metrics(scores, step=0)
    recorder.artifacts(folder, Artifact.EVALUATION, FILE)
    _show(accuracies, scores, interval)
    return evaluation


def _caution(runs: Iterable[Path]) -> str:
    """Return what must stand beside the pooled score: what stands beside any fold's own."""
    results = (Result.read(run) for run in runs)
    said = (result.cautions.get("test") for result in results if result)
    return "; ".join(dict.fromkeys(filter(None, said)))


def _show(
    accuracies: Mapping[str, float],
    scores: Mapping[str, float],
    interval: tuple[float, float] | None,
) -> None:
    for name, accuracy in accuracies.items():
        say(f"  {name}: accuracy {accuracy:.3f}")
    between = f", 95 % {interval[0]:.3f} to {interval[1]:.3f}" if interval else ""
    say(
        f"folds: accuracy {scores[f'{FOLDS}/accuracy']:.3f} of all images{between}; mean of the "
        f"folds {scores[f'{FOLDS}/mean']:.3f}, standard deviation {scores[f'{FOLDS}/spread']:.3f}"
    )

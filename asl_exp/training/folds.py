"""One model a fold, each tested on people it never saw, and their answers scored together.

Each fold is a run of its own, in a folder of its own, and can be opened, predicted with and resumed
as any other. The folder of all has ``folds.json``, the pooled ``evaluation/folds/`` and an MLflow
run whose children they are. Where the configuration says ``resume``, as a study's repetition may,
folds that are finished stay as they are.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from asl_exp.compat.mlflow import MLFLOW_PARENT_RUN_ID
from asl_exp.config import readable
from asl_exp.config.errors import Interrupted, PrunedError, UserError
from asl_exp.config.names import FOLDS, Artifact
from asl_exp.config.schema import Config
from asl_exp.config.signature import run_name
from asl_exp.data.decode import Geometry
from asl_exp.data.hand_splits import drawn_by_path, rows_of_folds
from asl_exp.data.letters import PixelSource
from asl_exp.data.manifest import label_indices, make_manifest
from asl_exp.data.pixel_store import DecodedPixels
from asl_exp.data.sources.selection import list_images
from asl_exp.data.split import fold_of_rows
from asl_exp.evaluation.certificate import write_folds_certificate
from asl_exp.evaluation.folder import HAND_FOUND, AnsweredSet, write_answers, write_evaluation
from asl_exp.runs.result import FOLDS_FILE, FoldsResult, Result
from asl_exp.runs.run_folder import held
from asl_exp.tracking.recorder import Begin, Recorder
from asl_exp.training.current_run import Evaluate, Observer
from asl_exp.training.resume import require_unused
from asl_exp.training.run import run_experiment
from asl_exp.training.terminal import hushed, say

_SHOWN: Final = 128
"""Side in pixels of the images in the figure of mistakes."""

_ANSWERS: Final = f"{Artifact.EVALUATION}/test/predictions.parquet"


@dataclass
class _OfFold(Observer):
    """Makes a fold's MLflow run a child of the folds' run; a study's observer may end it.

    Attributes:
        study: the observer of the trial that the folds are.
    """

    study: Observer | None = None

    def after_epoch(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Return whether the study ends it."""
        return self.study is not None and self.study.after_epoch(epoch, metrics)


def run_whole(
    config: Config,
    folder: Path,
    *,
    observer: Observer | None = None,
    evaluate: Evaluate = "everything",
) -> float:
    """Run an experiment: once, or once for each fold; the arguments are run_experiment's.

    Returns:
        The objective of the run, or the pooled accuracy of the folds.
    """
    folds = config.data.folds is not None and config.data.fold is None
    run = run_folds if folds else run_experiment
    return run(config, folder, observer=observer, evaluate=evaluate)


def run_folds(
    config: Config,
    folder: Path,
    *,
    observer: Observer | None = None,
    evaluate: Evaluate = "everything",
) -> float:
    """Run every fold that ``data.folds`` names, then score all their answers together.

    Args:
        config: checked, with ``data.folds`` and without ``data.fold``.
        folder: of the folds; each has one below it.
        observer: of a study, told of each epoch of each fold.
        evaluate: unless it is everything, the answers are scored, no figures are made, and nothing
            is printed.

    Returns:
        The pooled accuracy: of all images, each answered by the model that never saw its fold.

    Raises:
        UserError: as run_experiment; folds that are finished stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with hushed(evaluate != "everything"), held(folder) as mine:
        if not mine:  # between two folds no run of theirs shows that they go on
            raise UserError(f"{folder}: another process is running these folds")
        if not config.resume:
            require_unused(folder)
        names = fold_names(config)
        recorder = _open_record(config, folder, observer)
        result = FoldsResult(mlflow_run_id=recorder.run_id)
        result.write(folder)
        say(f"{len(names)} folds, one model each, tested on: {', '.join(names)}")
        try:
            for number, name in enumerate(names, start=1):
                say(f"fold {number} of {len(names)}: {name}")
                _run_fold(config, name, folder, _child(recorder, observer), evaluate)
            _score_together(config, folder, result, names, evaluate)
            _record(recorder, folder, result)
        except BaseException as error:
            ends = {Interrupted: "KILLED", PrunedError: "PRUNED"}
            recorder.end(ends.get(type(error), "FAILED"))
            raise
        result.status = "FINISHED"
        result.write(folder)
        recorder.end("FINISHED")
    _show(result)
    return result.scores[f"{FOLDS}/accuracy"]


def _run_fold(
    config: Config, name: str, folder: Path, observer: Observer, evaluate: Evaluate
) -> None:
    """Run one fold, unless the folds are resumed and it is finished."""
    of_fold, run = _of_fold(config, name), run_folder_of(folder, name)
    known = Result.read(run) if config.resume else None
    if known is not None and known.status == "FINISHED":
        return
    resume = str(run) if known is not None else False
    run_experiment(
        of_fold.model_copy(update={"resume": resume}),
        run,
        observer=observer,
        evaluate="everything" if evaluate == "everything" else "answers",
    )


def fold_names(config: Config) -> list[str]:
    """Return the names of the folds, in their order.

    Raises:
        DataError: there cannot be such folds.
    """
    data = config.data
    assert data.folds is not None
    listing = list_images(data)
    if data.folds == "joints":
        return sorted(set(rows_of_folds(data, listing.classes).table["source"]))
    table = make_manifest(listing.images, data).table
    folds = fold_of_rows(table, listing.classes, data.folds, data.split_seed)
    return sorted(set(folds.tolist()))


def run_folder_of(folder: Path, fold: str) -> Path:
    """Return the folder of one fold's run."""
    return folder / re.sub(r"[^\w.-]", "_", fold)


def _of_fold(config: Config, name: str) -> Config:
    data = config.data.model_copy(update={"fold": name})
    named = f"{config.name or run_name(config)} fold {name}"
    return config.model_copy(update={"data": data, "name": named})


def _open_record(config: Config, folder: Path, observer: Observer | None) -> Recorder:
    if config.tracking.mode == "off":
        return Recorder(None, None)
    name = config.name if observer and config.name else f"{config.name or run_name(config)} folds"
    tags = observer.tags if observer else {}
    begin = Begin(Path(config.runs_dir), config.tracking.experiment, name, folder, tags)
    return Recorder.open(begin, run_id=None)


def _child(recorder: Recorder, observer: Observer | None) -> _OfFold:
    tags = {MLFLOW_PARENT_RUN_ID: recorder.run_id} if recorder.run_id else {}
    return _OfFold(tags, observer.features_gb if observer else None, observer)


def _score_together(
    config: Config, folder: Path, result: FoldsResult, names: list[str], evaluate: Evaluate
) -> None:
    """Pool the folds' answers, write them, and put what they are worth into the result."""
    answers = {name: pd.read_parquet(run_folder_of(folder, name) / _ANSWERS) for name in names}
    result.folds = {name: float(table["correct"].mean()) for name, table in answers.items()}
    results = {name: Result.read(run_folder_of(folder, name)) for name in names}
    result.caution = _caution(results.values())
    pooled = pd.concat(answers.values(), ignore_index=True)
    answered = replace(_answered(config, pooled), caution=result.caution)
    of_folds = folder / Artifact.EVALUATION / FOLDS
    if evaluate == "everything":
        evaluation = write_evaluation(of_folds, answered)
        write_folds_certificate(folder, config, {n: run for n, run in results.items() if run})
        result.interval = evaluation.intervals.of.get("accuracy")
        scores = evaluation.scores
    else:
        write_answers(of_folds, answered)
        scores = answered.scores()
    values = np.array(list(result.folds.values()))
    result.scores = {f"{FOLDS}/{key}": value for key, value in scores.items()}
    result.scores |= {f"{FOLDS}/mean": float(values.mean())}
    result.scores |= {f"{FOLDS}/spread": float(values.std(ddof=1))}
    result.images = len(pooled)


def _answered(config: Config, pooled: pd.DataFrame) -> AnsweredSet:
    columns = [column for column in pooled if str(column).startswith("probability/")]
    classes = [str(column).removeprefix("probability/") for column in columns]
    paths = pooled["path"].tolist()
    images: PixelSource
    if config.data.folds == "joints":
        images = drawn_by_path(config.data, classes, config.hand.margin, paths, _SHOWN)
    else:
        images = DecodedPixels(paths, Geometry(_SHOWN, "pad", "bilinear"), config.data)
    return AnsweredSet(
        name=FOLDS,
        probabilities=pooled[columns].fillna(0.0).to_numpy(np.float32),
        labels=label_indices(pooled, tuple(classes)),
        classes=classes,
        table=pooled[["path", "label", "group", "source"]],
        gather=images.gather,
        found=pooled[HAND_FOUND].to_numpy(bool) if HAND_FOUND in pooled else None,
    )


def _caution(results: Iterable[Result | None]) -> str:
    """Return what must stand beside the pooled score: what stands beside any fold's own."""
    said = (result.cautions.get("test") for result in results if result)
    return "; ".join(dict.fromkeys(filter(None, said)))


def _record(recorder: Recorder, folder: Path, result: FoldsResult) -> None:
    result.write(folder)
    recorder.metrics(result.scores, step=0)
    recorder.artifacts(folder, Artifact.EVALUATION, FOLDS_FILE)


def _show(result: FoldsResult) -> None:
    for name, accuracy in result.folds.items():
        say(f"  {name}: accuracy {readable.score(accuracy)}")
    between = f", 95 % {readable.interval(result.interval, 3)}" if result.interval else ""
    overall, mean, spread = (
        readable.score(result.scores[f"{FOLDS}/{name}"]) for name in ("accuracy", "mean", "spread")
    )
    say(
        f"folds: accuracy {overall} of all images{between}; mean of the folds {mean}, standard "
        f"deviation {spread}"
    )

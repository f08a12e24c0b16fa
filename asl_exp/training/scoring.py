"""The end of a run: the kept checkpoint's scores, its figures, and the model folder.

A study's trials end with less than a run of its own; ``complete_run`` gives one of them the rest.
"""

from pathlib import Path

import pandas as pd
import torch

from asl_exp.config import names
from asl_exp.config.names import Artifact
from asl_exp.config.schema import Config
from asl_exp.data.dataset import LetterData
from asl_exp.evaluation.figures.curves import learning_curves
from asl_exp.evaluation.folder import write_evaluation
from asl_exp.evaluation.inference import probabilities
from asl_exp.evaluation.report import summary
from asl_exp.model.checkpoint import load_kept_model
from asl_exp.model.classifier import LetterClassifier
from asl_exp.model.recognizer import find_checkpoint
from asl_exp.runs.result import Result
from asl_exp.runs.run_folder import read_config
from asl_exp.tracking.model_folder import save_model_folder
from asl_exp.training.batch_size import step_images
from asl_exp.training.observer import Depth
from asl_exp.training.record import record_completed
from asl_exp.training.shared_inputs import letters
from asl_exp.training.terminal import Stages


def finish(
    model: LetterClassifier,
    data: LetterData,
    device: torch.device,
    config: Config,
    run_folder: Path,
    result: Result,
    *,
    stages: Stages,
    depth: Depth = "everything",
) -> None:
    """Score the kept checkpoint, which ``model`` has, and make the files that ``depth`` asks for.

    Reads ``epochs.csv`` and ``result.checkpoints``; the scores go into ``result.metrics``.
    """
    if depth == "validation":
        return
    with stages("evaluation"):
        _score(model, data, device, config, run_folder, result, files=depth == "everything")
    if depth == "everything":
        with stages("figures"):
            learning_curves(
                pd.read_csv(run_folder / Artifact.EPOCHS),
                run_folder / Artifact.LEARNING_CURVES,
                kept=result.kept_epochs,
                caution=data.caution,
            )
        with stages("model"):
            kept = list(result.checkpoints.values())[-1]
            save_model_folder(run_folder / kept, run_folder / Artifact.MODEL)


def complete_run(run_folder: Path) -> None:
    """Give a finished run of lesser depth all that one of its own has.

    Raises:
        UserError: the run has no kept model, or its data has changed.
    """
    result = Result.read(run_folder)
    config = read_config(run_folder)
    kept = load_kept_model(find_checkpoint(run_folder))
    data = letters(config, kept.preprocessing)
    assert result is not None
    sized = config.data.model_copy(update={"batch_size": result.batch_size})
    config = config.model_copy(update={"data": sized})
    finish(kept.model, data, torch.device("cpu"), config, run_folder, result, stages=Stages())
    record_completed(config, result, run_folder)


def _score(
    model: LetterClassifier,
    data: LetterData,
    device: torch.device,
    config: Config,
    folder: Path,
    result: Result,
    *,
    files: bool,
) -> None:
    """Score test and every external set; with ``files`` each set gets its folder."""
    for name, split in data.splits.items():
        if name in ("train", "val"):
            continue
        answers = probabilities(model, split, batch_size=step_images(config), device=device)
        if files:
            scores = write_evaluation(
                folder / Artifact.EVALUATION / name,
                name=name,
                probabilities=answers,
                labels=split.labels,
                classes=data.classes,
                table=split.table,
                gather=split.gather,
                caution=split.caution,
            ).scores
        else:
            scores = summary(answers, split.labels)
        result.metrics |= {names.score_key(name, key): value for key, value in scores.items()}

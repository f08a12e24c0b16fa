"""Figures that MLflow's UI lays side by side when runs are compared: its logged images."""

from pathlib import Path
from typing import Final

from mlflow.tracking import MlflowClient
from PIL import Image

from asl_exp.config.names import Artifact
from asl_exp.tracking.recorder import Recorder, artifact_folder

CURVES: Final = "learning_curves"
CONFUSION: Final = "confusion_matrix"
FOLDER: Final = "images"


def log_pictures(recorder: Recorder, run_folder: Path) -> None:
    """Log the learning curves and each set's confusion matrix, if there are any, once.

    All at step 0, whatever epoch was kept: the UI lays images of one step side by side.
    """
    client, run_id = recorder.client, recorder.run_id
    if client is None or run_id is None:
        return
    root = artifact_folder(client, client.get_run(run_id))
    if (root / FOLDER).is_dir():
        return
    for key, path in pictures(run_folder).items():
        _log(client, run_id, key, path)


def pictures(run_folder: Path) -> dict[str, Path]:
    """Return the files that are there: ``confusion_matrix/<set>`` and ``learning_curves``."""
    evaluation = run_folder / Artifact.EVALUATION
    matrices = evaluation.rglob("confusion_matrix.png")
    sets = {path.parent.relative_to(evaluation).as_posix(): path for path in matrices}
    found = {f"{CONFUSION}/{name}": path for name, path in sorted(sets.items(), reverse=True)}
    curves = run_folder / Artifact.LEARNING_CURVES
    return found | ({CURVES: curves} if curves.is_file() else {})


def _log(client: MlflowClient, run_id: str, key: str, path: Path) -> None:
    with Image.open(path, formats=("PNG",)) as image:
        client.log_image(run_id, image.convert("RGB"), key=key, step=0, synchronous=True)

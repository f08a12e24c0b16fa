"""Figures that MLflow's UI lays side by side when runs are compared: its logged images."""

import re
import shutil
from pathlib import Path
from typing import Final

from mlflow.tracking import MlflowClient
from PIL import Image

from asl_exp.config.names import EXTERNAL, Artifact
from asl_exp.tracking.recorder import Recorder, artifact_folder

CURVES: Final = "learning_curves"
CONFUSION: Final = "confusion_matrix"
FOLDER: Final = "images"

_NOT_IN_KEYS: Final = re.compile(r"[^A-Za-z0-9_\-./ ]")


def log_pictures(recorder: Recorder, run_folder: Path) -> None:
    """Log the learning curves and the confusion matrices, in place of any that are there.

    All at step 0, whatever epoch was kept: the UI lays images of one step side by side. A run that
    was killed between two of them may have left a part.
    """
    with recorder.spared():
        client, run_id = recorder.client, recorder.run_id
        if client is None or run_id is None:
            return
        root = artifact_folder(client, client.get_run(run_id))
        shutil.rmtree(root / FOLDER, ignore_errors=True)
        for key, paths in pictures(run_folder).items():
            _log(client, run_id, key, paths)


def pictures(run_folder: Path) -> dict[str, list[Path]]:
    """Return the figures that are there, by the image's key in MLflow.

    ``confusion_matrix/<set>`` of each set, ``confusion_matrix/external`` of all external ones side
    by side (the one key that runs with different sets have in common), and ``learning_curves``.
    """
    evaluation = run_folder / Artifact.EVALUATION
    matrices = sorted(evaluation.rglob("confusion_matrix.png"))
    sets = {path.parent.relative_to(evaluation).as_posix(): path for path in matrices}
    found = {_key(f"{CONFUSION}/{name}"): [path] for name, path in sorted(sets.items())}
    external = [path for name, path in sets.items() if name.startswith(f"{EXTERNAL}/")]
    found |= {f"{CONFUSION}/{EXTERNAL}": external} if external else {}
    curves = run_folder / Artifact.LEARNING_CURVES
    return found | ({CURVES: [curves]} if curves.is_file() else {})


def _key(name: str) -> str:
    """Return a key of the characters that MLflow takes in one."""
    return _NOT_IN_KEYS.sub("_", name)


def _log(client: MlflowClient, run_id: str, key: str, paths: list[Path]) -> None:
    parts = [Image.open(path, formats=("PNG",)).convert("RGB") for path in paths]
    size = (sum(part.width for part in parts), max(part.height for part in parts))
    image = Image.new("RGB", size, "white")
    left = 0
    for part in parts:
        image.paste(part, (left, 0))
        left += part.width
    client.log_image(run_id, image, key=key, step=0, synchronous=True)

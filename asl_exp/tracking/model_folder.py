"""Writes the folder ``model/``: MLflow's pyfunc format, with this package's code inside.

It is saved, not logged: old servers know no logged models, and a folder can be uploaded to any.
"""

import os
import shutil
from importlib import metadata
from pathlib import Path

from mlflow.models import ModelSignature
from mlflow.pyfunc import save_model
from mlflow.types import ColSpec, DataType, Schema

from asl_exp.compat.mlflow import without_model_remarks
from asl_exp.model.recognizer import CHECKPOINT, HAND_MODEL
from asl_exp.tracking.recorder import link_tree

_NEEDED = (
    "mlflow", "torch", "torchvision", "timm", "numpy", "pandas", "pillow", "pydantic",
    "omegaconf", "safetensors", "huggingface_hub",
)  # fmt: skip


_NEEDED_FOR_HANDS = ("ai-edge-litert", "filelock", "rich")


def save_model_folder(checkpoint: Path, folder: Path, hand_model: Path | None = None) -> None:
    """Save a kept checkpoint for ``mlflow.pyfunc.load_model`` and ``mlflow models serve``.

    With ``hand_model``, the file of its hand detector, it finds hands wherever it is served.
    """
    named = folder.with_name(f".{folder.name}-{CHECKPOINT}")
    package = Path(__file__).resolve().parents[1]
    signature = ModelSignature(inputs=Schema([ColSpec(DataType.string, "image")]))
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    for left_by_a_killed_run in (folder, named):
        shutil.rmtree(left_by_a_killed_run, ignore_errors=True)
    named.mkdir()
    try:
        link_tree(checkpoint, named / CHECKPOINT)
        artifacts, needed = {CHECKPOINT: str(named / CHECKPOINT)}, list(_NEEDED)
        if hand_model is not None:
            link_tree(hand_model, named / HAND_MODEL)
            artifacts[HAND_MODEL] = str(named / HAND_MODEL)
            needed += _NEEDED_FOR_HANDS
        with without_model_remarks():
            save_model(
                folder,
                python_model=str(Path(__file__).with_name("pyfunc.py")),
                artifacts=artifacts,
                code_paths=[str(package)],
                pip_requirements=[f"{name}=={metadata.version(name)}" for name in needed],
                signature=signature,
            )
    finally:
        shutil.rmtree(named)

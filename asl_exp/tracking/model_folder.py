"""Writes the folder ``model/``: a kept model as files without code, and MLflow's pyfunc flavour.

What this package reads of it is model.json and weights.safetensors (model/folder.py). MLmodel,
code/ and the requirements are for MLflow alone, which imports the code.

It is saved, not logged: old servers know no logged models, and a folder can be uploaded to any.
"""

import os
import shutil
from importlib import metadata
from pathlib import Path
from typing import Final

from mlflow.models import ModelSignature
from mlflow.pyfunc import save_model
from mlflow.types import ColSpec, DataType, Schema

from asl_exp.compat.mlflow import without_model_remarks
from asl_exp.model.folder import write_model
from asl_exp.model.kept import KeptModel
from asl_exp.model.recognizer import HAND_MODEL
from asl_exp.tracking.recorder import link_tree

CARD: Final = "README.md"
EXAMPLE: Final = "example.png"

_LOADER: Final = "asl_exp.tracking.pyfunc"
_NEEDED: Final = (
    "mlflow", "torch", "torchvision", "timm", "numpy", "pandas", "pillow", "pydantic",
    "omegaconf", "safetensors", "huggingface_hub",
)  # fmt: skip
_NEEDED_FOR_HANDS: Final = ("ai-edge-litert", "filelock", "rich")


def save_model_folder(
    kept: KeptModel,
    folder: Path,
    *,
    card: str,
    example: bytes | None = None,
    hand_model: Path | None = None,
) -> None:
    """Make the folder, in one step; one that is there is replaced.

    Args:
        card: what the model is worth and was made of, in Markdown.
        example: an image that the model knows, as PNG.
        hand_model: the file of its hand detector, where it looks for hands in photos.
    """
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # left by a killed run
    try:
        _save_flavour(part, hands=hand_model is not None)
        (part / CARD).write_text(card, encoding="utf-8")
        if example is not None:
            (part / EXAMPLE).write_bytes(example)
        if hand_model is not None:
            link_tree(hand_model, part / HAND_MODEL)
        write_model(kept, part, beside=[] if hand_model is None else [HAND_MODEL])
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _save_flavour(folder: Path, *, hands: bool) -> None:
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    needed = [*_NEEDED, *(_NEEDED_FOR_HANDS if hands else ())]
    with without_model_remarks():
        save_model(
            folder,
            loader_module=_LOADER,
            code_paths=[str(Path(__file__).resolve().parents[1])],
            pip_requirements=[f"{name}=={metadata.version(name)}" for name in needed],
            signature=ModelSignature(inputs=Schema([ColSpec(DataType.string, "image")])),
        )

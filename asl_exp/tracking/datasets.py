"""The data of a run as MLflow's dataset inputs: one for each split and external set."""

import hashlib
import json
from os.path import commonpath
from pathlib import Path
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag

from asl_exp.compat.mlflow import MLFLOW_DATASET_CONTEXT
from asl_exp.data.letters import LetterData, Split

_known: dict[tuple[str, ...], Dataset] = {}
"""A study's runs have the same data; its thousands of rows are read for the first of them."""


def dataset_inputs(data: LetterData, source: str) -> list[DatasetInput]:
    """Return name, digest, place and size of each split.

    The context is train, val, test or external: the UI's table shows it beside the name.

    Args:
        data: of the run.
        source: the name of the images that are split; external sets have their own.
    """
    inputs = []
    for name, split in data.splits.items():
        context, _, external = name.partition("/")
        key = (data.digest, name, source, str(split.table["path"].iloc[0]))
        if key not in _known:
            _known[key] = _dataset(external or source, split)
        inputs.append(DatasetInput(_known[key], [InputTag(MLFLOW_DATASET_CONTEXT, context)]))
    return inputs


def _dataset(name: str, split: Split) -> Dataset:
    """Return it with a digest of its images and labels, in their order."""
    table = split.table
    listed = "\n".join(table["sha256"].astype(str) + "\t" + table["label"].astype(str))
    images = {str(label): int(n) for label, n in table["label"].value_counts().items()}
    return Dataset(
        name=name,
        digest=hashlib.sha256(listed.encode()).hexdigest()[:8],
        profile=json.dumps({"num_rows": len(table), "images": dict(sorted(images.items()))}),
        **_place(table["path"].astype(str).tolist()),
    )


def _place(paths: list[str]) -> dict[str, Any]:
    """Return the folder that all files lie in, or, for drawn images, what draws them."""
    if all(Path(path).is_absolute() for path in paths):
        return {"source_type": "local", "source": json.dumps({"uri": commonpath(paths)})}
    drawn = {"tags": {"mlflow.source.name": "asl_exp.data.sources.synthetic"}}
    return {"source_type": "code", "source": json.dumps(drawn)}

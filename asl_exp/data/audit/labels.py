"""Labels that are likely wrong, from a model's answers to images that it was not trained on.

Confident learning (Northcutt, Jiang, Chuang, JAIR 2021) by cleanlab: an image is suspected where
another class is more probable than that class's own images usually make it. The answers are those
of folds, each of a model that never saw the image: predictions.parquet of evaluation/folds.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from asl_exp.config.errors import UserError
from asl_exp.data.dataset import LetterData

_PREFIX = "probability/"


def likely_wrong_labels(file: Path, data: LetterData) -> pd.DataFrame:
    """Return suspected images of the data, the most suspected first.

    Returns:
        A row an image: split, row (within the split), path, label, predicted, probability (of the
        predicted class), own (of the label).

    Raises:
        UserError: the file holds no predictions, or of none of these images; or cleanlab is not
            installed.
    """
    known = _known(_read(file), file, data)
    classes = sorted(set(known["label"]))
    columns = [_PREFIX + name for name in classes]
    if absent := [name for name in columns if name not in known]:
        raise UserError(f"{file}: it has no column {absent[0]}, and images of that label")
    answers = known[columns].to_numpy(np.float64)
    answers = (answers + 1e-9) / (answers + 1e-9).sum(axis=1, keepdims=True)
    labels = pd.Index(classes).get_indexer(pd.Index(known["label"]))
    order = _suspected(labels, answers)
    own = answers[np.arange(len(labels)), labels]
    found = known[["split", "row", "path", "label"]].assign(
        predicted=np.asarray(classes, dtype=object)[answers.argmax(axis=1)],
        probability=answers.max(axis=1),
        own=own,
    )
    return found.iloc[order].reset_index(drop=True)


def _read(file: Path) -> pd.DataFrame:
    try:
        table = pd.read_parquet(file)
        columns = [str(name) for name in table if str(name).startswith(_PREFIX)]
        if len(columns) < 2:
            raise ValueError("it has no columns probability/<class>")
        kept: pd.DataFrame = table[["path", "label", *columns]]
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"--predictions {file}: no predictions of asl_exp ({reason}); give the "
            "evaluation/folds/predictions.parquet of a run with data.folds"
        ) from error
    return kept


def _known(table: pd.DataFrame, file: Path, data: LetterData) -> pd.DataFrame:
    """Return the predictions of images of the data, with where each is."""
    places = pd.concat(
        [
            pd.DataFrame(
                {"path": split.table["path"].astype(str), "split": name, "row": range(len(split))}
            )
            for name, split in data.splits.items()
        ]
    ).drop_duplicates("path")
    known = table.merge(places, on="path", how="inner")
    if known.empty:
        raise UserError(
            f"--predictions {file}: its {len(table):,} images are none of these data, whose first "
            f"is {places['path'].iloc[0]}; name the data that the folds had"
        )
    return known


def _suspected(labels: NDArray[np.int64], answers: NDArray[np.float64]) -> list[int]:
    try:
        from cleanlab.filter import find_label_issues
    except ModuleNotFoundError as error:
        raise UserError(
            "likely wrong labels are found by cleanlab, which is not installed; install the extra "
            "audit: pip install -e '.[audit]'"
        ) from error
    found = find_label_issues(labels, answers, return_indices_ranked_by="self_confidence", n_jobs=1)
    return [int(row) for row in found]

"""Carry out an audit: look, compare, suspect labels, write the page and the JSON."""

import json
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from asl_exp.config.conf_folder import home_expanded
from asl_exp.config.console import Console, score_table, set_cell
from asl_exp.config.errors import DataError, UserError
from asl_exp.config.schema import Config
from asl_exp.data.audit.findings import DOUBT, TRAIN, Findings, find, look_at
from asl_exp.data.audit.page import html_page
from asl_exp.data.decode_pool import progress
from asl_exp.data.hand_splits import ROW_OF_JOINTS
from asl_exp.data.letters import LetterData

PAGE: Final = "audit.html"
FIGURES: Final = "audit.json"

_COPIES: Final = ("exact\ncopies", "near\ncopies", "of groups\nin train")


class Predictions(NamedTuple):
    """Answers of models that did not see the images, and the file that holds them."""

    file: Path
    table: pd.DataFrame


def audit(data: LetterData, config: Config, predictions: Predictions | None = None) -> Findings:
    """Write runs_dir/audit/ and return what was found.

    Args:
        predictions: by which labels are suspected.

    Raises:
        DataError: the folder cannot be written.
        UserError: the predictions are not of these images.
    """
    suspects = likely_wrong_labels(predictions, data) if predictions else None
    total = sum(len(split) for split in data.splits.values())
    with progress("comparing", total) as advance:
        looks = look_at(data.splits, config.data, advance)
    findings = find(data, looks, suspects)
    page = html_page(findings, config.augmentation)
    figures = json.dumps(findings.to_dict(), indent=1, ensure_ascii=False)
    folder = audit_folder(config)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PAGE).write_text(page, "utf-8")
        (folder / FIGURES).write_text(figures, "utf-8")
    except OSError as error:
        raise DataError(
            f"runs_dir: the audit cannot be written to '{folder}': {error}; give another "
            "folder with runs_dir="
        ) from error
    return findings


def audit_folder(config: Config) -> Path:
    """Return the folder of the last audit."""
    return home_expanded(config.runs_dir) / "audit"


def show(findings: Findings, folder: Path, console: Console) -> None:
    """Print a table of the splits, the verdict, and where the page is."""
    data = findings.data
    title = f"data.split={data.split_rule}"
    if data.split_rule == "random":
        title += " (leaks by its nature)"
    elif data.caution:
        title += f" ({data.caution})"
    table = score_table("split", title)
    for name in ("images", "classes", "groups", *_COPIES):
        table.add_column(name, justify="right", no_wrap=True)
    for key, rows in findings.images.groupby("split", sort=False):
        name = str(key)
        unknown = data.grouping.kind == "unknown" and "/" not in name
        counts = [f"{len(rows):,}", f"{rows['label'].nunique():,}"]
        counts.append("unknown" if unknown else f"{rows['group'].nunique():,}")
        if name != TRAIN:
            counts += [f"{n:,}" for n in (*findings.leaked(name), findings.group_mates(name))]
        table.add_row(set_cell(name), *counts)
    console.print(table)
    if findings.leaks:
        n_groups = len(findings.cut_groups)
        console.print(
            f"The split leaks: {len(findings.with_train):,} pairs of copies or near-copies reach "
            f"into train, {n_groups:,} groups are cut."
        )
    elif data.caution:
        console.say(
            f"{data.caution}. No image that is scored has a copy or near-copy in train; "
            f"{DOUBT[data.grouping.kind]}"
        )
    else:
        console.print("No image that is scored has a copy, near-copy or group-mate in train.")
    for name, caution in data.cautions.items():
        if caution != data.caution:
            console.say(f"{name}: {caution}")
    if findings.suspects is not None:
        console.print(f"{len(findings.suspects):,} labels are likely wrong; the page shows them.")
    console.say(f"See {folder / PAGE} and {FIGURES} beside it.")


_PREFIX = "probability/"


def likely_wrong_labels(predictions: Predictions, data: LetterData) -> pd.DataFrame:
    """Return images whose labels are likely wrong, the most suspected first.

    Confident learning (Northcutt, Jiang, Chuang, JAIR 2021) by cleanlab: an image is suspected
    where another class is more probable than that class's own images usually make it. The answers
    are those of folds, each of a model that never saw the image: predictions.parquet of
    evaluation/folds.

    Returns:
        A row an image: split, row (within the split), path, label, predicted, probability (of the
        predicted class), own (of the label).

    Raises:
        UserError: the predictions are of none of these images; or cleanlab is not installed.
    """
    known = _known(predictions, data)
    classes = sorted(set(known["label"]))
    columns = [_PREFIX + name for name in classes]
    if absent := [name for name in columns if name not in known]:
        raise UserError(
            f"{predictions.file}: it has no column {absent[0]}, and images of that label"
        )
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


def read_predictions(file: Path) -> Predictions:
    """Return what the file holds; a UserError where it holds no predictions of images."""
    try:
        if not file.is_file():
            raise ValueError("no such file")
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
    if kept["path"].astype(str).str.startswith(ROW_OF_JOINTS).all():
        raise UserError(
            f"--predictions {file}: its hands are rows of data.joints, which have no images to "
            f"look at; the column path says which rows, {kept['path'].iloc[0]} for example"
        )
    return Predictions(file, kept)


def _known(predictions: Predictions, data: LetterData) -> pd.DataFrame:
    """Return the predictions of images of the data, with where each is."""
    file, table = predictions
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

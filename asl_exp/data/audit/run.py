"""Carry out an audit: look, compare, write the page and the JSON."""

import json
from pathlib import Path
from typing import Final

from rich.table import Table

from asl_exp.config.conf_folder import home_expanded
from asl_exp.config.console import Console
from asl_exp.config.errors import DataError
from asl_exp.config.schema import Config
from asl_exp.data.audit.findings import DOUBT, TRAIN, Findings, find
from asl_exp.data.audit.labels import likely_wrong_labels
from asl_exp.data.audit.looks import look_at
from asl_exp.data.audit.page import html_page
from asl_exp.data.dataset import LetterData
from asl_exp.data.decode_pool import progress

PAGE: Final = "audit.html"
FIGURES: Final = "audit.json"

_COPIES: Final = ("exact copies", "near copies", "of groups in train")


def audit(data: LetterData, config: Config, predictions: Path | None = None) -> Findings:
    """Write runs_dir/audit/ and return what was found.

    Args:
        data: with its splits.
        config: of the experiment.
        predictions: answers of models that did not see the images, by which labels are suspected.

    Raises:
        DataError: the folder cannot be written.
        UserError: the predictions are none, or not of these images.
    """
    suspects = likely_wrong_labels(predictions, data) if predictions else None
    total = sum(len(split) for split in data.splits.values())
    with progress("comparing", total) as advance:
        looks = look_at(data.splits, config.data, advance)
    findings = find(data, looks, suspects)
    page = html_page(data, findings, config.augmentation)
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
    title = f"data.split={findings.split_rule}"
    if findings.split_rule == "random":
        title += " (leaks by its nature)"
    elif findings.caution:
        title += f" ({findings.caution})"
    table = Table(title=title)
    table.add_column("split", no_wrap=True)
    for name in ("images", "classes", "groups", *_COPIES):
        table.add_column(name, justify="right")
    for key, rows in findings.images.groupby("split", sort=False):
        name = str(key)
        unknown = findings.groups == "unknown" and "/" not in name
        counts = [f"{len(rows):,}", f"{rows['label'].nunique():,}"]
        counts.append("unknown" if unknown else f"{rows['group'].nunique():,}")
        if name != TRAIN:
            counts += [f"{n:,}" for n in (*findings.leaked(name), findings.group_mates(name))]
        table.add_row(name, *counts)
    console.print(table)
    if findings.leaks:
        n_groups = len(findings.cut_groups)
        console.print(
            f"The split leaks: {len(findings.with_train):,} pairs of copies or near-copies reach "
            f"into train, {n_groups:,} groups are cut."
        )
    elif findings.caution:
        console.print(
            f"{findings.caution}. No image that is scored has a copy or near-copy in train; "
            f"{DOUBT[findings.groups]}",
            soft_wrap=True,
        )
    else:
        console.print("No image that is scored has a copy, near-copy or group-mate in train.")
    for name, caution in findings.cautions.items():
        if caution != findings.caution:
            console.print(f"{name}: {caution}", soft_wrap=True, markup=False)
    if findings.suspects is not None:
        console.print(f"{len(findings.suspects):,} labels are likely wrong; the page shows them.")
    console.print(f"See {folder / PAGE} and {FIGURES} beside it.", soft_wrap=True)

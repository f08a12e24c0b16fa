"""Carry out an audit: look, compare, write the page and the JSON."""

import json
from pathlib import Path
from typing import Final

from rich.table import Table

from asl_exp.config.console import Console
from asl_exp.config.errors import DataError
from asl_exp.config.schema import Config
from asl_exp.data.audit.findings import TRAIN, Findings, find
from asl_exp.data.audit.looks import look_at
from asl_exp.data.audit.page import html_page
from asl_exp.data.dataset import LetterData
from asl_exp.data.decode_pool import progress

PAGE: Final = "audit.html"
FIGURES: Final = "audit.json"

_COPIES: Final = ("exact copies", "near copies", "of groups in train")


def audit(data: LetterData, config: Config) -> Findings:
    """Write runs_dir/audit/ and return what was found.

    Raises:
        DataError: the folder cannot be written.
    """
    total = sum(len(split) for split in data.splits.values())
    with progress("comparing", total) as advance:
        looks = look_at(data.splits, advance)
    findings = find(data, looks)
    folder = audit_folder(config)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        figures = json.dumps(findings.to_dict(), indent=1, ensure_ascii=False)
        (folder / FIGURES).write_text(figures, "utf-8")
        (folder / PAGE).write_text(html_page(data, findings, config.augmentation), "utf-8")
    except OSError as error:
        raise DataError(
            f"runs_dir: the audit cannot be written to '{folder}': {error}; give another "
            "folder with runs_dir="
        ) from error
    return findings


def audit_folder(config: Config) -> Path:
    """Return the folder of the last audit."""
    return Path(config.runs_dir).expanduser() / "audit"


def show(findings: Findings, folder: Path, console: Console) -> None:
    """Print a table of the splits, the verdict, and where the page is."""
    leaking = findings.split_rule == "random"
    title = f"data.split={findings.split_rule}" + (" (leaks by its nature)" if leaking else "")
    table = Table(title=title)
    table.add_column("split", no_wrap=True)
    for name in ("images", "classes", "groups", *_COPIES):
        table.add_column(name, justify="right")
    for key, rows in findings.images.groupby("split", sort=False):
        name = str(key)
        counts = [len(rows), rows["label"].nunique(), rows["group"].nunique()]
        if name != TRAIN:
            counts += [*findings.leaked(name), findings.group_mates(name)]
        table.add_row(name, *(f"{count:,}" for count in counts))
    console.print(table)
    if findings.leaks:
        n_groups = len(findings.cut_groups)
        console.print(
            f"The split leaks: {len(findings.with_train):,} pairs of copies or near-copies reach "
            f"into train, {n_groups:,} groups are cut."
        )
    else:
        console.print("No image that is scored has a copy, near-copy or group-mate in train.")
    console.print(f"See {folder / PAGE} and {FIGURES} beside it.", soft_wrap=True)

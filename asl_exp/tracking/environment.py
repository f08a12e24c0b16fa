"""What a run was made with: command, commit and what differs from it, machine, packages, data.

A process asks git and lists its packages once: what it runs is what it has loaded, and a study of
hundreds of short runs has no time to ask for each. The data are MLflow's dataset inputs, one for
each split and external set.
"""

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from functools import cache
from importlib import metadata
from os.path import commonpath
from pathlib import Path
from typing import Any, Final

from mlflow.entities import Dataset, DatasetInput, InputTag

from asl_exp.compat.mlflow import (
    MLFLOW_DATASET_CONTEXT,
    MLFLOW_GIT_COMMIT,
    MLFLOW_SOURCE_NAME,
    MLFLOW_SOURCE_TYPE,
)
from asl_exp.config.redact import scrubbed
from asl_exp.data.letters import LetterData, Split

_LONGEST_DIFF: Final = 1_000_000  # characters


def command() -> list[str] | None:
    """Return the command line as it was typed, but for secrets; None where an engine began it."""
    program = Path(sys.argv[0])
    if program.name != "asl_exp" and program.parent.name != "asl_exp":
        return None
    typed = (word for word in sys.argv[1:] if word != "--")  # which is put before what Hydra reads
    return ["python", "-m", "asl_exp", *map(scrubbed, typed)]


@cache
def git_commit() -> str | None:
    """Return the commit of the working folder, with ``-dirty`` if it differs; None outside git."""
    commit = _git("rev-parse", "HEAD")
    return f"{commit}-dirty" if commit and _git("status", "--porcelain") else commit


@cache
def git_diff() -> str | None:
    """Return what tracked files have beyond the commit, and the names of untracked ones."""
    if not (git_commit() or "").endswith("-dirty"):
        return None
    diff = scrubbed(_git("diff", "HEAD") or "")
    if len(diff) > _LONGEST_DIFF:
        diff = f"{diff[:_LONGEST_DIFF]}\n# cut: {len(diff) - _LONGEST_DIFF:,} characters more"
    untracked = scrubbed(_git("ls-files", "--others", "--exclude-standard") or "").splitlines()
    return "\n".join([diff, *(f"# untracked: {name}" for name in untracked)]).strip() + "\n"


def source_tags() -> dict[str, str]:
    """Return the tags that fill the columns Source, Version and User of MLflow's UI."""
    commit = (git_commit() or "").removesuffix("-dirty")
    return {
        MLFLOW_SOURCE_NAME: "asl_exp",
        MLFLOW_SOURCE_TYPE: "LOCAL",
        **({MLFLOW_GIT_COMMIT: commit} if commit else {}),
    }


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments],
            capture_output=True, text=True, errors="replace", timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


@cache
def _packages() -> str:
    packages = {_pinned(distribution) for distribution in metadata.distributions()}
    return "\n".join(sorted(packages, key=str.lower)) + "\n"


def _pinned(distribution: metadata.Distribution) -> str:
    """Return ``torch==2.11.0``; asked for its name, metadata reads the whole as a mail, twice.

    Of 314 packages that takes 0.22 CPU s, this 0.02.
    """
    written = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    head = dict(re.findall(r"^(Name|Version): *(.*\S)", written.partition("\n\n")[0], re.MULTILINE))
    return f"{head.get('Name')}=={head.get('Version')}"


def write_environment(folder: Path) -> None:
    """Write ``packages.txt``, ``machine.json`` and, where the commit does not say all, a diff."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "packages.txt").write_text(_packages())
    about = {
        "command": command(),
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
    }
    (folder / "machine.json").write_text(json.dumps(about, indent=2) + "\n")
    if diff := git_diff():
        (folder / "git.diff").write_text(diff)


_known: dict[tuple[str, ...], Dataset] = {}
"""A study's runs have the same data; its thousands of rows are read for the first of them."""


def dataset_inputs(data: LetterData, source: str) -> list[DatasetInput]:
    """Return name, digest, place and size of each split.

    The context is train, val, test or external: the UI's table shows it beside the name.

    Args:
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

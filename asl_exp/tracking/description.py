"""A run's description in MLflow, in Markdown: what it came to, and how to repeat it.

The UI shows it on the run's page. Pictures are artifacts of the run, by addresses that hold beside
the page wherever the server is; a replica's run has another id, which delivery puts in.
"""

import csv
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote

from asl_exp.config import names, readable
from asl_exp.config.documents import markdown_table
from asl_exp.config.names import Artifact
from asl_exp.runs.result import Result, spelled_cautions

_MOST_CONFUSIONS: Final = 5
_WIDTH: Final = 100  # characters
_SCORES: Final = {"accuracy": "accuracy", "f1_macro": "F1 (macro)", "ece": "ECE", "loss": "loss"}


@dataclass(frozen=True)
class Story:
    """What a description is made of.

    Attributes:
        result: as far as it has come.
        changed: settings that are not the defaults, in one line.
        command: that computes the same again.
        phases: name to first and last epoch, counted across phases.
    """

    run_id: str
    run_folder: Path
    result: Result
    changed: str
    command: Sequence[str]
    phases: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def description(story: Story) -> str:
    """Return the Markdown; what a run does not have is left out."""
    parts = [
        *_outcome(story),
        *_results(story),
        *_phases(story),
        *_confusions(story),
        f"**Changed from the defaults:** {story.changed or 'nothing'}",
        f"**Repeat it:**\n\n```\n{_in_lines(story.command)}\n```",
        f"**Folder:** `{story.run_folder}`",
    ]
    return "\n\n".join(parts)


def _outcome(story: Story) -> Iterator[str]:
    result = story.result
    if result.status not in ("FINISHED", "RUNNING"):
        reason = f": {' '.join(result.failure.split())[:500]}" if result.failure else ""
        yield f"**{result.status}**{reason}"
    if result.cautions:
        yield f"**{spelled_cautions(result.cautions)}**"


def _results(story: Story) -> Iterator[str]:
    """Yield a table with a row for each set that has scores."""
    result, metrics = story.result, story.result.metrics
    sets = dict.fromkeys(key.rpartition("/")[0] for key in metrics if "/" in key)
    rows = []
    for name in sets:
        keys = [names.score_key(name, score) for score in _SCORES]
        told = (readable.with_interval(metrics.get(k), result.intervals.get(k)) for k in keys)
        rows.append([name, *told])
    if rows:
        yield markdown_table(["", *_SCORES.values()], rows)
    if rows and result.monitor:
        yield f"Scores are those of the last phase's kept epoch, chosen by `{result.monitor}`."


def _phases(story: Story) -> Iterator[str]:
    kept = story.result.kept_epochs
    rows = [
        [name, str(last - first + 1), str(kept[name] - first + 1) if name in kept else ""]
        for name, (first, last) in story.phases.items()
    ]
    if rows:
        yield markdown_table(["phase", "epochs", "kept epoch"], rows)


def _confusions(story: Story) -> Iterator[str]:
    """Yield each set's worst confusions in words, and the test set's matrix as an image."""
    evaluation = story.run_folder / Artifact.EVALUATION
    for file in sorted(evaluation.rglob("confusion_matrix.csv"), key=lambda file: len(file.parts)):
        name = file.parent.relative_to(evaluation).as_posix()
        if told := ", ".join(_worst(file)):
            yield f"**Most confused, {name}:** {told}"
    image = f"{Artifact.EVALUATION}/test/confusion_matrix.png"
    if (story.run_folder / image).is_file():
        address = f"get-artifact?path={quote(image)}&run_uuid={story.run_id}"
        yield f"![confusion matrix, test]({address})"


def _worst(file: Path) -> list[str]:
    """Return ``M taken for N (4 of 12)``, worst first."""
    with file.open(newline="") as lines:
        header, *rows = list(csv.reader(lines))
    found = [
        (int(count), row[0], other, sum(map(int, row[1:])))
        for row in rows
        for other, count in zip(header[1:], row[1:], strict=True)
        if other != row[0] and int(count)
    ]
    found.sort(key=lambda entry: -entry[0])
    return [f"{a} taken for {b} ({n} of {of})" for n, a, b, of in found[:_MOST_CONFUSIONS]]


def _in_lines(words: Sequence[str]) -> str:
    """Return a command in lines that can be pasted; the page is as wide as its longest line."""
    lines = [""]
    for word in map(shlex.quote, words):
        if lines[-1] and len(lines[-1]) + len(word) > _WIDTH:
            lines.append(" ")
        lines[-1] += f" {word}" if lines[-1] else word
    return " \\\n".join(lines)

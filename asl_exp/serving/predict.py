"""A table of letters and probabilities for image files."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from asl_exp.config.console import Console
from asl_exp.config.errors import UserError
from asl_exp.config.redact import printable
from asl_exp.data.decode import Pixels, UnreadableImageError
from asl_exp.model.recognizer import Recognizer


def show_predictions(model: Path, paths: Sequence[Path], top: int) -> None:
    """Print the most probable letters of each image: a table, or tab-separated lines in a pipe.

    Raises:
        UserError: no model there, or images that cannot be read (after the others are shown).
    """
    recognizer = Recognizer.load(model)
    rows, unreadable = [], []
    for path in paths:
        try:
            pixels = recognizer.read(path)
        except UnreadableImageError as error:
            unreadable.append(str(error))
            continue
        rows.append((str(path), *_ranked(recognizer, pixels, top)))
    _show(rows)
    if unreadable:
        raise UserError("\n  ".join([f"{len(unreadable)} images could not be read:", *unreadable]))


def _ranked(recognizer: Recognizer, pixels: Pixels, top: int) -> tuple[str, str, str]:
    """Return the letter, its probability, and the runners-up with theirs."""
    row = recognizer.recognize([pixels]).iloc[0]
    ranked = row.drop(["letter", "probability"]).astype(float).sort_values(ascending=False)
    then = [f"{str(k).removeprefix('probability/')} {v:.2f}" for k, v in ranked[1:top].items()]
    return str(row["letter"]), f"{row['probability']:.3f}", ", ".join(then)


def _show(rows: Sequence[tuple[str, ...]]) -> None:
    console = Console()
    if not console.is_terminal:
        for row in rows:
            print("\t".join(map(printable, row)))
        return
    table = Table()
    table.add_column("image", overflow="fold")
    table.add_column("letter", style="bold")
    table.add_column("probability", justify="right")
    table.add_column("then")
    for row in rows:
        table.add_row(*row)
    console.print(table)

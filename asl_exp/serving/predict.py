"""A table of letters and probabilities for image files."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from asl_exp.config.console import Console
from asl_exp.config.errors import UserError
from asl_exp.config.redact import printable
from asl_exp.data.decode import UnreadableImageError
from asl_exp.model.recognizer import NO_HAND, Recognizer, Seen


def show_predictions(
    model: Path, paths: Sequence[Path], top: int, hand_model: Path | None = None
) -> None:
    """Print the most probable letters of each image: a table, or tab-separated lines in a pipe.

    Where a model that looks for hands finds none, the table says so.

    Raises:
        UserError: no model there, or images that cannot be read (after the others are shown).
    """
    recognizer = Recognizer.load(model, hand_model)
    rows, unreadable = [], []
    for path in paths:
        try:
            seen = recognizer.look(path)
        except UnreadableImageError as error:
            unreadable.append(str(error))
            continue
        rows.append((str(path), *_ranked(recognizer, seen, top)))
    _show(rows)
    if unreadable:
        raise UserError("\n  ".join([f"{len(unreadable)} images could not be read:", *unreadable]))


def _ranked(recognizer: Recognizer, seen: Seen, top: int) -> tuple[str, str, str]:
    """Return the letter, its probability, and the runners-up with theirs."""
    row = recognizer.recognize([seen]).iloc[0]
    if row["letter"] == NO_HAND:
        return NO_HAND, "-", ""
    ranked = row.filter(like="probability/").astype(float).sort_values(ascending=False)
    then = [f"{str(k).removeprefix('probability/')} {v:.2f}" for k, v in ranked[1:top].items()]
    if seen.found is False:
        then.append("no hand found")
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

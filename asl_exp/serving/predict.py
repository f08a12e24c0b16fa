"""A table of letters and probabilities for image files."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from asl_exp.config.errors import UserError
from asl_exp.data.images import UnreadableImageError
from asl_exp.model.recognizer import Recognizer


def show_predictions(model: Path, paths: Sequence[Path], top: int) -> None:
    """Print the most probable letters of each image.

    Raises:
        UserError: no model there, or images that cannot be read (after the others are shown).
    """
    recognizer = Recognizer.load(model)
    table = Table()
    table.add_column("image", overflow="fold")
    table.add_column("letter", style="bold")
    table.add_column("probability", justify="right")
    table.add_column("then")
    unreadable = []
    for path in paths:
        try:
            pixels = recognizer.read(path)
        except UnreadableImageError as error:
            unreadable.append(str(error))
            continue
        row = recognizer.recognize([pixels]).iloc[0]
        ranked = row.drop(["letter", "probability"]).astype(float).sort_values(ascending=False)
        then = [f"{str(k).removeprefix('probability/')} {v:.2f}" for k, v in ranked[1:top].items()]
        table.add_row(str(path), row["letter"], f"{row['probability']:.3f}", ", ".join(then))
    Console().print(table)
    if unreadable:
        raise UserError("\n  ".join([f"{len(unreadable)} images could not be read:", *unreadable]))

"""The terminal as every room writes to it: what comes from outside is shown as it is written.

Names of files, classes and runs are no markup and cannot move the cursor or colour a line.
"""

from typing import Any, Final

import rich.console
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from asl_exp.config.redact import printable

_LONG_NAME: Final = 22
"""From so many letters on the name of a set stands on two lines, and a table fits 80 columns."""


def score_table(first: str, title: str | None = None) -> Table:
    """Return a table of sets, whose first column has their names, for a terminal of 80 columns."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, style="bold", overflow="fold")
    return table


def set_cell(name: str) -> str:
    """Return a set's name, a long one in two lines."""
    return name.replace("/", "/\n", 1) if len(name) > _LONG_NAME else name


class Console(rich.console.Console):
    """rich's console without markup, emoji codes and highlighting; control characters escaped."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)

    def say(self, text: str, *, warning: bool = False) -> None:
        """Print a line, not broken, so that it can be copied and searched."""
        self.print(text, soft_wrap=True, style="yellow" if warning else None)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text with its control characters escaped; tables and lines come through here."""
        return super().render_str(printable(text, lines=True), **options)

"""The terminal as every room writes to it: what comes from outside is shown as it is written.

Names of files, classes and runs are no markup and cannot move the cursor or colour a line.
"""

from typing import Any

import rich.console
from rich.text import Text

from asl_exp.config.redact import printable


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

"""What people read outside the terminal: HTML pages in one style, tables in HTML and Markdown.

A page needs nothing but itself: style, scripts and images are inside. Every cell and title is
escaped here; a body is HTML already. Control characters are escaped in all of them.
"""

import base64
import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from asl_exp.config.redact import printable

_NUMBER: Final = re.compile(r"([<>]?-?[\d.,]+|-)(?: ((?:\[-?[\d.]|± |/ ).*))?")
"""A score, and what may stand behind it: its interval or spread, and a published one."""

_LONG: Final = 30
"""Rows from which on a table has a height of its own, below a header that stays."""

_PART_ENDS: Final = re.compile(r"(?<=\w)[/_](?=\w)")
"""Where the name of a set or a run may be broken."""

_TAG: Final = re.compile(r"<[/!?a-zA-Z]")
_CODE: Final = re.compile(r"`[^`]+`")

STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem;
       color: #222; background: #fff; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; }
th, td { padding: .2rem .5rem; border-bottom: 1px solid #ddd; text-align: right;
         overflow-wrap: anywhere; }
th { overflow-wrap: break-word; }
th:first-child, td:first-child { text-align: left; }
td:not(.number) { min-width: 5rem; }
td.number, td small { white-space: nowrap; }
td small { color: #666; display: block; }
.scroll { overflow-x: auto; }
.long { max-height: 40rem; overflow-y: auto; }
.long tr:first-child th { position: sticky; top: 0; background: #fff; }
@media (max-width: 45rem) {
  .scroll table, .scroll tbody, .scroll tr { display: block; }
  .scroll tr:first-child { display: none; }
  .scroll tr { margin: 0 0 1rem; }
  .scroll td { display: grid; padding: .1rem 0;
               grid-template-columns: minmax(30%, 1fr) minmax(0, max-content) max-content; }
  .scroll td::before { content: attr(data-name); color: #666; padding-right: 1rem;
                       text-align: left; white-space: normal; }
  .scroll td:first-child { font-weight: bold; }
  td small { display: inline; margin-left: .4rem; }
}
.note { padding: .5rem 1rem; border-left: .4rem solid; }
.bad { border-color: #b00020; background: #fdecee; }
.unsure { border-color: #b36b00; background: #fdf4e3; }
.good { border-color: #1b7f3b; background: #eaf6ee; }
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); gap: 1rem; }
figure { margin: 0; } figcaption { font-size: .8rem; overflow-wrap: anywhere; }
img { max-width: 100%; height: auto; }
code, pre { font-size: .9em; } pre { background: #f4f4f4; padding: .6rem 1rem; overflow-x: auto; }
"""


def html_document(title: str, body: str, *, script: str = "") -> str:
    """Return a whole page.

    Args:
        title: of the page, and its first heading.
        body: HTML.
        script: put inside the page once, before the body.
    """
    body, heading = printable(body, lines=True), escape(printable(title))
    scripts = f"<script>{script}</script>" if script else ""
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{heading}"
        "</title><meta name='viewport' content='width=device-width'>"
        f"<style>{STYLE}</style>{scripts}</head><body><h1>{heading}</h1>{body}</body></html>"
    )


def html_table(header: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """Return a table; on a narrow screen each row is a list, and a long one scrolls by itself."""
    names = [str(cell) for cell in header]
    head = "".join(f"<th>{_breakable(escape(name))}</th>" for name in names)
    cells = [
        "".join(_html_cell(str(cell), name) for cell, name in zip(row, names, strict=True))
        for row in rows
    ]
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    kind = "scroll long" if len(cells) > _LONG else "scroll"
    return f"<div class='{kind}'><table><tr>{head}</tr>{body}</table></div>"


def _breakable(name: str) -> str:
    return _PART_ENDS.sub(r"\g<0><wbr>", name)


def _html_cell(cell: str, name: str) -> str:
    """Return a cell; what stands behind a number, as in ``0.81 [0.75, 0.86]``, stands below it."""
    found = _NUMBER.fullmatch(cell)
    value, behind = found.groups() if found else (cell, None)
    text = _breakable(escape(value)) + (f"<small>{escape(behind)}</small>" if behind else "")
    kind = " class='number'" if found else ""
    return f"<td data-name='{escape(name)}'{kind}>{text}</td>"


def html_image(content: bytes, kind: str = "png", *, alt: str = "") -> str:
    """Return an image that is inside the page."""
    data = base64.b64encode(content).decode()
    return f"<img alt='{escape(alt)}' src='data:image/{kind};base64,{data}'>"


def markdown_table(
    header: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: bool = True
) -> str:
    """Return a table; the first column stands left, the others right where they are numbers."""
    rule = ["---", *["---:" if numbers else "---"] * (len(header) - 1)]
    lines = [
        [markdown_text(str(cell)).replace("|", "\\|") for cell in line]
        for line in (header, rule, *rows)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown_text(text: str) -> str:
    """Return a name in Markdown: in one line, without tags of HTML and control characters."""
    text = printable(text.replace("\n", " "))
    if _CODE.fullmatch(text):  # shown as it is
        return text
    return text.replace("<", "&lt;") if _TAG.search(text) else text

"""Class names in any script, drawn: a font that has the letters, or the letters' code points.

A letter without a glyph would be an empty box in a figure, and two classes would look the same.
"""

import re
from functools import cache
from pathlib import Path
from typing import Final

from matplotlib import get_data_path
from matplotlib.font_manager import fontManager, get_font
from PIL import Image, ImageDraw, ImageFont

from asl_exp.config.redact import printable

_NO_LETTERS: Final = re.compile(r"last ?resort|fallback|adobe ?blank|notdef", re.I)
"""Fonts that draw one box for every letter of a script: Last Resort comes with Matplotlib 3.11."""

DEFAULT: str = str(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")
"""Comes with matplotlib: Latin, Greek, Cyrillic, Arabic, Hebrew and many more."""


@cache
def family_with(character: str) -> str | None:
    """Return the family of an installed font that has a glyph; "" for the default's, None: none."""
    if ord(character) in _glyphs(DEFAULT):
        return ""
    for entry in fontManager.ttflist:
        if not _NO_LETTERS.search(entry.name) and ord(character) in _glyphs(entry.fname):
            return str(entry.name)
    return None


@cache
def _glyphs(file: str) -> frozenset[int]:
    try:
        return frozenset(get_font(file).get_charmap())
    except (OSError, RuntimeError):  # a font file that is gone or damaged
        return frozenset()


def write(
    sheet: Image.Image, place: tuple[int, int], text: str, colour: str, size: int = 14
) -> None:
    """Write a line of text onto a picture, whose upper left corner is there."""
    font = ImageFont.truetype(DEFAULT, size)
    shown = drawable(text, default_alone=True)
    ImageDraw.Draw(sheet).text(place, shown, fill=colour, font=font)


def drawable(text: str, *, default_alone: bool = False) -> str:
    r"""Return the text with ``\u4f60`` for what no font can draw, ``\x1b`` for what none may.

    Args:
        default_alone: only the default font is at hand.
    """
    kept = []
    for character in printable(text, lines=True):
        family = "" if character == "\n" else family_with(character)
        missing = family is None or (default_alone and family != "")
        kept.append(character.encode("unicode_escape").decode() if missing else character)
    return "".join(kept)


def families(text: str) -> list[str]:
    """Return the further families that a text needs."""
    found = dict.fromkeys(family_with(one) for one in text if one.isprintable() and one != " ")
    return [family for family in found if family]

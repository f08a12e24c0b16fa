"""Makes a text fit to be shown or kept: without secrets, without control characters, no formula.

Secrets are addresses' passwords, the values of variables named like secrets, and what looks like
a token.
"""

import os
import re
from typing import Final

_USER_INFO: Final = re.compile(r"(?<=://)[^/\s'\"]+@")
_QUERY: Final = re.compile(r"([?&](?:password|token|secret|sslpassword)=)[^&\s'\"]+", re.IGNORECASE)
_SECRET_NAME: Final = re.compile(
    r"TOKEN|PASSW|SECRET|CREDENTIAL|API_?KEY|ACCESS_?KEY", re.IGNORECASE
)
_SHORTEST: Final = 6
"""Characters; a shorter value, such as "true", would be cut out of words that hold it by chance."""


def scrubbed(text: str) -> str:
    """Return the text without ``user:password@`` and without values of secret variables.

    A whole address that may be faulty, such as one with a slash in its password, is safer with
    ``without_login``.
    """
    text = _QUERY.sub(r"\1***", _USER_INFO.sub("***@", text))
    for secret in _secrets():
        text = text.replace(secret, "***")
    return text


def without_login(address: str) -> str:
    """Return one address with ``***`` for all that stands before its last ``@``."""
    head, at, tail = address.rpartition("@")
    scheme, slashes, _ = head.partition("://")
    shown = f"{scheme}{slashes}***@{tail}" if at and slashes else tail or address
    return _QUERY.sub(r"\1***", shown)


def _secrets() -> list[str]:
    """Return the values of environment variables that are named like secrets, longest first."""
    values = {v for name, v in os.environ.items() if _SECRET_NAME.search(name)}
    return sorted((v for v in values if len(v) >= _SHORTEST), key=len, reverse=True)


def printable(text: str, *, lines: bool = False) -> str:
    r"""Return the text with control characters as ``\x1b``: a terminal would obey them.

    Args:
        text: from outside: a name of a file, a class, a run.
        lines: it may have several lines and tabs of its own.
    """
    if text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    return "".join(c if c.isprintable() or c in kept else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if character.isspace() and code > 0xFF:  # wide blanks are harmless
        return character if character not in "\u2028\u2029" else f"\\u{code:04x}"
    return character.encode("unicode_escape").decode("ascii") if code != 0xA0 else character


def csv_cell(text: str) -> str:
    """Return a name as a cell of a CSV file that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text

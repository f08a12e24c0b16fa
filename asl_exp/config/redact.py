"""Makes a text fit to be shown or kept: without secrets, without control characters, no formula.

Secrets are addresses' passwords, the values of variables named like secrets, and what looks like
a token.
"""

import os
import re
from typing import Final

_USER_INFO: Final = re.compile(r"(?<=://)[^/\s'\"]+@")
_BARE_LOGIN: Final = re.compile(r"(?<![\w/:@])[\w.+-]+:[^\s@/\\:'\"]{4,}@(?=[\w-]+(?:\.[\w-]+)+)")
"""``user:password@host.org`` without a scheme."""
_QUERY: Final = re.compile(
    r"([?&](?:password|token|secret|sslpassword|sig|signature|x-amz-(?:signature|credential|"
    r"security-token)|key|code)=)[^&\s'\"]+",
    re.IGNORECASE,
)
_SECRET_NAME: Final = re.compile(
    r"TOKEN|PASSW|PASSPHRASE|_PASS$|SECRET|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|(^|_)AUTH$",
    re.IGNORECASE,
)
_TOKEN: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"hf_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}"
    r"|sk-[\w-]{20,}|AKIA[A-Z0-9]{16}|xox[abpr]-[\w-]{10,}|dapi[0-9a-f]{32}|AIza[\w-]{30,}"
    r"|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*|wandb_v1_\w{20,}|npm_[A-Za-z0-9]{30,}|pypi-[\w-]{40,}"
    r"|SG\.[\w-]{16,}\.[\w-]{16,}|ya29\.[\w-]{20,}|xapp-[\w-]{16,}|dckr_pat_[\w-]{20,}"
    r"|[rsp]k_(?:live|test)_\w{16,}|nvapi-[\w-]{20,}|ASIA[A-Z0-9]{16}"
    r"|(?<=Bearer )[\w.~+/=-]{12,}|(?<=Basic )[\w+/]{12,}={0,2}"
    r"|(?<=PRIVATE KEY-----)[^-]*"
    r"|(?<![/\w.-])[0-9a-f]{40}(?![/\w.-])"  # DagsHub's; a commit in a path is none
    r")"
)
_NAMED: Final = re.compile(
    r"((?:\btoken|passw(?:or)?d|\bpwd|secret|api[_-]?key|access[_-]?key|[_-]token)"
    r"[\"']?(?: ?= ?|: ?)[\"']?)"
    r"(?=[\w+/-]*\d)[\w+/-]{8,}",
    re.IGNORECASE,
)
"""``token=...``, as in an address's query or a line of a file."""

_SHORTEST: Final = 6
"""Characters; a shorter value, such as "true", would be cut out of words that hold it by chance."""


def scrubbed(text: str) -> str:
    """Return the text without ``user:password@``, tokens, and values of secret variables.

    A whole address that may be faulty, such as one with a slash in its password, is safer with
    ``without_login``.
    """
    text = _QUERY.sub(r"\1***", _USER_INFO.sub("***@", text))
    text = _NAMED.sub(r"\1***", _TOKEN.sub("***", _BARE_LOGIN.sub("***@", text)))
    for secret in _secrets():
        text = text.replace(secret, "***")
    return text


def without_login(address: str) -> str:
    """Return one address with ``***`` for all that stands before its last ``@``."""
    head, at, tail = address.rpartition("@")
    scheme, slashes, _ = head.partition("://")
    shown = f"{scheme}{slashes}***@{tail}" if at and slashes else tail or address
    return _QUERY.sub(r"\1***", shown)


def holds_secret(text: str) -> bool:
    """Return whether a text holds a login, a token, or a long value of a secret variable."""
    forms = (_USER_INFO, _BARE_LOGIN, _TOKEN, _NAMED, _QUERY)
    by_form = any(form.search(text) for form in forms)
    return by_form or any(secret in text for secret in _secrets() if len(secret) >= _LONG)


_LONG: Final = 16
"""Characters of a value that is no ordinary word."""


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

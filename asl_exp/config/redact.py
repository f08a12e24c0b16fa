"""Makes a text fit to be shown or kept: without secrets, without control characters, no formula.

Secrets are addresses' passwords, the values of variables named like secrets, and what looks like
a token.
"""

import os
import re
from typing import Final

_USER_INFO: Final = re.compile(r"(?<=://)(?:[^/\s'\"]+|[^/\s:@'\"]*:(?!\d+/)[^\s@'\"]+)@")
"""``user:password@`` of an address; the password may hold a slash."""
_BARE_LOGIN: Final = re.compile(r"(?<![\w/:@])[\w.+-]+:[^\s@/\\:'\"]{4,}@(?=[\w-]+(?:\.[\w-]+)+)")
"""``user:password@host.org`` without a scheme."""
_QUERY: Final = re.compile(
    r"([?&](?:[\w-]*(?:passw(?:or)?d|token|secret|signature|api_?key)|sig|x-amz-credential|key|code)=)"
    r"[^&\s'\"]+",
    re.IGNORECASE,
)
_SECRET_NAME: Final = re.compile(
    r"TOKEN|PASSW|PASSPHRASE|_PASS$|SECRET|CREDENTIAL|(^|_|API|ACCESS|PRIVATE)_?KEYS?$|ACCESS_?KEY|"
    r"API_?KEY|PRIVATE_?KEY|(^|_)AUTH$|WEBHOOK|COOKIE",
    re.IGNORECASE,
)
_TOKEN: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"hf_(?:oauth_)?[A-Za-z0-9]{20,}|api_org_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{20,}"
    r"|github_pat_\w{20,}|gl(?:pat|rt|dt|ptt|cbt|soat|oas|ft|agent)-[\w-]{16,}|KGAT_\w{20,}"
    r"|(?:sk|xai|pplx|tvly)-[\w-]{20,}|gsk_\w{20,}|r8_\w{20,}|AKIA[A-Z0-9]{16}|ASIA[A-Z0-9]{16}"
    r"|xox[abeprs]-[\w-]{10,}|xapp-[\w-]{16,}|dapi[0-9a-f]{32}(?:-\d)?|AIza[\w-]{30,}"
    r"|GOCSPX-[\w-]{20,}|1//0[\w-]{20,}|ya29\.[\w-]{20,}|y0_[\w-]{30,}"
    r"|eyJ[\w-]{10,}\.[\w-]{6,}(?:\.[\w-]*)?|eyJ[A-Za-z0-9+/]{40,}"
    r"|wandb_v1_\w{20,}|npm_[A-Za-z0-9]{30,}|pypi-[\w-]{40,}|SG\.[\w-]{16,}\.[\w-]{16,}"
    r"|dckr_(?:pat|oat)_[\w-]{20,}|[rsp]k_(?:live|test)_\w{16,}|whsec_\w{20,}|nvapi-[\w-]{20,}"
    r"|dop_v1_[0-9a-f]{40,}|shp(?:at|ss|ca|pa)_\w{20,}|lin_api_\w{20,}|hvs\.[\w-]{20,}"
    r"|dp\.pt\.\w{20,}|PMAK-[\w-]{20,}|SK[0-9a-f]{32}|key-[0-9a-f]{32}|\d{8,10}:AA[\w-]{30,}"
    r"|(?<=hooks\.slack\.com/services/)[\w/]{20,}|(?<=/api/webhooks/)[\w/-]{20,}"
    r"|lsv2_(?:pt|sk)_\w{20,}|sbp_[0-9a-f]{40}|gl(?:sa|c)_[\w=-]{32,}|lin_oauth_\w{20,}"
    r"|sq0[a-z]{3}-[\w-]{20,}|pat-[a-z]{2}\d-[0-9a-f-]{30,}|AGE-SECRET-KEY-1[A-Z0-9]{50,}"
    r"|(?i:(?<=bearer )|(?<=bearer:)|(?<=authorization: token ))[\w.~+/=-]{12,}"
    r"|(?:(?<=-u )|(?<=--user ))[\w.+-]+:[^\s'\"]{4,}"
    r"|(?i:(?<=authorization: basic ))[\w+/]{8,}={0,2}"
    r"|(?<![/\w.-])[0-9a-f]{40}(?![/\w.-])"  # DagsHub's; a commit in a path is none
    # of anyone: letters of both cases with three numbers among them
    r"|(?=[A-Z\d]*[a-z])(?=[a-z\d]*[A-Z])(?=(?:[A-Za-z]*\d+[A-Za-z]){3})[A-Za-z0-9]{24,}"
    r"(?![/\w.-])"
    r")"
)
_PRIVATE_KEY: Final = re.compile(
    r"(-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----)[\s\S]+?(?=-----END|\Z)"
)
_NAMED: Final = re.compile(
    r"((?:\btoken|passw(?:or)?[dt]|\bpwd|secret|(?:api|access|account)[_-]?key|[_-](?:token|key))"
    r"(?:[\"']?(?: ?= ?|: ?)[\"']?| ))"
    r"(?=[^\s'\"&,;]*\d)[^\s'\"&,;]{6,}",
    re.IGNORECASE,
)
"""``token=...``, as in an address's query, a line of a file, a command or a .netrc."""
_WORD: Final = (
    r"(?:(?:\b|[a-z]*_|access|refresh|auth)token|pass_?w(?:or)?[dt]|passphrase|\bpwd?"
    r"|secret(?:_?key)?|api[_-]?key|[\"']pass)"
)
_LOGIN: Final = r"(?:[bu]?[\"'][^\"'\n]*[\"']|[\w.\[\]()'\"]+)"
"""A user's name as code has it: a text, or a variable."""
_PLAIN_END: Final = r"[^\s\"'()\[\]{}<>$*&,;|]"
_NO_VALUE: Final = r"(?!\*\*\*|(?:none|true|false|null|str|int|bool|bytes|any|optional)\b)"
_ASSIGNED: Final = tuple(
    re.compile(form, re.IGNORECASE | re.MULTILINE)
    for form in (
        # password = "...", environ["SECRET"] = "...", my_token: str = b"..."
        rf"({_WORD}[\"']?\]?(?: ?: ?[\w.\[\]]{{1,20}})?(?: ?= ?|: ?)[bruf]{{0,2}}[\"'])"
        r"(?!\*\*\*|[<\[]|\d{1,5}[\"'])[^\"'\n]{3,}(?=[\"'])",
        rf"((?:passw(?:or)?[dt]|\bpwd|secret)=){_NO_VALUE}{_PLAIN_END}{{4,}}",
        rf"((?:passw(?:or)?[dt]|secret): ){_NO_VALUE}{_PLAIN_END}{{4,}}$",
        r"(\b(?-i:(?:[A-Z][A-Z0-9_]*_)?(?:TOKEN|KEY|SECRET|PASSWORD|PASS)=)[\"']?)(?!\*\*\*)"
        rf"{_PLAIN_END}{{6,}}",
        r"(--(?:password|token|api-key|secret)[ =][\"'])(?!\*\*\*)[^\"'\n]{3,}(?=[\"'])",
        r"(--(?:password|token|api-key|secret) )(?![*<$-])[^\s\"']{16,}",
        r"(\b(?:sshpass |mysql(?:dump)? (?:-\w+ )*)-p ?)(?![*<$-])[^\s\"']{4,}",
        r"((?:x-api-key|x-auth-token|private-token): ?)(?!\*\*\*)[^\s\"']{8,}",
        r"(\b\w*(?:secret|access)_(?:access_)?key ?= ?)(?!\*\*\*)[\w/+]{16,}",
        r"(\"auth\": ?\")(?!\*\*\*)[\w/+]{8,}={0,2}(?=\")",  # of Docker's registries
        # requests' auth=("me", "..."), HTTPBasicAuth("me", "..."), smtp.login("me", "...")
        rf"((?:auth[\"']?(?: ?= ?|: ?)[(\[]|auth\(|\.login\(){_LOGIN}, ?[\"'])(?!\*\*\*)"
        r"[^\"'\n]+(?=[\"'])",
        r"(\blogin \S+ password )(?!\*\*\*)\S+",
        r"(token\([\"']|login\((?:api_)?key=[\"'])(?!\*\*\*)[\w.-]{8,}(?=[\"'])",
        r"(cookie: ?[\w-]+=)(?!\*\*\*)[^\s;\"']{6,}",
        r"([\"']key[\"']\s*:\s*[\"'])[0-9a-f]{32}(?=[\"'])",  # Kaggle's
    )
)
"""What is given to a name of a secret, of letters alone as well."""

_SHORTEST: Final = 6
"""Characters; a shorter value, such as "true", would be cut out of words that hold it by chance."""


def scrubbed(text: str) -> str:
    """Return the text without ``user:password@``, tokens, and values of secret variables.

    A whole address that may be faulty, such as one with a slash in its password, is safer with
    ``without_login``.
    """
    text = _QUERY.sub(r"\1***", _USER_INFO.sub("***@", _PRIVATE_KEY.sub(r"\1***", text)))
    text = _NAMED.sub(r"\1***", _TOKEN.sub("***", _BARE_LOGIN.sub("***@", text)))
    for form in _ASSIGNED:
        text = form.sub(r"\1***", text)
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
    """Return whether a text holds a login, a token, or a value of a secret variable."""
    forms = (_USER_INFO, _BARE_LOGIN, _TOKEN, _NAMED, _QUERY, _PRIVATE_KEY, *_ASSIGNED)
    by_form = any(form.search(text) for form in forms)
    return by_form or any(secret in text for secret in _secrets() if _is_no_word(secret))


SECRET_KEPT: Final = (
    "holds what looks like a token or a password, and a run's record would keep it; put it into "
    "the environment"
)


def _is_no_word(secret: str) -> bool:
    """Tell whether a value is too long or too mixed to stand in a text by chance."""
    mixed = any(map(str.isdigit, secret)) and any(map(str.isalpha, secret))
    return len(secret) >= (8 if mixed else 16)


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


_WIDE: Final = "\uff1d\uff0b\uff0d\uff20"
"""The same signs as a spreadsheet of East Asia takes them."""


def csv_cell(text: str) -> str:
    """Return a name as a cell of a CSV file that no spreadsheet takes for a formula."""
    formula = text.startswith(("\t", "\r")) or text.lstrip().startswith((*"=+-@", *_WIDE))
    return f"'{text}" if formula else text

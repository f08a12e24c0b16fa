"""Takes secrets out of a text before it is shown or kept: addresses' passwords, known tokens."""

import os
import re
from typing import Final

_USER_INFO: Final = re.compile(r"(?<=://)[^/\s@'\"]+@")
_SECRET_NAME: Final = re.compile(
    r"TOKEN|PASSW|SECRET|CREDENTIAL|API_?KEY|ACCESS_?KEY", re.IGNORECASE
)
_SHORTEST: Final = 6
"""Characters; a shorter value, such as "true", would be cut out of words that hold it by chance."""


def scrubbed(text: str) -> str:
    """Return the text without ``user:password@`` and without values of secret variables."""
    text = _USER_INFO.sub("***@", text)
    for secret in _secrets():
        text = text.replace(secret, "***")
    return text


def _secrets() -> list[str]:
    """Return the values of environment variables that are named like secrets, longest first."""
    values = {v for name, v in os.environ.items() if _SECRET_NAME.search(name)}
    return sorted((v for v in values if len(v) >= _SHORTEST), key=len, reverse=True)

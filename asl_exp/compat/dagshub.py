"""DagsHub's private parts: its store of tokens, read without the check that deletes them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dagshub.auth import add_oauth_token
from dagshub.auth.tokens import TokenStorage


def stored_token(host: str) -> str | None:
    """Return the best token that its client has stored for a host and that has not expired.

    Raises:
        Exception: of any kind, where the file is damaged; its text may hold tokens.
    """
    with _silent():
        stored: list[Any] = TokenStorage()._load_cache_file().get(host, [])
    valid = sorted((t for t in stored if not t.is_expired), key=lambda token: token.priority)
    return str(valid[0].token_text) if valid else None


def browser_login(host: str) -> None:
    """Open the browser for a new token, which its client stores."""
    with _silent():
        add_oauth_token(host=host)


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the client's log to itself: it may show tokens."""
    names = ("dagshub", "dagshub.auth.tokens", "dagshub.auth.oauth")
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, was_disabled in zip(loggers, before, strict=True):
            logger.disabled = was_disabled

"""Logs in to DagsHub: its token from the environment, its client's store, or its browser login.

The client's ``init`` is not called: it writes the token into the environment and replaces MLflow's
functions. Its store is read without its check, which deletes a token whenever the server fails.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import requests
from mlflow.utils.rest_utils import MlflowHostCreds

from asl_exp.tracking.server import DeniedError, NotNowError, RejectedError

_TIMEOUT_S: Final = (5.0, 15.0)
_NEW_TOKEN: Final = (
    "make one at {host}/user/settings/tokens, then DAGSHUB_USER_TOKEN=... in the environment, or "
    "`dagshub login` once"
)


def dagshub_login(host: str, address: str, *, interactive: bool) -> MlflowHostCreds:
    """Return the login to a repository, after DagsHub has said whose token it is.

    Args:
        host: of DagsHub.
        address: of the repository's MLflow server.
        interactive: open the browser if there is no token and a person looks on.

    Raises:
        DeniedError: no token, or a wrong one.
        NotNowError: DagsHub does not answer.
    """
    token = _token(host, interactive=interactive)
    if token is None:
        raise DeniedError(f"no token for DagsHub; {_NEW_TOKEN.format(host=host)}")
    user = _ask(f"{host}/api/v1/user", token)
    if user is None or "login" not in user:
        raise DeniedError(f"DagsHub does not know the token; {_NEW_TOKEN.format(host=host)}")
    name = str(user["login"])
    return MlflowHostCreds(address, username=name, password=token)  # type: ignore[no-untyped-call]


def check_repository(host: str, repo: str, login: MlflowHostCreds) -> None:
    """Ask whether the repository exists and may be written.

    Raises:
        RejectedError: it is not there, for this user.
        DeniedError: it may only be read.
        NotNowError: DagsHub does not answer.
    """
    about = _ask(f"{host}/api/v1/repos/{repo}", str(login.password))
    if about is None:
        raise RejectedError(
            f"tracking.repo: DagsHub shows no repository '{repo}' to {login.username}; create it "
            f"at {host}/repo/create, or ask its owner for access"
        )
    rights = about.get("permissions") or {}
    if not (rights.get("push", True) or rights.get("admin", False)):
        raise DeniedError(
            f"{login.username} may not write to '{repo}'; ask its owner for the role of a writer"
        )


def _token(host: str, *, interactive: bool) -> str | None:
    token = os.environ.get("DAGSHUB_USER_TOKEN") or _stored_token(host)
    if token is None and interactive and sys.stdin.isatty() and sys.stdout.isatty():
        with _silent():
            from dagshub.auth import add_oauth_token

            add_oauth_token(host=host)
        token = _stored_token(host)
    return token


def _stored_token(host: str) -> str | None:
    with _silent():
        from dagshub.auth.tokens import TokenStorage

        try:
            stored = TokenStorage()._load_cache_file().get(host, [])
        except Exception as error:  # a damaged file, which its client would print with the tokens
            raise DeniedError(
                f"DagsHub's store of tokens cannot be read ({type(error).__name__}); delete it and "
                "do `dagshub login`"
            ) from None
    valid = sorted((t for t in stored if not t.is_expired), key=lambda token: token.priority)
    return str(valid[0].token_text) if valid else None


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the client's log to itself: it may show tokens."""
    logger = logging.getLogger("dagshub")
    before, logger.disabled = logger.disabled, True
    loggers = [logging.getLogger(f"dagshub.auth.{name}") for name in ("tokens", "oauth")]
    for one in loggers:
        one.disabled = True
    try:
        yield
    finally:
        logger.disabled = before
        for one in loggers:
            one.disabled = False


def _ask(url: str, token: str) -> dict[str, Any] | None:
    """Return what DagsHub answers; None where it knows no such thing or no such user."""
    try:
        response = requests.get(url, auth=_Bearer(token), timeout=_TIMEOUT_S, allow_redirects=False)
    except requests.RequestException as error:
        raise NotNowError(f"{url}: {type(error).__name__}") from None
    if response.status_code in (401, 403, 404):
        return None
    if response.status_code != 200:
        raise NotNowError(f"{url}: status {response.status_code}")
    try:
        answer = response.json()
    except ValueError:
        raise RejectedError(f"{url}: answers, but not as DagsHub does") from None
    return answer if isinstance(answer, dict) else None


class _Bearer(requests.auth.AuthBase):
    """Sends the token, also where ~/.netrc has a line for the host."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request

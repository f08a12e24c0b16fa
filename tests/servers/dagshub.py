"""A stand-in for DagsHub: its API as far as its client asks, its MLflow under /OWNER/NAME.mlflow.

Tokens come as ``Authorization: Bearer TOKEN`` or as basic authentication with the token as password
or user name, as DagsHub takes them. A repository that one may not see is 404, as there.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from servers.proxy import Answer, Proxy

_READS_BY_POST = ("/runs/search", "/experiments/search", "/metrics/get-history-bulk")


@dataclass
class Account:
    """Who a token belongs to, and what it may do with the repository."""

    login: str
    pull: bool = True
    push: bool = True


@dataclass
class Accounts:
    """Tokens that are valid; a test may add to them or take from them while it runs."""

    by_token: dict[str, Account] = field(default_factory=dict)

    def of(self, headers: Mapping[str, str]) -> Account | None:
        kind, _, secret = headers.get("Authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return self.by_token.get(secret)
        if kind.lower() == "basic":
            try:
                user, _, password = base64.b64decode(secret).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                return None
            return self.by_token.get(password) or self.by_token.get(user)
        return None


class Dagshub(Proxy):
    """One repository with the MLflow server ``upstream``.

    Attributes:
        owner, name: of the repository.
        accounts: ``WRITER``'s token may write, ``READER``'s may only read, ``STRANGER``'s sees
            nothing; any other token is not valid.
    """

    WRITER, READER, STRANGER = "token-of-a-writer", "token-of-a-reader", "token-of-a-stranger"

    def __init__(self, upstream: str, owner: str = "ada", name: str = "hands") -> None:
        super().__init__(upstream, prefix=f"/{owner}/{name}.mlflow")
        self.owner, self.name = owner, name
        self.accounts = Accounts(
            {
                self.WRITER: Account(owner),
                self.READER: Account("reader", push=False),
                self.STRANGER: Account("stranger", pull=False, push=False),
            }
        )

    def environment(self, token: str | None, home: Path) -> dict[str, str]:
        """Return the variables of a command that shall use this DagsHub, with an empty token store.

        Args:
            token: given as DAGSHUB_USER_TOKEN; None for a user who has never logged in.
            home: a folder of the test.
        """
        given = {"DAGSHUB_USER_TOKEN": token} if token else {}
        return {
            "DAGSHUB_CLIENT_HOST": self.host,
            "DAGSHUB_CLIENT_TOKENS_CACHE": str(home / "dagshub-tokens"),
            "DAGSHUB_DISABLE_ANALYTICS": "1",
            **given,
        }

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        account = self.accounts.of(headers)
        inner = urlsplit(path).path
        if account is None:
            return _says(401, "unauthorized") if _needs_token(inner) else _says(404, "not found")
        if inner == "/api/v1/user":
            return _json(200, _user(account.login))
        if inner.rstrip("/") == f"/api/v1/repos/{self.owner}/{self.name}":
            return _json(200, self._repository(account)) if account.pull else _says(404, "no repo")
        if not inner.startswith(f"{self.prefix}/") and inner != self.prefix:
            return _says(404, "not found")
        if not account.pull:
            return _says(404, "not found")
        writes = method not in ("GET", "HEAD") and not inner.endswith(_READS_BY_POST)
        if writes and not account.push:
            return _says(403, "you have no right to write to this repository")
        passed = {name: value for name, value in headers.items() if name != "Authorization"}
        return super().answer(method, path, passed, body)

    def _repository(self, account: Account) -> dict[str, Any]:
        full = f"{self.owner}/{self.name}"
        return {
            "id": 1, "owner": _user(self.owner), "name": self.name, "full_name": full,
            "description": "", "private": True, "fork": False, "parent": None, "empty": False,
            "mirror": False, "size": 0, "html_url": f"{self.host}/{full}", "ssh_url": None,
            "clone_url": f"{self.host}/{full}.git", "website": "", "stars_count": 0,
            "forks_count": 0, "watchers_count": 0, "open_issues_count": 0,
            "default_branch": "main", "created_at": "2025-01-01T00:00:00Z",
            "updated_at": "2025-01-01T00:00:00Z",
            "permissions": {"admin": account.push, "push": account.push, "pull": account.pull},
        }  # fmt: skip


def _needs_token(path: str) -> bool:
    return path.startswith("/api/v1/") or ".mlflow" in path


def _user(login: str) -> dict[str, Any]:
    return {
        "id": 1, "login": login, "username": login, "full_name": login, "avatar_url": None,
        "public_email": None, "website": None, "company": None, "description": None,
    }  # fmt: skip


def _json(status: int, content: dict[str, Any]) -> Answer:
    return Answer(status, {"Content-Type": "application/json"}, json.dumps(content).encode())


def _says(status: int, message: str) -> Answer:
    return _json(status, {"message": message})

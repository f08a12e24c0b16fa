"""The keys of a replica: what is wrong with them is said at once, without what is secret."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from asl_exp.config.redact import scrubbed, without_login
from asl_exp.config.rules import tracking_faults
from asl_exp.config.schema import TrackingConfig
from asl_exp.replica.login import dagshub_repo, replica_address


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"mode": "server"}, "tracking.uri: is missing"),
        ({"mode": "server", "uri": "htp://host"}, "must begin with http:// or https://"),
        ({"mode": "server", "uri": "host:5000"}, "must begin with http:// or https://"),
        ({"mode": "server", "uri": "http://"}, "must begin with http:// or https://"),
        ({"mode": "server", "uri": "http://host:port"}, "which is no address"),
        ({"mode": "server", "uri": "http://host/?a=b"}, "must end with the path of the server"),
        ({"mode": "server", "uri": "http://ada:tell-nobody@host"}, "MLFLOW_TRACKING_PASSWORD"),
        ({"mode": "server", "uri": "ada:tell-nobody@host"}, "must begin with"),
        ({"uri": "http://host"}, "tracking.uri: has no meaning for tracking=local"),
        ({"repo": "ada/hands"}, "tracking.repo: has no meaning for tracking=local"),
        ({"mode": "dagshub", "repo": "hands"}, "must be OWNER/NAME"),
        ({"mode": "dagshub", "repo": "https://ada:tell-nobody@dagshub.com/a/b"}, "OWNER/NAME"),
        ({"mode": "off", "register": "letters"}, "tracking.register"),
    ],
)
def test_faults(values: dict[str, Any], told: str) -> None:
    (fault,) = tracking_faults(TrackingConfig(**values))
    assert told in fault
    assert "tell-nobody" not in fault


@pytest.mark.parametrize(
    "values",
    [
        {"mode": "server", "uri": "https://host/deep/path/"},
        {"mode": "server", "uri": "http://[::1]:5000", "required": False},
        {"mode": "dagshub"},
        {"mode": "dagshub", "repo": "ada-l/hands.2"},
        {"mode": "off"},
    ],
)
def test_what_is_right(values: dict[str, Any]) -> None:
    assert not list(tracking_faults(TrackingConfig(**values)))


@pytest.mark.parametrize(
    ("remote", "repo"),
    [
        ("https://dagshub.com/ada/hands.git", "ada/hands"),
        ("https://dagshub.com/ada/hands", "ada/hands"),
        ("https://ada:token@dagshub.com/ada/hands.git", "ada/hands"),
        ("git@dagshub.com:ada/hands.v2.git", "ada/hands.v2"),
        ("ssh://git@dagshub.com/ada/hands.git", "ada/hands"),
    ],
)
def test_the_repository_is_read_from_the_git_remote(
    remote: str, repo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSHUB_CLIENT_HOST", raising=False)
    for command in (
        ["init", "-q"],
        ["remote", "add", "origin", "https://github.com/ada/elsewhere.git"],
        ["remote", "add", "hub", remote],
    ):
        subprocess.run(["git", *command], check=True)
    address = replica_address(TrackingConfig(mode="dagshub"))
    assert address == f"https://dagshub.com/{repo}.mlflow"
    assert dagshub_repo(address) == repo


def test_secrets_are_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_TOKEN", "abcdef123456")
    monkeypatch.setenv("MY_PASSWORD", "true")
    said = scrubbed("is it true that abcdef123456 opens https://ada:pw@host/ and git@host:a/b?")
    assert said == "is it true that *** opens https://***@host/ and git@host:a/b?"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://me:secret@host:1/db", "postgresql://***@host:1/db"),
        ("postgresql://me:s@e@cret@host/db", "postgresql://***@host/db"),
        ("https://me:se/cret@host/a", "https://***@host/a"),
        ("https://host/a?token=secret&b=1", "https://host/a?token=***&b=1"),
        ("sqlite:///runs/studies.db", "sqlite:///runs/studies.db"),
        ("me:secret@host", "host"),
    ],
)
def test_a_login_is_taken_out_of_an_address(address: str, shown: str) -> None:
    assert without_login(address) == shown
    if "/cret" not in address and "://" in address:
        assert "cret" not in scrubbed(address)

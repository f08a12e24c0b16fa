"""Opens a replica: its address, the login to it, and what would go wrong after training.

The address is that of a server, or of a repository on DagsHub, whose token comes from the
environment, its client's store, or its browser login. The client's ``init`` is not called: it
writes the token into the environment and replaces MLflow's functions. Its store is read without its
check, which deletes a token whenever the server fails.
"""

import os
import re
import subprocess
import sys
from typing import Any, Final
from urllib.parse import urlsplit

import requests

from asl_exp.compat.mlflow import MlflowHostCreds, get_default_host_creds
from asl_exp.config.errors import ConfigError
from asl_exp.config.names import Tag
from asl_exp.config.schema import TrackingConfig
from asl_exp.replica.api import (
    Bearer,
    DeniedError,
    NotNowError,
    RejectedError,
    ReplicaError,
    Server,
)
from asl_exp.replica.delivery import experiment_there

_FIRST_TRIES_S = (0.3, 0.6, 1.2, 2.4)

_opened: dict[str, Server] = {}


def open_replica(address: str, *, interactive: bool = False) -> Server:
    """Return a server that knows our login; asked once in a process.

    Raises:
        ReplicaError: no login, or the repository is not there.
    """
    if address not in _opened:
        _opened[address] = _logged_in(address, interactive=interactive)
    return _opened[address]


def _logged_in(address: str, *, interactive: bool) -> Server:
    repo = dagshub_repo(address)
    if repo is None:
        return Server(address, get_default_host_creds(address))  # type: ignore[no-untyped-call]
    nobody = MlflowHostCreds(address)  # type: ignore[no-untyped-call]
    asker = Server(address, nobody, _FIRST_TRIES_S)
    login: MlflowHostCreds = asker.repeated(
        lambda: dagshub_login(dagshub_host(), address, interactive=interactive)
    )
    asker.repeated(lambda: check_repository(dagshub_host(), repo, login))
    return Server(address, login)


def refusal(tracking: TrackingConfig) -> str | None:
    """Return why a configuration's replica would not take a run, and how to mend it; else None."""
    address = replica_address(tracking)
    if address is None:
        return None
    try:
        _check(open_replica(address, interactive=True), tracking.experiment)
    except ReplicaError as error:
        key = "tracking.repo" if tracking.mode == "dagshub" else "tracking.uri"
        said = str(error) if str(error).startswith("tracking.") else f"{key}: {error}"
        return said + _mend(error, tracking)
    return None


def _check(server: Server, experiment: str) -> None:
    """Ask for the experiment, and write something harmless to it."""
    patient = Server(server.address, server.login, _FIRST_TRIES_S)
    experiment_id = experiment_there(patient, experiment)
    body = {"experiment_id": experiment_id, "key": "written_by", "value": "asl_exp"}
    patient.post("/experiments/set-experiment-tag", body)


def _mend(error: ReplicaError, tracking: TrackingConfig) -> str:
    if isinstance(error, NotNowError):
        return "; is the address right, and the server up?"
    if isinstance(error, DeniedError) and tracking.mode == "server":
        return (
            "; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            "MLFLOW_TRACKING_TOKEN, in the environment"
        )
    if tracking.mode == "server":
        return "; is that the address of an MLflow server?"
    return ""


_HOST: Final = "https://dagshub.com"


def replica_address(tracking: TrackingConfig) -> str | None:
    """Return the address without a slash at its end; None where there is no replica.

    Raises:
        ConfigError: the repository cannot be read from the git remote.
    """
    if tracking.mode == "server" and tracking.uri:
        return tracking.uri.rstrip("/")
    if tracking.mode == "dagshub":
        return f"{dagshub_host()}/{tracking.repo or _repo_of_remote()}.mlflow"
    return None


def replica_tag(tracking: TrackingConfig) -> dict[str, str]:
    """Return the tag by which the local run names its replica; none where there is none."""
    address = replica_address(tracking)
    return {} if address is None else {Tag.REPLICA: address}


def dagshub_host() -> str:
    """Return the address of DagsHub, or of another one that its client is told of."""
    return os.environ.get("DAGSHUB_CLIENT_HOST", _HOST).rstrip("/")


def dagshub_repo(address: str) -> str | None:
    """Return OWNER/NAME if an address is that of a repository on DagsHub, else None."""
    within = address.removeprefix(f"{dagshub_host()}/")
    found = re.fullmatch(r"([^/]+/[^/]+)\.mlflow", within)
    return found[1] if found and within != address else None


def _repo_of_remote() -> str:
    """Return OWNER/NAME of the working folder's git remote on DagsHub; its login is not kept."""
    try:
        done = subprocess.run(
            ["git", "config", "--get-regexp", r"^remote\..*\.url$"],
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
        remotes = [line.split(maxsplit=1)[1] for line in done.stdout.splitlines() if " " in line]
    except (OSError, subprocess.SubprocessError):
        remotes = []
    host = re.escape(str(urlsplit(dagshub_host()).hostname))
    for remote in remotes:
        found = re.search(rf"(?:@|//){host}(?::\d+)?[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?$", remote)
        if found:
            return found[1]
    raise ConfigError([
        "tracking.repo: is not given, and no git remote of this folder is on DagsHub; give "
        "tracking.repo=OWNER/NAME"
    ])  # fmt: skip


_TIMEOUT_S: Final = (5.0, 15.0)  # to connect, and to answer: as replica/api.py waits
_NEW_TOKEN: Final = (
    "make one at {host}/user/settings/tokens, then DAGSHUB_USER_TOKEN=... in the environment, or "
    "`dagshub login` once"
)


def dagshub_login(host: str, address: str, *, interactive: bool) -> MlflowHostCreds:
    """Return the login to a repository, after DagsHub has said whose token it is.

    Args:
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
        from asl_exp.compat.dagshub import browser_login

        browser_login(host)
        token = _stored_token(host)
    return token


def _stored_token(host: str) -> str | None:
    from asl_exp.compat.dagshub import stored_token

    try:
        return stored_token(host)
    except Exception as error:  # a damaged file, which its client would print with the tokens
        raise DeniedError(
            f"DagsHub's store of tokens cannot be read ({type(error).__name__}); delete it and "
            "do `dagshub login`"
        ) from None


def _ask(url: str, token: str) -> dict[str, Any] | None:
    """Return what DagsHub answers; None where it knows no such thing or no such user."""
    try:
        response = requests.get(url, auth=Bearer(token), timeout=_TIMEOUT_S, allow_redirects=False)
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

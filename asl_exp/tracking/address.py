"""Where a run's copy goes: the address of a server, or of a repository on DagsHub."""

import os
import re
import subprocess
from typing import Final
from urllib.parse import urlsplit

from asl_exp.config.errors import ConfigError
from asl_exp.config.names import Tag
from asl_exp.config.schema import TrackingConfig

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

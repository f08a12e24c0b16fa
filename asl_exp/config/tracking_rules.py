"""Rules of the tracking keys: what a replica needs to be found, and no secrets among them."""

import re
from typing import Final
from urllib.parse import urlsplit

from asl_exp.config.schema import TrackingConfig

_REPO: Final = re.compile(r"[\w.-]+/[\w.-]+")
_HOW_TO_LOG_IN: Final = (
    "put them into the environment instead: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
    "or MLFLOW_TRACKING_TOKEN"
)


def tracking_faults(tracking: TrackingConfig) -> list[str]:
    """Return one sentence for each contradiction, beginning with the key to change."""
    faults = []
    if tracking.mode == "server":
        faults += _address_faults(tracking.uri)
    elif tracking.uri is not None:
        faults.append(f"tracking.uri: has no meaning for tracking={tracking.mode}; "
                      "add tracking=server, or leave it out")  # fmt: skip
    if tracking.mode != "dagshub" and tracking.repo is not None:
        faults.append(f"tracking.repo: has no meaning for tracking={tracking.mode}; "
                      "add tracking=dagshub, or leave it out")  # fmt: skip
    if tracking.repo is not None and not _REPO.fullmatch(tracking.repo):
        faults.append(
            f"tracking.repo: got '{without_login(tracking.repo)}'; must be OWNER/NAME, the last "
            "two parts of the repository's address"
        )
    if tracking.register is not None and tracking.mode == "off":
        faults.append("tracking.register: nothing is recorded with tracking=off; leave it out")
    if tracking.register is not None and set("/:") & set(tracking.register):
        faults.append(f"tracking.register: got '{tracking.register}'; a name without / and :")
    return faults


def _address_faults(uri: str | None) -> list[str]:
    if uri is None:
        return ["tracking.uri: is missing; tracking=server needs the address of an MLflow server, "
                "tracking.uri=http://host:5000"]  # fmt: skip
    shown = without_login(uri)
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return [f"tracking.uri: got '{shown}', which is no address ({error})"]
    if "@" in parts.netloc:
        return [f"tracking.uri: holds a user or a password ({shown}); {_HOW_TO_LOG_IN}"]
    if parts.scheme not in ("http", "https") or not host:
        return [f"tracking.uri: got '{shown}'; must begin with http:// or https:// and name a host"]
    if parts.query or parts.fragment:
        return [f"tracking.uri: got '{shown.partition('?')[0]}?...'; must end with the path of "
                "the server"]  # fmt: skip
    return []


def without_login(address: str) -> str:
    """Return an address without what stands before its ``@``."""
    head, at, tail = address.rpartition("@")
    return f"{head.partition('://')[0]}://***@{tail}" if at and "://" in head else tail or address

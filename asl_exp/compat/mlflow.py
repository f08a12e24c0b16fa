"""MLflow's private parts: tag names, logins, its monitors, and the form of the UI's saved views."""

import base64
import json
import os
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from mlflow.environment_variables import _MLFLOW_IS_IN_SERVING_ENVIRONMENT
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
from mlflow.utils import environment
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.mlflow_tags import (
    MLFLOW_DATASET_CONTEXT,
    MLFLOW_GIT_COMMIT,
    MLFLOW_PARENT_RUN_ID,
    MLFLOW_RUN_NAME,
    MLFLOW_RUN_NOTE,
    MLFLOW_SOURCE_NAME,
    MLFLOW_SOURCE_TYPE,
)
from mlflow.utils.rest_utils import MlflowHostCreds, http_request

__all__ = [
    "MLFLOW_DATASET_CONTEXT",
    "MLFLOW_GIT_COMMIT",
    "MLFLOW_PARENT_RUN_ID",
    "MLFLOW_RUN_NAME",
    "MLFLOW_RUN_NOTE",
    "MLFLOW_SOURCE_NAME",
    "MLFLOW_SOURCE_TYPE",
    "MONITORS",
    "MlflowHostCreds",
    "close_connections",
    "get_default_host_creds",
    "gpu_monitors",
    "http_request",
    "is_serving",
    "shared_view",
    "upload",
    "without_model_remarks",
]

MONITORS: Final[tuple[Callable[[], Any], ...]] = (CPUMonitor, DiskMonitor, NetworkMonitor)
"""Each made thing has collect_metrics, aggregate_metrics and clear_metrics."""


def gpu_monitors() -> list[Any]:
    """Return the monitor of GPUs, or nothing where there are none."""
    try:
        return [GPUMonitor()]  # type: ignore[no-untyped-call]
    except Exception:  # no driver, or no GPU: it says so in many ways
        return []


def upload(artifact_uri: str, file: Path, folder: str | None) -> None:
    """Send a file to S3 and its like, by the client that the address needs."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    store = get_artifact_repository(artifact_uri)
    store.log_artifact(str(file), folder)  # type: ignore[no-untyped-call]


def shared_view(key: str, view: dict[str, Any]) -> dict[str, str]:
    """Return the experiment tag that a link with ``viewStateShareKey=key`` opens.

    Args:
        view: name, createdAt, updatedAt (milliseconds), and state as the UI writes it; keys of the
            state that the UI does not find get its own defaults.
    """
    packed = zlib.compress(json.dumps(view["state"]).encode(), 9)
    state = f"deflate;{base64.b64encode(packed).decode()}"
    return {f"mlflow.sharedViewState.{key}": json.dumps({**view, "state": state})}


_CHECK: Final = "warn_dependency_requirement_mismatches"


@contextmanager
def without_model_remarks() -> Iterator[None]:
    """Keep back what MLflow says of a model while it saves one, and what it does to say so.

    The advice to give an input example (3.17): its is an image. Whether the requirements fit this
    environment: they were read from it, and MLflow takes 1 CPU s to list all that is installed.
    """
    known = vars(environment)
    check = known.get(_CHECK)  # an MLflow without it saves models all the same
    if check:
        known[_CHECK] = lambda _: None
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*input example.*")
            yield
    finally:
        if check:
            known[_CHECK] = check


def is_serving() -> bool:
    """Return whether this process answers requests of others, and not a program's own calls."""
    return os.environ.get(_MLFLOW_IS_IN_SERVING_ENVIRONMENT.name) == "true"


def close_connections(store_uri: str) -> None:
    """Let go of a local store's file, which MLflow holds open also where it was deleted."""
    engine = SqlAlchemyStore._engine_map.get(store_uri)
    if engine is not None:
        engine.dispose()

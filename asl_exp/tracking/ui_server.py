"""Serves MLflow's UI on a folder of runs, beginning with the page of their scores and settings."""

import os
import sys
from pathlib import Path

from mlflow.tracking import MlflowClient

from asl_exp.tracking.local_server import run_server, ui_address
from asl_exp.tracking.store import open_store, store_uri, view_path


def serve_ui(runs_dir: str, port: int) -> int:
    """Serve until Ctrl-C; return the server's exit status, 0 where the user ended it.

    Raises:
        UserError: the record cannot be used.
    """
    folder = Path(runs_dir)
    page = ui_address(_first_page(open_store(folder)))
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port),
               "--backend-store-uri", store_uri(folder)]  # fmt: skip
    print(f"MLflow UI on {folder} is starting, some seconds: {page}", flush=True)
    env = {"MLFLOW_DISABLE_TELEMETRY": "true", **os.environ}
    return run_server(command, env, page, ("127.0.0.1", port))


def _first_page(client: MlflowClient) -> str:
    """Return the page of the one experiment that has runs, else the list of experiments."""
    found = [
        one.experiment_id
        for one in client.search_experiments()
        if client.search_runs([one.experiment_id], max_results=1)
    ]
    return view_path(found[0]) if len(found) == 1 else "#/experiments?workflowType=machine_learning"

"""Serves MLflow's UI on a folder of runs, beginning with the page of their scores and settings."""

import os
import socket
import subprocess
import sys
import time
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import Final

from mlflow.tracking import MlflowClient

from asl_exp.tracking.store import open_store, store_uri, view_path
from asl_exp.tracking.ui_port import ui_address

_START_S: Final = 60.0


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
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true"}
    with subprocess.Popen(command, env={**quiet, **os.environ}) as server:
        try:
            if _answers(server, port):
                print(f"open {page}   (Ctrl-C ends it)", flush=True)
                if sys.stdout.isatty():
                    with suppress(webbrowser.Error):
                        webbrowser.open(page)
            return server.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            server.terminate()


def _first_page(client: MlflowClient) -> str:
    """Return the page of the one experiment that has runs, else the list of experiments."""
    found = [
        one.experiment_id
        for one in client.search_experiments()
        if client.search_runs([one.experiment_id], max_results=1)
    ]
    return view_path(found[0]) if len(found) == 1 else "#/experiments?workflowType=machine_learning"


def _answers(server: "subprocess.Popen[bytes]", port: int) -> bool:
    """Wait until the server takes connections; return whether it does."""
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and server.poll() is None:
        with socket.socket() as asking:
            if not asking.connect_ex(("127.0.0.1", port)):
                return True
        time.sleep(0.2)
    return False

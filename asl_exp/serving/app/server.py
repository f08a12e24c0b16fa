"""Starts Streamlit on the app's page and says where it is."""

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from asl_exp.config.errors import UserError
from asl_exp.tracking.local_server import other_port, port_fault, run_server

UPLOAD_MB: Final = 20
"""Of one picture; how many pixels it may have is the model's data.max_megapixels."""

_EVERYWHERE: Final = ("0.0.0.0", "::")
_SETTINGS: Final = {
    "server.maxUploadSize": str(UPLOAD_MB),
    "server.fileWatcherType": "none",
    "server.showEmailPrompt": "false",
    "server.headless": "true",  # it would open a browser before it answers
    "browser.gatherUsageStats": "false",
    "client.showErrorDetails": "none",
    "client.toolbarMode": "minimal",
    "logger.hideWelcomeMessage": "true",  # it would ask a server for this machine's address
    "logger.level": "warning",
    "runner.postScriptGC": "false",  # after every frame: 0.5 s of CPU with PyTorch's objects
    "global.developmentMode": "false",
}


def serve_app(
    runs_dir: Path, models: Sequence[Path], *, address: str, port: int, headless: bool
) -> int:
    """Serve until Ctrl-C; return the server's exit status, 0 where the user ended it.

    Args:
        runs_dir: folder of the runs to choose from.
        models: further run folders, model folders or checkpoints.
        headless: whether no browser is opened.

    Raises:
        UserError: Streamlit is not installed, or the port cannot be had.
    """
    if find_spec("streamlit") is None:
        raise UserError(
            "the app needs Streamlit, which is not installed; pip install 'asl-exp[app]'"
        )
    if fault := port_fault(port, address):
        raise UserError(
            f"--port: {fault}, such as an app that still runs; --port {other_port(port)} is free"
        )
    page = f"http://{'localhost' if address in ('127.0.0.1', *_EVERYWHERE) else address}:{port}"
    print(f"the app on {runs_dir} is starting, some seconds: {page}", flush=True)
    if address in _EVERYWHERE:
        print("it listens on all networks of this machine: whoever reaches it can use it")
    asked = ("127.0.0.1" if address in _EVERYWHERE else address, port)
    command = _command(runs_dir, models, address, port)
    return run_server(command, _environment(), page, asked, browser=not headless)


def _command(runs_dir: Path, models: Sequence[Path], address: str, port: int) -> list[str]:
    settings = {**_SETTINGS, "server.address": address, "server.port": str(port)}
    options = [word for key, value in settings.items() for word in (f"--{key}", value)]
    page = str(Path(__file__).with_name("page.py"))
    given = [str(path.resolve()) for path in (runs_dir, *models)]
    return [sys.executable, "-m", "streamlit", "run", page, *options, "--", *given]


def _environment() -> dict[str, str]:
    """Return the environment: the package of this process, however it was found."""
    package = str(Path(__file__).resolve().parents[3])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "MLFLOW_DISABLE_TELEMETRY": "true"}

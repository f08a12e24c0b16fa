"""Starts Streamlit on the app's page and says where it is."""

import os
import socket
import subprocess
import sys
import time
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from asl_exp.config.errors import UserError
from asl_exp.tracking.ui_port import other_port, port_fault

UPLOAD_MB: Final = 20
"""Of one picture; how many pixels it may have is the model's data.max_megapixels."""

_START_S: Final = 60.0
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
        address: that it listens on.
        port: likewise.
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
    with subprocess.Popen(_command(runs_dir, models, address, port), env=_environment()) as server:
        try:
            if _answers(server, port, address):
                print(f"open {page}   (Ctrl-C ends it)", flush=True)
                if not headless and sys.stdout.isatty():
                    with suppress(webbrowser.Error):
                        webbrowser.open(page)
            return server.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            server.terminate()


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


def _answers(server: "subprocess.Popen[bytes]", port: int, address: str) -> bool:
    """Wait until the server takes connections; return whether it does."""
    deadline = time.monotonic() + _START_S
    host = "127.0.0.1" if address in _EVERYWHERE else address
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(OSError), socket.create_connection((host, port), timeout=1):
            return True
        time.sleep(0.2)
    return False

"""Servers on this machine that a person looks at: a free port, the start, the end by Ctrl-C."""

import os
import socket
import subprocess
import sys
import time
import webbrowser
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from asl_exp.config.errors import Interrupted, UserError

DEFAULT_PORT: Final = 5000
VARIABLE: Final = "UI_PORT"


def ui_port() -> int:
    """Return the port that the user's environment chooses.

    Raises:
        UserError: it is no port, or another program has it.
    """
    given = os.environ.get(VARIABLE) or str(DEFAULT_PORT)
    if not (given.isascii() and given.isdigit() and 0 < int(given) < 65536):
        raise UserError(f"{VARIABLE}: got '{given}'; must be a port, a number from 1 to 65535")
    port = int(given)
    if fault := port_fault(port):
        raise UserError(
            f"{VARIABLE}: {fault}, such as a UI that still runs; "
            f"`make ui {VARIABLE}={other_port(port)}` takes another"
        )
    return port


def ui_address(path: str = "") -> str:
    """Return an address in the UI that ``make ui`` opens on this machine."""
    return f"http://127.0.0.1:{os.environ.get(VARIABLE) or DEFAULT_PORT}/{path}"


def port_fault(port: int, address: str = "127.0.0.1") -> str | None:
    """Return why a server of this machine cannot listen there; None where it can."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as asking:
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            asking.bind((address, port))
        except OSError as error:
            reason = error.strerror or str(error)
            return f"port {port} cannot be used ({reason}): another program may have it"
    return None


def other_port(port: int) -> int:
    """Return a free port near one that is taken."""
    for candidate in range(port + 1, min(port + 100, 65536)):
        with socket.socket() as asking:
            if asking.connect_ex(("127.0.0.1", candidate)):
                return candidate
    return DEFAULT_PORT + 1


_CTRL_C: Final = 130
_START_S: Final = 60.0  # MLflow and Streamlit take seconds, on a busy machine many


def run_server(
    command: Sequence[str],
    env: Mapping[str, str],
    page: str,
    asked: tuple[str, int],
    *,
    browser: bool = True,
) -> int:
    """Run it until Ctrl-C; return its exit status, 0 where the user ended it.

    Args:
        page: the address that a person opens.
        asked: host and port that take connections once it is there.
        browser: open the page, where this is a terminal.
    """
    with subprocess.Popen(command, env=env) as server:
        try:
            if _answers(server, asked):
                print(f"open {page}   (Ctrl-C ends it)", flush=True)
                if browser and sys.stdout.isatty():
                    with suppress(webbrowser.Error):
                        webbrowser.open(page)
            return server.wait()
        except Interrupted as interruption:
            if interruption.exit_status != _CTRL_C:
                raise
            return 0
        finally:
            server.terminate()


def _answers(server: "subprocess.Popen[bytes]", asked: tuple[str, int]) -> bool:
    """Wait until the server takes connections; return whether it does."""
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(OSError), socket.create_connection(asked, timeout=1):
            return True
        time.sleep(0.2)
    return False

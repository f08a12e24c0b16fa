"""Ports that commands serve on, and whether they are free; for MLflow's UI the user's choice."""

import os
import socket
from typing import Final

from asl_exp.config.errors import UserError

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

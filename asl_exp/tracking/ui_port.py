"""The port of MLflow's UI: its default, the user's choice, and whether it is free."""

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
    with socket.socket() as asking:
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            asking.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserError(
                f"{VARIABLE}: port {port} cannot be used ({error.strerror}): another program may "
                f"have it, such as a UI that still runs; `make ui {VARIABLE}={_other(port)}` takes "
                "another"
            ) from None
    return port


def ui_address(path: str = "") -> str:
    """Return an address in the UI that ``make ui`` opens on this machine."""
    return f"http://127.0.0.1:{os.environ.get(VARIABLE) or DEFAULT_PORT}/{path}"


def _other(port: int) -> int:
    """Return a free port near one that is taken."""
    for candidate in range(port + 1, min(port + 100, 65536)):
        with socket.socket() as asking:
            if asking.connect_ex(("127.0.0.1", candidate)):
                return candidate
    return DEFAULT_PORT + 1

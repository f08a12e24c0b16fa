"""A server that a person looks at: started, opened in a browser, ended by Ctrl-C."""

import socket
import subprocess
import sys
import time
import webbrowser
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from asl_exp.config.errors import Interrupted

_CTRL_C: Final = 130
_START_S: Final = 60.0


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
        command: of the server.
        env: its environment.
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

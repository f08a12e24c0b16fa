"""``python -m asl_exp.ui [runs_dir=FOLDER]``: serve MLflow's UI on the local runs, say its address.

The environment's UI_PORT chooses the port. Exit status: 0 ended by Ctrl-C; 2 the port is taken, or
the record cannot be used.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from asl_exp import cli

_USAGE: Final = """usage: python -m asl_exp.ui [runs_dir=FOLDER]

  Serves MLflow's UI on the runs of a folder (runs), on this machine alone, and says its address.
  The variable UI_PORT chooses the port: UI_PORT=5001 python -m asl_exp.ui"""


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit status."""
    return cli.answered("asl_exp.ui", lambda: _run(arguments))


def _run(arguments: Sequence[str]) -> int:
    if "-h" in arguments or "--help" in arguments:
        print(_USAGE)
        return 0
    from asl_exp.config.errors import UserError

    unknown = [argument for argument in arguments if not argument.startswith("runs_dir=")]
    if unknown:
        raise UserError(f"{', '.join(unknown)}: unknown\n{_USAGE}")
    runs_dir = arguments[-1].partition("=")[2] if arguments else "runs"

    from asl_exp.tracking.local_server import ui_port

    port = ui_port()

    from asl_exp.config.process_setup import collector_paused

    with collector_paused():
        from asl_exp.tracking.local_server import run_server, ui_address
        from asl_exp.tracking.store import first_page, open_store, store_uri

    folder = Path(runs_dir)
    page = ui_address(first_page(open_store(folder)))
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port),
               "--backend-store-uri", store_uri(folder)]  # fmt: skip
    print(f"MLflow UI on {folder} is starting, some seconds: {page}", flush=True)
    env = {"MLFLOW_DISABLE_TELEMETRY": "true", **os.environ}
    return run_server(command, env, page, ("127.0.0.1", port))


if __name__ == "__main__":
    cli.start(main)

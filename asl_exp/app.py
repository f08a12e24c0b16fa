"""``python -m asl_exp.app [MODEL...] [--runs-dir DIR] [--port N]``: try kept models in a browser.

Shows what a model reads in a picture and why, spells with the live camera, and shows what a run
confuses. MODELs are further run or model folders; the runs of a folder are there without. It
listens on this machine alone unless --address says otherwise.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from asl_exp import cli
from asl_exp.config.errors import UserError

DEFAULT_PORT = 8501


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C; return 0, or 2 where the port is taken or a model is none."""
    parser = cli.parser("asl_exp.app", __doc__)
    parser.add_argument(
        "model", type=Path, nargs="*", help="further run folders, model folders or checkpoints"
    )
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), help="folder of runs (runs)")
    parser.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help=f"to listen on ({DEFAULT_PORT})"
    )
    parser.add_argument(
        "--address", default="127.0.0.1", help="0.0.0.0: all networks (this machine alone)"
    )
    parser.add_argument("--headless", action="store_true", help="open no browser")
    given = parser.parse_args(arguments)
    return cli.answered("asl_exp.app", lambda: _serve(given))


def _serve(given: argparse.Namespace) -> int:
    if not 0 < given.port < 65536:
        raise UserError(f"--port: got {given.port}; must be a port, a number from 1 to 65535")
    for path in given.model:
        if not path.exists():
            raise UserError(f"{path}: no such file or folder; give a run folder or a model folder")
    from asl_exp.serving.app.server import serve_app

    return serve_app(
        given.runs_dir, given.model, address=given.address, port=given.port, headless=given.headless
    )


if __name__ == "__main__":
    cli.start(main)

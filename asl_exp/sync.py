"""``python -m asl_exp.sync [RUN...] [overrides]``: deliver what is left; close dead runs.

Exit status: 0 everything is where it should be; 1 something is still to be delivered; 2 the
command line is wrong, or the server refuses; 130 interrupted.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from asl_exp import cli
from asl_exp.config.errors import UserError

if TYPE_CHECKING:
    from asl_exp.config.schema import Config

_USAGE: Final = """usage: python -m asl_exp.sync [RUN...] [overrides]
       python -m asl_exp.sync --where RUN [overrides]

  Closes runs whose process has died, then delivers every run to the server or the DagsHub
  repository that it was started with, as far as it is not there yet.

  RUN       a run's folder or a file in it, a folder of runs, an MLflow run id (here or on a
            server), or all: these alone; the server is asked what it has of them, and gets
            what it has lost or refused before
  --where   print a run's ids, folder, checkpoints and copies, and do nothing

Overrides are those of python -m asl_exp, for example
  python -m asl_exp.sync runs_dir=FOLDER
  python -m asl_exp.sync all tracking=server tracking.uri=http://host:5000   (copy older runs)
  python -m asl_exp.sync runs/RUN tracking=dagshub tracking.repo=OWNER/NAME"""


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit status."""
    stays = "what was delivered stays"
    return cli.answered("asl_exp.sync", lambda: _run(arguments), interrupted=stays)


def _run(arguments: Sequence[str]) -> int:
    if "-h" in arguments or "--help" in arguments:
        print(_USAGE)
        return 0
    where = "--where" in arguments
    rest = [argument for argument in arguments if argument != "--where"]
    overrides = [a for a in rest if "=" in a and not Path(a).exists()]
    named = [a for a in rest if a not in overrides]
    unknown = [a for a in named if a.startswith("-")]
    if unknown or (where and not named):
        raise UserError(f"{', '.join(unknown) or '--where: needs a RUN'}\n{_USAGE}")

    from asl_exp.config.compose import compose_config

    config = compose_config(overrides)

    if not named and _nothing_to_do(config):
        return 0

    from asl_exp.config.process_setup import collector_paused

    with collector_paused():
        from asl_exp.replica.sync_command import show_where, synchronize

    return show_where(config, named) if where else synchronize(config, named)


def _nothing_to_do(config: "Config") -> bool:
    """Say so where the files tell without MLflow, which takes seconds to load."""
    from asl_exp.replica.ledger import NOTHING_LEFT, Ledger
    from asl_exp.tracking.store_file import all_ended_here, check_store, require_store

    runs_dir = require_store(Path(config.runs_dir))
    check_store(runs_dir)
    if config.tracking.mode not in ("local", "off") or not all_ended_here(runs_dir):
        return False
    try:
        if Ledger(runs_dir).entries():
            return False
    except (OSError, sqlite3.Error):  # named by the longer way
        return False
    print(NOTHING_LEFT)
    return True


if __name__ == "__main__":
    cli.start(main)

"""What the forkserver preloads: all that a run needs, in one go.

A process that is forked as its caller is interrupted reads a work that was not written whole, or
locks that are gone; the caller has said all.
"""

import sys
from pickle import UnpicklingError
from types import TracebackType

from asl_exp.compat.quick_start import load_quickly
from asl_exp.config.process_setup import collector_paused


def _silent_orphan(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Say what ends the process, but where nobody is left who has asked for it."""
    if not isinstance(error, OSError | EOFError | UnpicklingError):
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _silent_orphan

with collector_paused():
    load_quickly("timm", "pytorch_lightning", "mlflow")
    import asl_exp.training.launcher
    import asl_exp.training.run  # noqa: F401

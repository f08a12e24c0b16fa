"""asl_exp: a research harness for American Sign Language letter recognition."""

import os
import signal
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asl_exp import evaluate as evaluate
    from asl_exp.notebook import compare as compare
    from asl_exp.notebook import load as load
    from asl_exp.notebook import train as train

__version__ = "0.1.0"

# ``python -m asl_exp...`` imports this before all else: until cli.start answers Ctrl-C, it ends the
# command without Python's traceback. Whoever imports the package keeps its own ways.
if sys.argv[:1] == ["-m"] and any(one.split(".")[0] == __name__ for one in sys.orig_argv):
    signal.signal(signal.SIGINT, signal.SIG_DFL)

# Read by OpenMP when torch is imported. Threads that spin for long while they wait cost up to 7
# times the images a second on shared cores, threads that never spin 1.6 times those of a small
# network on free ones: they spin for a moment (docs/benchmarks.md, Waiting threads).
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


_OF_NOTEBOOKS = ("compare", "evaluate", "load", "train")


def __dir__() -> list[str]:
    """Return what there is for users, as a notebook completes it."""
    return [*_OF_NOTEBOOKS, "__version__"]


def __getattr__(name: str) -> Any:
    """Load what notebooks use when it is asked for: the package itself stays light."""
    if name == "evaluate":
        return import_module("asl_exp.evaluate")  # which can be called
    if name in _OF_NOTEBOOKS:
        return getattr(import_module("asl_exp.notebook"), name)
    raise AttributeError(f"module 'asl_exp' has no attribute '{name}'")

"""The process that others are forked from: it imports everything once, then only forks.

Started before the caller's own imports, it does its own at the same time; workers of a study's
next trial begin at once.
"""

import multiprocessing
from multiprocessing import forkserver
from typing import Final

METHOD: Final = "forkserver"


def begin_forking(*modules: str) -> None:
    """Start that process where none runs yet; the environment of now is that of all forked.

    Args:
        modules: what it imports beside all that a run needs.
    """
    preloaded = ["asl_exp.training.forked", *modules]
    multiprocessing.get_context(METHOD).set_forkserver_preload(preloaded)
    forkserver.ensure_running()

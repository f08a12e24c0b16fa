"""The process that others are forked from: it imports everything once, then only forks.

Started before the caller's own imports, it does its own at the same time; workers of a study's
next trial begin at once.
"""

import multiprocessing
from multiprocessing import forkserver
from typing import Final

METHOD: Final = "forkserver"


def begin_forking(module: str = "asl_exp.training.run") -> None:
    """Start that process where none runs yet; the environment of now is that of all forked.

    Args:
        module: what it imports, with all that this needs.
    """
    multiprocessing.get_context(METHOD).set_forkserver_preload([module])
    forkserver.ensure_running()

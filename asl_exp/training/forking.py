"""The forkserver: the process from which workers and agents are forked.

It preloads everything once (launcher_preload.py), so those of a study's next trial begin at once.
It is started before the caller's own imports and does its own at the same time; or it is forked
from the caller as soon as that has imported what workers need, which spares 5 CPU s.
"""

import importlib
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from multiprocessing import forkserver, resource_tracker, util
from typing import Any, Final, NoReturn

METHOD: Final = "forkserver"


def begin_forking(*modules: str, from_here: bool = False) -> None:
    """Start that process where none runs yet; the environment of now is that of all forked.

    Args:
        modules: what it imports beside all that a run needs.
        from_here: this process has imported it just now and done nothing with it: no thread, no
            device and no connection that it has could be missed or shared by what is forked from
            it. Only Linux's libraries are made for that.
    """
    preloaded = ["asl_exp.training.launcher_preload", *modules]
    multiprocessing.get_context(METHOD).set_forkserver_preload(preloaded)
    forks = from_here and sys.platform == "linux" and threading.active_count() == 1
    with _deaf_to_interrupts(), _forked_from_here() if forks else nullcontext():
        forkserver.ensure_running()


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Start processes that Ctrl-C at the terminal does not reach; it comes to this one after.

    A blocked signal waits, while it is ignored as well; a new process inherits both.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


@contextmanager
def _forked_from_here() -> Iterator[None]:
    """Fork this process where multiprocessing would start a new Python for its forkserver."""
    resource_tracker.ensure_running()  # which stays a Python of its own
    started, util.spawnv_passfds = util.spawnv_passfds, _fork
    try:
        yield
    finally:
        util.spawnv_passfds = started


def _fork(path: bytes, args: Sequence[Any], passfds: Sequence[int]) -> int:
    """Fork what executes the last argument, in the place of a new Python; return its id."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        pid = os.fork()
        if pid == 0:
            be_forkserver(args[-1], passfds)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    return pid


def be_forkserver(program: str, passed: Sequence[int]) -> NoReturn:
    """Execute a program as a new Python would, with no other files open than those passed.

    Never returns into what the caller is about.
    """
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        sys.unraisablehook = sys.__unraisablehook__
        low = 3
        for number in (*sorted(passed), os.sysconf("SC_OPEN_MAX")):
            os.closerange(low, number)
            low = number + 1
        importlib.reload(forkserver)  # its lock is held, by who waits for this process
        exec(program, {})
    except SystemExit:
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)

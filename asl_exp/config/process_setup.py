"""How a process is set up: when Python's garbage collector runs, and what Ctrl-C and SIGTERM do.

The collector is paused while modules are imported and configurations composed: nothing that modules
hold is garbage, but with every some thousand new objects it looks through them again, for 1.7 of
the 6.9 CPU seconds in which a run imports what it needs.

Signals become an exception that is not lost. A handler runs wherever the signal finds the main
thread; inside a destructor or a weak reference's callback Python prints what it raised and goes on,
so there the signal is sent once more. Inside a transaction of the local record it would leave
SQLite's lock with a connection that nobody closes, and the run could not say any more that it was
killed; inside a call of a study's storage SQLAlchemy makes it an error of the database, which is
waited out: there signals wait.
"""

import atexit
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from asl_exp.config.errors import Interrupted


@contextmanager
def collector_paused() -> Iterator[None]:
    """Collect no garbage inside; afterwards never look at what was made inside again."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        atexit.register(_unfreeze)
        gc.enable()


def _unfreeze() -> None:
    """Let triton find its objects at the end, which it would say were leaked.

    Without torch there is none, and the last look through all objects takes 0.03 CPU seconds.
    """
    if "torch" in sys.modules:
        gc.unfreeze()


_AGAIN_S = 0.05  # after which the destructor that hid the signal has ended


def raise_interrupts(*signals: signal.Signals, once: bool = False) -> None:
    """Raise Interrupted in the main thread at each of these signals.

    Args:
        once: what follows the first is ignored, whichever of them it is, also where the handler was
            put back meanwhile, as Lightning does at the end of a training.
    """
    raised = False

    def interrupt(signum: int, frame: FrameType | None) -> None:
        nonlocal raised
        if once and raised:
            return
        raised = True
        raise Interrupted(128 + signum)

    def sent_again(ignored: Any) -> None:
        nonlocal raised
        if not isinstance(ignored.exc_value, Interrupted):
            sys.__unraisablehook__(ignored)
            return
        raised = False
        signum = ignored.exc_value.exit_status - 128
        timer = threading.Timer(_AGAIN_S, os.kill, (os.getpid(), signum))
        timer.daemon = True
        timer.start()

    sys.unraisablehook = sent_again
    for one in signals:
        signal.signal(one, interrupt)


def end_silently(*signals: signal.Signals) -> None:
    """Let these signals end the process at once from here on: its work is done, all is said."""
    for one in signals:
        signal.signal(one, signal.SIG_DFL)


_INSISTS_S = 2.0  # after which a further signal is a person's who waits, not the same one's echo


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Hold interrupts back inside; the first that came is answered at the end, also of a failure.

    A further one, seconds later, is answered at once: what is inside may wait for a server.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[float, int, FrameType | None]] = []

    def note(signum: int, frame: FrameType | None) -> None:
        came.append((time.monotonic(), signum, frame))
        if came[-1][0] - came[0][0] > _INSISTS_S:
            came.clear()
            answer(signum, frame)

    def answer(signum: int, frame: FrameType | None) -> None:
        handler = before[signal.Signals(signum)]
        if callable(handler):
            handler(signum, frame)
        elif handler == signal.SIG_DFL:
            signal.signal(signum, handler)
            os.kill(os.getpid(), signum)

    before: dict[signal.Signals, Any] = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.getsignal(number)
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            answer(*came[0][1:])

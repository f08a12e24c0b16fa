"""Signals deferred until a write to the local record commits.

An interrupt inside a transaction leaves SQLite's lock with a connection that nobody closes, and
the run could not say any more that it was killed.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Hold interrupts back inside; the first that came is answered at the end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    before = {
        number: signal.signal(number, lambda *got: came.append(got))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        handler = before[signal.Signals(came[0][0])]
        if callable(handler):
            handler(*came[0])
        elif handler == signal.SIG_DFL:
            os.kill(os.getpid(), came[0][0])

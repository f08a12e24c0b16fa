"""An interrupt comes through wherever the signal finds the program."""

import os
import signal
import sys
import time
import weakref

import pytest

from asl_exp.config.errors import Interrupted
from asl_exp.config.process_setup import raise_interrupts


class Thing:
    pass


@pytest.mark.parametrize("once", [False, True])
def test_an_interrupt_inside_a_weak_references_callback_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, *, once: bool
) -> None:
    def signalled(_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)  # where the handler runs

    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    before = signal.getsignal(signal.SIGTERM)
    try:
        raise_interrupts(signal.SIGTERM, once=once)
        thing = Thing()
        reference = weakref.ref(thing, signalled)
        del thing  # Python ignores what is raised here
        assert reference() is None
        with pytest.raises(Interrupted):
            time.sleep(5)
    finally:
        signal.signal(signal.SIGTERM, before)

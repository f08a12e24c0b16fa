"""An interrupt comes through wherever the signal finds the program."""

import os
import signal
import sys
import threading
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


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_what_follows_the_first_is_ignored_also_where_the_handler_was_put_back(
    monkeypatch: pytest.MonkeyPatch, second: signal.Signals
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    both = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in both}
    try:
        raise_interrupts(*both, once=True)
        ours = {number: signal.getsignal(number) for number in both}
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
        with pytest.raises(Interrupted, match="terminated"):
            time.sleep(5)
        for number in both:  # as Lightning does when a training ends
            signal.signal(number, ours[number])
        os.kill(os.getpid(), second)
        time.sleep(0.01)  # where the handler runs
    finally:
        for number in both:
            signal.signal(number, before[number])

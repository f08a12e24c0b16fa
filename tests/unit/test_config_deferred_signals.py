"""An interrupt waits for the end of a write, and is not lost."""

import os
import signal
import time
from collections.abc import Iterator
from types import FrameType

import pytest

from asl_exp.config.errors import Interrupted
from asl_exp.config.process_setup import signals_deferred


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM])
def number(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    """A signal that raises Interrupted, until the test has ended."""

    def interrupt(got: int, frame: FrameType | None) -> None:
        raise Interrupted(128 + got)

    before = signal.signal(request.param, interrupt)
    yield request.param
    assert signal.getsignal(request.param) is interrupt
    signal.signal(request.param, before)


@pytest.mark.parametrize("fails", [False, True])
def test_an_interrupt_comes_after_the_write(number: signal.Signals, fails: bool) -> None:
    written: list[bool] = []

    @signals_deferred()
    def write() -> None:
        os.kill(os.getpid(), number)
        written.append(True)
        if fails:
            raise OSError("the disk is full")

    with pytest.raises(Interrupted):
        write()
    assert written == [True]


def test_who_insists_does_not_wait(number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that never answers must not keep the command for ever."""
    waited = []

    @signals_deferred()
    def wait() -> None:
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        waited.append("an echo is none")
        later = time.monotonic() + 3
        monkeypatch.setattr(time, "monotonic", lambda: later)
        os.kill(os.getpid(), number)
        waited.append("too long")

    with pytest.raises(Interrupted):
        wait()
    assert waited == ["an echo is none"]

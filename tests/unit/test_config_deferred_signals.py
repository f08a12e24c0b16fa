"""An interrupt waits for the end of a write, and is not lost."""

import os
import signal
from types import FrameType

import pytest

from asl_exp.config.errors import Interrupted
from asl_exp.config.process_setup import signals_deferred


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_comes_after_the_write(number: signal.Signals) -> None:
    def interrupt(got: int, frame: FrameType | None) -> None:
        raise Interrupted(128 + got)

    written: list[bool] = []

    @signals_deferred()
    def write() -> None:
        os.kill(os.getpid(), number)
        written.append(True)

    before = signal.signal(number, interrupt)
    try:
        with pytest.raises(Interrupted):
            write()
        assert signal.getsignal(number) is interrupt
    finally:
        signal.signal(number, before)
    assert written == [True]

"""An interrupt comes through wherever the signal finds the program."""

import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import pytest
from conftest import ROOT

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


STRIKES_AT = """
import os, signal, sys
number, module = int(os.environ["STRIKE"]), os.environ["AT"]
def strike(event, given):
    if event == "import" and given[0] == module:
        os.kill(os.getpid(), number)
sys.addaudithook(strike)
"""
"""Read by every Python that starts: the signal comes where a module is imported."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "module",
    ["asl_exp.cli", "asl_exp.config.command_line", "hydra", "asl_exp.config.validate"],
)
def test_a_signal_while_the_command_starts_is_no_traceback(
    module: str, number: signal.Signals, tmp_path: Path
) -> None:
    """Before the command answers signals they end it without a word; afterwards in a sentence."""
    (tmp_path / "sitecustomize.py").write_text(STRIKES_AT)
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "asl_exp", "data=synthetic", "tracking=server",
         "tracking.uri=http://127.0.0.1:9"],
        env={**os.environ, "PYTHONPATH": paths, "STRIKE": str(int(number)), "AT": module},
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    sentence = "asl_exp: interrupted\n" if number == signal.SIGINT else "asl_exp: terminated\n"
    assert (done.returncode, done.stderr) in (
        (-number, ""), (128 + number, sentence)
    ), done.stderr  # fmt: skip


DOOR = """
import atexit, os, signal, sys
from asl_exp import cli
def strike(*_):
    os.kill(os.getpid(), {number})
real = cli.scrubbed
def once_more(text):
    cli.scrubbed = real
    strike()
    return text
def door(arguments):
    {door}
cli.start(door)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("door", "said"),
    [
        ("strike()", True),
        ("return cli.answered('asl_exp', strike)", True),
        ("atexit.register(strike); return 0", False),
        ("atexit.register(strike); return cli.answered('asl_exp', strike)", True),
        ("cli.scrubbed = once_more; return cli.answered('asl_exp', strike)", True),
    ],
)
def test_a_signal_while_the_command_ends_is_no_traceback(
    door: str, number: signal.Signals, tmp_path: Path, *, said: bool
) -> None:
    """Outside all that answers, as Python ends, and once more while the first is told."""
    done = subprocess.run(
        [sys.executable, "-c", DOOR.format(door=door, number=int(number))],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    word = "interrupted" if number == signal.SIGINT else "terminated"
    assert done.returncode in (128 + number, -number)
    assert done.stderr == (f"asl_exp: {word}\n" if said else "")

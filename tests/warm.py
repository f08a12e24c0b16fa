"""What forked commands find done: their process, before it forks, composed and drew once.

Hydra's parser learns its grammar, plugins are looked for and fonts are read at the first use in a
process: a fifth of what a tiny run takes, and in no way another than in the process before.

What such a command forks its own workers from is forked as well, before the command begins: alone
it would import for 8 CPU s what is imported here. Tests that run ``Command`` start a real one.
"""

import json
import os
import re
import signal
import socket
import tempfile
from collections.abc import Sequence
from multiprocessing import util
from pathlib import Path
from typing import NoReturn

import httpx  # noqa: F401  tests/processes.py, which each fork imports, does
import numpy as np
import pytest  # noqa: F401

from asl_exp.config.compose import compose_config
from asl_exp.config.process_setup import collector_paused
from asl_exp.config.signature import told_settings
from asl_exp.evaluation.figures.confusion import confusion_figure
from asl_exp.training.forking import be_forkserver

with collector_paused(), tempfile.TemporaryDirectory() as folder:
    told_settings(compose_config(["experiment=demo", "seed=1"]))
    confusion_figure(Path(folder) / "any.png", np.eye(2, dtype=int), "AB", "any", "any")


def keep_forkserver() -> None:
    """Fork what becomes this process's forkserver, in the place of a new Python, when it asks."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        ours.close()
        _wait_to_be_forkserver(its)
    its.close()
    spawn = util.spawnv_passfds

    def ask(program: bytes, arguments: Sequence[str], passed: Sequence[int]) -> int:
        if "multiprocessing.forkserver" in arguments[-1] and ours.fileno() >= 0:
            asked = json.dumps([arguments[-1], dict(os.environ)]).encode()
            with ours:
                try:
                    socket.send_fds(ours, [asked], passed)
                except BrokenPipeError:  # the signal of a test ended it while it waited
                    os.waitpid(pid, 0)
                else:
                    return pid
        return spawn(program, arguments, passed)

    util.spawnv_passfds = ask


def _wait_to_be_forkserver(asked: socket.socket) -> NoReturn:
    """Wait for the command's word, or its end, deaf to Ctrl-C as those that commands start are."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        said, passed, _, _ = socket.recv_fds(asked, 1 << 20, 2)
        if said:
            main, environment = json.loads(said)
            os.environ.clear()
            os.environ |= environment
            asked.detach()
            program = re.sub(r"main\(\d+, \d+", f"main({passed[0]}, {passed[1]}", main)
            be_forkserver(program, passed)
    finally:
        os._exit(0)

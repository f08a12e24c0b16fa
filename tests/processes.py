"""Commands in processes of their own: started, watched, killed, and never left behind.

``Command`` is a real ``python -m asl_exp``. ``Forked`` runs the same entry point in a process that
is forked from one that has imported everything, which saves seconds where a run is killed often.
"""

import importlib
import json
import multiprocessing
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from multiprocessing import forkserver
from multiprocessing.connection import Listener
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import psutil
import pytest
from made_once import make_once

ROOT = Path(__file__).resolve().parent.parent
POLL_S = 0.002
LEFT_TO_OTHERS = 4
"""Looking takes a fifth of a core at most; the rest is left to the command that is waited for."""
START_S = 120

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        "asl_exp.training.launcher_preload", "warm", "asl_exp.training.folds",
        "asl_exp.replica.sync_command",
        "hydra_plugins.asl_exp_sweeper", "alembic.command", "sqlalchemy.dialects.sqlite",
        "pyarrow.dataset", "asl_exp.evaluation.figures.confusion",
        "asl_exp.evaluation.figures.curves", "asl_exp.evaluation.figures.mistakes",
        "asl_exp.evaluation.figures.probabilities", "matplotlib.backends.backend_agg",
    ]
)  # fmt: skip


@cache
def _forking_begins() -> None:
    """Start the process that is forked from, with this folder on its path, where ``warm`` lies."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = python_paths(Path(__file__).parent)
    try:
        forkserver.ensure_running()
    finally:
        os.environ.pop("PYTHONPATH")
        os.environ |= {"PYTHONPATH": before} if before else {}


def python_paths(*first: Path) -> str:
    """Return a PYTHONPATH: these, the project, and where packages were put for these tests."""
    beside = os.environ.get("PYTHONPATH")
    return os.pathsep.join([*map(str, [*first, ROOT]), *([beside] if beside else [])])


_WHEN_LOADED = """
import importlib.util, sys
class Changed:
    def find_spec(self, name, path=None, target=None):
        if name != {module!r}:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module
        def load_and_change(module):
            load(module)
            change(module)
        spec.loader.exec_module = load_and_change
        return spec
sys.meta_path.insert(0, Changed())
"""


def changed_when_loaded(folder: Path, module: str, change: str) -> Path:
    """Return the folder, for a PYTHONPATH by which every Python changes a module as it loads it.

    Args:
        folder: is made.
        module: its full name.
        change: source of a function ``change(module)``.
    """
    folder.mkdir()
    text = change + _WHEN_LOADED.format(module=module)
    (folder / "sitecustomize.py").write_text(text)
    return folder


class _Watched:
    """What both kinds share; ``log`` holds all that the command said."""

    pid: int
    log: Path

    def alive(self) -> bool:
        raise NotImplementedError

    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def wait_until(self, true: Callable[[], Any], timeout: float = 120) -> Any:
        """Return what is true as soon as it is; fail if the command ends or time is up before."""
        deadline = time.monotonic() + timeout
        while True:
            began = time.thread_time()
            value = true()
            if value:
                return value
            assert self.alive(), f"ended before it was time:\n{self.text()}"
            assert time.monotonic() < deadline, f"not within {timeout} s:\n{self.text()}"
            time.sleep(max(POLL_S, LEFT_TO_OTHERS * (time.thread_time() - began)))

    def wait_for(self, words: str, timeout: float = 120) -> None:
        """Wait until the command has said these words."""
        self.wait_until(lambda: words in self.text(), timeout)

    def tree(self) -> list[psutil.Process]:
        """Return the process and all below it; each knows when it was started, not only its id."""
        try:
            top = psutil.Process(self.pid)
            return [top, *top.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def workers(self) -> list[psutil.Process]:
        """Return the processes of the ranks: what the command's own forking process has forked."""
        below = psutil.Process(self.pid).children()
        return sorted((w for child in below for w in child.children()), key=lambda w: w.pid)

    def kill(self) -> None:
        """Kill -9 the process and all below it, at one moment."""
        kill_all(self.tree())

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class Command(_Watched):
    """``python -m asl_exp ARGUMENTS``, or another module."""

    def __init__(
        self,
        cwd: Path,
        *arguments: str,
        prefix: Sequence[str] = (),
        python_path: Sequence[Path] = (),
        **variables: str,
    ) -> None:
        cwd.mkdir(parents=True, exist_ok=True)
        self.log = cwd / f"log{time.monotonic_ns()}.txt"
        paths = python_paths(*python_path)
        fixed = {"PYTHONPATH": paths, "NO_COLOR": "1", "PYTHONUNBUFFERED": "1", "TERM": "dumb"}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "asl_exp", *arguments], cwd=cwd,
                stdout=log, stderr=log, env={**os.environ, **fixed, **variables},
            )  # fmt: skip
        self.pid = self.process.pid

    def alive(self) -> bool:
        return self.process.poll() is None

    def wait(self, timeout: float = 120) -> int:
        """Return the exit status, negative for the signal that ended it."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not end within {timeout} s:\n{self.text()}") from None

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.process.wait(10)


class Forked(_Watched):
    """``python -m MODULE ARGUMENTS`` without the seconds of importing.

    ``errors`` holds what it says on standard error, which is the log where none is given.
    """

    def __init__(
        self,
        cwd: Path,
        *arguments: str,
        module: str = "asl_exp",
        errors: Path | None = None,
        **variables: str,
    ) -> None:
        cwd.mkdir(parents=True, exist_ok=True)
        self.log = cwd / f"log{time.monotonic_ns()}.txt"
        given = (module, arguments, variables, str(cwd), str(self.log), str(errors or self.log))
        _forking_begins()
        self.process = _context.Process(target=_main, args=given)
        self.process.start()
        assert self.process.pid is not None
        self.pid = self.process.pid

    def alive(self) -> bool:
        return self.process.is_alive()

    def wait(self, timeout: float = 120) -> int:
        self.process.join(timeout)
        if self.process.exitcode is None:
            self.kill()
            raise AssertionError(f"did not end within {timeout} s:\n{self.text()}")
        return self.process.exitcode

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.process.join(10)


def ended(
    cwd: Path, *arguments: str, module: str = "asl_exp", timeout: float = 120
) -> "subprocess.CompletedProcess[str]":
    """Run a forked command to its end and return what ``subprocess.run`` would."""
    errors = cwd / f"errors{time.monotonic_ns()}.txt"
    with Forked(cwd, *arguments, module=module, errors=errors) as run:
        status = run.wait(timeout)
        return subprocess.CompletedProcess(arguments, status, run.text(), errors.read_text())


_CLIENT = f"""#!{sys.executable}
import os, sys
from multiprocessing.connection import Client

with Client(os.path.join(os.path.dirname(__file__), "socket")) as asked:
    asked.send((os.getcwd(), sys.argv[1:]))
    status, said, errors = asked.recv()
sys.stdout.write(said)
sys.stderr.write(errors)
sys.exit(status)
"""


@contextmanager
def forking_python(folder: Path) -> Iterator[Path]:
    """Yield the folder, for PATH: its ``python -m MODULE ARGUMENTS`` is a command that is forked.

    For programs that start commands themselves, one after the other, and send them no signals.
    The code is that of this project, wherever the command is started.
    """
    folder.mkdir()
    (folder / "python").write_text(_CLIENT)
    (folder / "python").chmod(0o755)
    with Listener(str(folder / "socket"), "AF_UNIX") as listener:
        Thread(target=_answer, args=(listener,), daemon=True).start()
        yield folder


def _answer(listener: Listener) -> None:
    """Run what is asked for, until the listener is closed."""
    while True:
        try:
            client = listener.accept()
        except OSError:
            return
        with client:
            cwd, (_, module, *arguments) = client.recv()
            done = ended(Path(cwd), *arguments, module=module, timeout=600)
            client.send((done.returncode, done.stdout, done.stderr))


def _main(
    module: str,
    arguments: tuple[str, ...],
    variables: dict[str, str],
    cwd: str,
    log: str,
    errors: str,
) -> None:
    os.chdir(cwd)
    os.environ |= {"NO_COLOR": "1", "TERM": "dumb", **variables}
    make_once()
    for number, said in ((1, log), (2, errors)):
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.stdout = os.fdopen(1, "w", buffering=1)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    warm = importlib.import_module("warm")  # is there, but where another test began the forking
    if any(word in argument for argument in arguments for word in ("devices=", "agents=")):
        warm.keep_forkserver()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__")


@contextmanager
def served(
    command: Sequence[str | Path], cwd: Path, port: int, ping: str, **variables: str
) -> Iterator[str]:
    """Run a server, wait until its page ``ping`` answers, and yield where it listens."""
    url, log = f"http://127.0.0.1:{port}", cwd / "server.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            command, cwd=cwd, stdout=said, stderr=said, env={**os.environ, **variables}
        )
    try:
        deadline = time.monotonic() + START_S
        while not _answers(f"{url}/{ping}"):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield url
    finally:
        top = psutil.Process(process.pid)
        kill_all([top, *top.children(recursive=True)])
        process.wait(10)


def _answers(url: str) -> bool:
    try:  # certificates, which plain HTTP has no use for, take 37 ms to read each time
        return httpx.get(url, timeout=5, verify=False).status_code == 200
    except httpx.TransportError:
        return False


def chromium() -> tuple[Any, str]:
    """Return Playwright's module and the browser's file; skip where either is missing."""
    playwright = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    return playwright, program


def kill_all(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue


def left(processes: Iterable[psutil.Process], within_s: float = 30) -> list[psutil.Process]:
    """Return those that still run after a time; a process that waits to be reaped has ended."""
    deadline, running = time.monotonic() + within_s, list(processes)
    while running and time.monotonic() < deadline:
        running = [one for one in running if _runs(one)]
        time.sleep(0.02)
    return running


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def result_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return content


def run_folders(runs: Path) -> list[Path]:
    """Return the folders in which a run has begun, oldest first."""
    return sorted(path.parent for path in runs.rglob("result.json")
                  if "mlartifacts" not in path.parts)  # fmt: skip


def mlflow_run(runs: Path, folder: Path) -> Any:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{runs.resolve() / 'mlflow.db'}")
    return client.get_run(result_of(folder)["mlflow_run_id"])


def history(runs: Path, folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return every point of a run's metrics, those of the machine left out, in order of steps."""
    from mlflow.tracking import MlflowClient

    client, run = (
        MlflowClient(f"sqlite:///{runs.resolve() / 'mlflow.db'}"),
        mlflow_run(runs, folder),
    )
    return {
        key: sorted((p.step, p.value) for p in client.get_metric_history(run.info.run_id, key))
        for key in run.data.metrics
        if not key.startswith("system/")  # what the machine did is never twice the same
    }


def outcome(runs: Path, folder: Path) -> dict[str, Any]:
    """Return all that two runs of one configuration must have in common, to the last bit."""
    result, points = result_of(folder), history(runs, folder)
    timed = "images_per_second"
    for key, steps in points.items():
        assert len({step for step, _ in steps}) == len(steps), f"{key} has two points at a step"
    return {
        "status": (result["status"], mlflow_run(runs, folder).info.status),
        "metrics": {key: value for key, value in result["metrics"].items() if key != timed},
        "kept": (result["kept_epochs"], result["objective"], result["monitor"]),
        "steps": [step for step, _ in points[timed]],
        "history": {key: steps for key, steps in points.items() if key != timed},
    }

"""How doors end: the exit status and the message of every kind of error."""

import errno
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, environment

from asl_exp import cli
from asl_exp.config.console import Console
from asl_exp.config.errors import (
    ConfigError,
    DataError,
    Interrupted,
    NonFiniteLossError,
    PastHydra,
    RunError,
    StorageError,
    UserError,
)
from asl_exp.config.redact import csv_cell, printable


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (UserError("no file"), 2, "door: no file\n"),
        (DataError("no image"), 2, "door: no image\n"),
        (ConfigError(["a: b"]), 2, "door: 1 fault in the configuration:\n  a: b\n"),
        (RunError("broke"), 1, "door: broke\n"),
        (NonFiniteLossError("nan"), 1, "door: nan\n"),
        (PastHydra(StorageError("full")), 1, "door: full\n"),
        (PastHydra(UserError("no")), 2, "door: no\n"),
        (KeyboardInterrupt(), 130, "door: interrupted; more\n"),
        (Interrupted(130), 130, "door: interrupted; more\n"),
        (Interrupted(143), 143, "door: terminated; more\n"),
        (UserError("a\x1b[31mb\x9bc\u202ed\udcff"), 2, "door: a\\x1b[31mb\\x9bc\\u202ed\\xff\n"),
        (UserError("http://me:secret@host/x"), 2, "door: http://***@host/x\n"),
    ],
)
def test_every_error_has_a_status_and_one_message(
    error: BaseException, status: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> int:
        raise error

    assert cli.answered("door", command, interrupted="more") == status
    assert capsys.readouterr() == ("", told)


FULL, READ_ONLY = OSError(errno.ENOSPC, "No space left on device"), "Read-only file system"


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/tmp/a.onnx"), 1,
         "cannot write to '/tmp/a.onnx' (No space left on device); make room, then the same"),
        (FULL, 1, "a file could not be written (No space left on device); make room"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/x/y"), 1, "(Disk quota exceeded); make ro"),
        (OSError(errno.EFBIG, "File too large", b"/x/y"), 1, "raise the limit on the size of fil"),
        (sqlite3.OperationalError("database or disk is full"), 1, "(disk is full); make room"),
        (shutil.Error([("a", "b", "[Errno 28] No space left on device")]), 1, "make room"),
        (OSError(errno.EROFS, f"[Errno 30] Failed to open local file '/m/p.parquet'. {READ_ONLY}"),
         2, "'/m/p.parquet': read-only file system; give another path"),
        (OSError(errno.ENOSPC, "[Errno 28] Failed to open local file '/m/p.parquet'."), 1,
         "cannot write to '/m/p.parquet' (No space left on device); make room"),
        (OSError(errno.EROFS, READ_ONLY, "/m/model.onnx"), 2, "'/m/model.onnx': read-only file"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/proc/x"), 2,
         "'/proc/x': no such file or directory; give another path"),
        (PermissionError(errno.EACCES, "Permission denied", "/m/x"), 2, "'/m/x': permission"),
    ],
)  # fmt: skip
def test_a_place_that_takes_nothing_is_one_sentence(
    error: Exception, status: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> int:
        raise error

    assert cli.answered("door", command) == status
    said = capsys.readouterr().err
    assert said.startswith("door: ")
    assert told in said
    assert said.count("\n") == 1


def test_statuses_of_commands_are_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert [cli.answered("door", lambda s=s: s) for s in (None, 0, 1)] == [0, 0, 1]  # type: ignore[misc]
    with pytest.raises(ZeroDivisionError):
        cli.answered("door", lambda: 1 // 0)
    assert capsys.readouterr().err == ""


def test_a_missing_package_gets_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        raise ModuleNotFoundError("No module named 'hydra'", name="hydra")

    assert cli.answered("door", command) == 2
    assert "'hydra' is not installed" in capsys.readouterr().err
    with pytest.raises(ModuleNotFoundError):
        cli.answered("door", lambda: __import__("asl_exp.nothing"))


@pytest.mark.parametrize("module", ["asl_exp", "asl_exp.predict", "asl_exp.sync", "asl_exp.data"])
def test_without_the_environment_doors_say_how_to_get_it(module: str, tmp_path: Path) -> None:
    arguments = {"asl_exp.data": ["audit"]}.get(module, [str(ROOT), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-S", "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
         f"import runpy; sys.argv=['x', *{arguments[: 1 if module == 'asl_exp' else 2]!r}]; "
         f"runpy.run_module({module!r}, run_name='__main__', alter_sys=False)"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "is not installed for" in done.stderr
    assert "Traceback" not in done.stderr


_NOBODY = """import pwd
def getpwuid(uid):
    raise KeyError(uid)
pwd.getpwuid = getpwuid
"""


def test_a_user_of_no_name_and_no_home_and_odd_variables_end_no_command(tmp_path: Path) -> None:
    """In containers and batch jobs nobody may have set these, or somebody for other programs."""
    (tmp_path / "sitecustomize.py").write_text(_NOBODY)
    odd = {"MPLBACKEND": "nonsense", "PYTHONWARNINGS": "error", "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    kept = {k: v for k, v in environment().items() if k not in ("HOME", "USER", "LOGNAME")}
    done = subprocess.run(
        [sys.executable, "-m", "asl_exp.evaluate", "nowhere"], cwd=tmp_path,
        env={**kept, **odd}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert "asl_exp.evaluate: nowhere: no such folder" in done.stderr
    assert done.returncode == 2


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_door_that_is_interrupted_says_so(number: int, status: int, tmp_path: Path) -> None:
    code = (
        "import time\nfrom asl_exp import cli\n"
        "def wait():\n  print('ready', flush=True)\n  time.sleep(30)\n"
        "cli.start(lambda _: cli.answered('door', wait))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
    assert process.returncode == status
    assert said in ("door: interrupted\n", "door: terminated\n")


def test_a_reader_that_has_left_is_no_traceback(tmp_path: Path) -> None:
    code = (
        "from asl_exp import cli\n"
        "def tell():\n  for i in range(100000): print(i)\n"
        "cli.start(lambda _: cli.answered('door', tell))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        time.sleep(0.01)
        assert process.stderr is not None
        said = process.stderr.read()
    assert said == b""


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("photo.png", "photo.png"),
        ("[red]z.png", "[red]z.png"),
        ("x[/b]y", "x[/b]y"),
        (":smile: [link=http://a]b[/link]", ":smile: [link=http://a]b[/link]"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\rb\x08\x00", "a\\rb\\x08\\x00"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\u200bempty", "\\u200bempty"),
        ("буква Ä 手", "буква Ä 手"),
        ("bytes\udcfe", "bytes\\xfe"),
    ],
)
def test_names_are_shown_as_written(
    given: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.table import Table

    assert printable(given) == shown
    console = Console()
    table = Table(title=given, box=None)
    table.add_column(given)
    table.add_row(given)
    console.print(given, soft_wrap=True)
    console.print(table)
    assert capsys.readouterr().out.count(shown) == 4


@pytest.mark.parametrize(
    "name", ["=HYPERLINK(1)", "+1", "-1", "@SUM", " =1", "\tx", "\rx", "\uff1d1", "\uff0b1"]
)
def test_no_cell_is_a_formula(name: str) -> None:
    assert csv_cell(name) == f"'{name}"
    assert csv_cell(f"a{name}") == f"a{name}"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_a_server_is_ended_by_ctrl_c_without_a_fault(number: int, status: int) -> None:
    code = (
        "import os, socket, sys\nfrom asl_exp import cli\n"
        "from asl_exp.tracking.local_server import run_server\n"
        "with socket.socket() as free:\n  free.bind(('127.0.0.1', 0))\n"
        "  port = free.getsockname()[1]\n"
        "server = [sys.executable, '-m', 'http.server', str(port), '--bind', '127.0.0.1']\n"
        "serve = lambda: run_server(server, os.environ, 'page', ('127.0.0.1', port))\n"
        "cli.start(lambda _: cli.answered('door', serve))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment(),
    ) as door:  # fmt: skip
        assert door.stdout is not None
        assert any(line.startswith("open page") for line in door.stdout)  # after the server's own
        door.send_signal(number)
        assert door.wait(30) == status


@pytest.mark.parametrize(("terminal", "loaded"), [(True, False), (True, True), (False, False)])
def test_the_first_seconds_are_not_silent_at_a_terminal(
    terminal: bool, loaded: bool, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    if loaded:
        monkeypatch.setitem(sys.modules, "torch", sys)
    else:
        monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    cli.say_loading()
    monkeypatch.undo()
    assert capsys.readouterr().err == ("loading PyTorch and MLflow ...\n" * (terminal > loaded))

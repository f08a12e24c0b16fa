"""A real PostgreSQL server, started for a test on a free port of this machine and ended with it."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from servers.mlflow_server import free_port

_DEBIANS = Path("/usr/lib/postgresql")
_COMMAND_S = 60


def _missing() -> str | None:
    """Return why no server can be started or used here, None if one can."""
    if find_spec("psycopg") is None:
        return "no psycopg, PostgreSQL's driver"
    if _program("initdb") is None:
        return "no PostgreSQL server (Debian: postgresql)"
    if os.geteuid() == 0 and (_ordinary_user() is None or shutil.which("setpriv") is None):
        return "PostgreSQL does not run as root, and there is no other user to run it as"
    return None


@pytest.fixture
def database() -> Iterator[str]:
    """The address of an empty database, postgresql://..., on a server of its own."""
    if reason := _missing():
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="aslexp_pg"))
    user = _ordinary_user() if os.geteuid() == 0 else None
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)
    data, log, port = folder / "data", folder / "log.txt", free_port()
    options = f"-h 127.0.0.1 -p {port} -k {folder} -c fsync=off"
    try:
        _run(user, "initdb", f"--pgdata={data}", "--username=asl", "--auth=trust", "--no-sync")
        _run(user, "pg_ctl", "start", f"--pgdata={data}", f"--log={log}", f"--options={options}",
             "--wait")  # fmt: skip
        try:
            yield f"postgresql://asl@127.0.0.1:{port}/postgres"
        finally:
            _run(user, "pg_ctl", "stop", f"--pgdata={data}", "--mode=immediate", "--wait")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def drop_connections(address: str) -> None:
    """Have the server end the connections of all its clients."""
    import psycopg

    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )


def _run(user: pwd.struct_passwd | None, program: str, *arguments: str) -> None:
    command = [str(_program(program)), *arguments]
    if user is not None:
        command = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups",
                   *command]  # fmt: skip
    done = subprocess.run(
        command, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, timeout=_COMMAND_S, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{program}: {done.stderr}")


def _program(name: str) -> Path | None:
    """Return a program of the server, which Debian keeps outside the path."""
    found = shutil.which(name)
    if found is not None:
        return Path(found)
    return max(_DEBIANS.glob(f"*/bin/{name}"), default=None)


def _ordinary_user() -> pwd.struct_passwd | None:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return None

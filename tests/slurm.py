"""A real SLURM of one node, this machine, started for a test and ended with it.

Everything lies in a temporary folder: the configuration, the key, the state, the logs. The commands
srun, sbatch, squeue and scontrol find it by ``SLURM_CONF``.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

COMMANDS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "scontrol")
CPUS = 4
STARTS_WITHIN_S = 30

_CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """Return why no SLURM can be started here, None if one can."""
    absent = [name for name in COMMANDS if shutil.which(name) is None]
    if absent:
        return f"no {', '.join(absent)} (Debian: slurm-wlm and munge)"
    return None if os.geteuid() == 0 else "slurmd needs root"


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Start the three daemons; give the variables by which commands find them; end them."""
    folder.mkdir(parents=True)
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    host = socket.gethostname().partition(".")[0]
    ports = _free_ports(2)
    config = folder / "slurm.conf"
    config.write_text(_CONFIG.format(
        host=host, controller_port=ports[0], node_port=ports[1], folder=folder, cpus=CPUS,
    ))  # fmt: skip
    key = folder / "munge.key"
    key.touch(0o600)
    key.write_bytes(os.urandom(1024))
    variables = {"SLURM_CONF": str(config)}
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        for command in (
            ["munged", "-F", "--force", f"--socket={folder}/munge.socket", f"--key-file={key}",
             f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log",
             f"--seed-file={folder}/munged.seed"],
            ["slurmctld", "-D", "-c", "-f", str(config)],
            ["slurmd", "-D", "-c", "-f", str(config)],
        ):  # fmt: skip
            daemons.append(_start(command, folder, variables))
        _wait_until_idle(variables, folder)
        yield variables
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            _end(daemon)


def _start(
    command: list[str], folder: Path, variables: dict[str, str]
) -> "subprocess.Popen[bytes]":
    with (folder / f"{command[0]}.out").open("wb") as log:
        return subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, env={**os.environ, **variables}
        )


def _end(daemon: "subprocess.Popen[bytes]") -> None:
    try:
        daemon.wait(10)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait(10)


def _wait_until_idle(variables: dict[str, str], folder: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < deadline:
        told = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"], env={**os.environ, **variables},
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        if told.stdout.strip() == "idle":
            return
        time.sleep(0.2)
    logs = "; ".join(f"{path.name}: {path.read_text()[-300:]}" for path in folder.glob("*.out"))
    pytest.skip(f"SLURM has not started within {STARTS_WITHIN_S} s: {logs}")


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()

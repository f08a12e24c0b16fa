"""An MLflow server as a process of its own, of either version, that can be killed and come back."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
from processes import ROOT, kill_all

OLD = ROOT / ".cache" / "mlflow-2.7.1" / "bin"
"""Made by ``make mlflow-2.7.1``."""

START_S = 90


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class MlflowServer:
    """``mlflow server`` with a database and proxied artifacts in a folder of its own.

    Args:
        version: "3" or "2.7.1".
        folder: of the server.
        store: another database, to look at its runs.
    """

    def __init__(self, version: str, folder: Path, store: Path | None = None) -> None:
        self.version, self.folder, self.port = version, folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "server.log"
        self._store = store or folder / "mlflow.db"
        folder.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "MlflowServer":
        """Start on the same port as before, and return when it answers."""
        old, alone = self.version == "2.7.1", Path(__file__).with_name("one_process.py")
        programs = OLD if old else Path(sys.executable).parent
        mlflow = [programs / "mlflow"] if old else [sys.executable, "-P", alone]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*mlflow, "server", "--host", "127.0.0.1", "--port", str(self.port),
                 "--backend-store-uri", f"sqlite:///{self._store}", "--workers", "1",
                 "--serve-artifacts", "--artifacts-destination", str(self.folder / "artifacts")],
                cwd=self.folder, stdout=log, stderr=log, env=_environment(programs),
            )  # fmt: skip
        self._wait()
        return self

    def kill(self) -> None:
        """Kill -9 the server and its workers, as a machine that fails."""
        if self._process is None:
            return
        try:
            top = psutil.Process(self._process.pid)
            kill_all([top, *top.children(recursive=True)])
        except psutil.NoSuchProcess:
            pass
        self._process.wait(10)
        self._process = None

    def lose_database(self) -> None:
        """Forget every experiment and run; only while it is killed."""
        assert self._process is None
        for file in self.folder.glob("mlflow.db*"):
            file.unlink()
        shutil.rmtree(self.folder / "artifacts", ignore_errors=True)

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.05)
        self.kill()
        raise AssertionError(f"MLflow {self.version} did not start:\n{self.log.read_text()}")


def _environment(programs: Path) -> dict[str, str]:
    """Return variables without a tracking address or the test's own package path."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name != "PYTHONPATH" and not name.startswith(("MLFLOW_", "DAGSHUB_"))
    }
    return kept | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "GIT_PYTHON_REFRESH": "quiet",
    }

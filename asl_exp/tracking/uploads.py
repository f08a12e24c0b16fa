"""Sends the files of a run that a replica lacks; one that it will not take stops no other."""

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import urlsplit

from asl_exp.tracking.contents import Sent
from asl_exp.tracking.ledger import Ledger
from asl_exp.tracking.local_run import LocalRun, file_mark
from asl_exp.tracking.server import NotNowError, RejectedError, Server

_THROUGH_SERVER: Final = "mlflow-artifacts"
_ITS_OWN_DISK: Final = (
    "the server keeps artifacts on its own disk and takes none (start it with --serve-artifacts)"
)
_AT_ONCE, _NOTED_AT_ONCE = 8, 20
_GIVE_UP: Final = 16  # files that did not arrive: the server is down, no use in asking it more

Opened = Callable[[str, Path], AbstractContextManager[IO[bytes]]]
"""How a file is opened: a progress bar may look on."""


def open_plainly(name: str, path: Path) -> IO[bytes]:
    """Open a file that nobody watches."""
    return path.open("rb")


@dataclass(frozen=True)
class Uploads:
    """The files of one local run on their way into one run of a replica."""

    local: LocalRun
    artifact_uri: str
    server: Server
    ledger: Ledger
    sent: Sent
    open_file: Any = open_plainly

    def send(self, *, refused_too: bool = False) -> dict[str, str]:
        """Send all that is missing; return the files that the server refused, with its reason.

        Args:
            refused_too: try again what was refused before.

        Raises:
            NotNowError: some files did not arrive, for a reason that may pass.
        """
        run_id, address = self.local.run_id, self.server.address
        known = self.ledger.items(run_id, address, "artifact")
        refused = self.ledger.items(run_id, address, "refused")
        missing = {
            name: path
            for name, path in self.local.artifacts.items()
            if known.get(name) != file_mark(path)
            and (refused_too or not refused.get(name, "").startswith(f"{file_mark(path)} "))
        }
        self._send_several(missing)
        refused = self.ledger.items(run_id, address, "refused")
        return {
            name: mark.partition(" ")[2]
            for name, mark in refused.items()
            if name in self.local.artifacts
        }

    def _send_several(self, missing: Mapping[str, Path]) -> None:
        """Send several files at a time: most are small, and servers far away."""
        left, failed = iter(missing.items()), list[Exception]()
        arrived: dict[str, str] = {}
        one_at_a_time = threading.Lock()

        def work() -> None:
            while len(failed) < _GIVE_UP:
                with one_at_a_time:
                    name, path = next(left, ("", None))
                if path is None:
                    return
                try:
                    mark = file_mark(path)
                    self._upload(name, path)
                except RejectedError as error:
                    self._refused(name, f"{mark} {error}")
                except Exception as error:  # raised where the threads are joined
                    failed.append(error)
                else:
                    with one_at_a_time:
                        arrived[name] = mark
                        self._note(arrived, at_least=_NOTED_AT_ONCE)

        # not a pool: the interpreter would wait for its threads, however long an upload takes
        count = min(_AT_ONCE, len(missing))
        threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._note(arrived)
        if failed:
            worst = next(
                (e for e in failed if not isinstance(e, NotNowError | OSError)), failed[-1]
            )
            raise NotNowError(str(worst)) if isinstance(worst, OSError) else worst

    def _refused(self, name: str, mark: str) -> None:
        self.ledger.note(self.local.run_id, self.server.address, "refused", {name: mark})

    def _note(self, arrived: dict[str, str], *, at_least: int = 1) -> None:
        """Write down what has arrived, some files at a time: each writing waits for the disk."""
        if len(arrived) >= at_least:
            run_id, address = self.local.run_id, self.server.address
            self.ledger.note(run_id, address, "artifact", arrived)
            self.ledger.drop(run_id, address, "refused", *arrived)
            self.sent.artifacts += len(arrived)
            self.sent.size += sum(int(mark.partition(":")[0]) for mark in arrived.values())
            arrived.clear()

    def _upload(self, name: str, path: Path) -> None:
        size = path.stat().st_size
        parts = urlsplit(self.artifact_uri)
        if parts.scheme == _THROUGH_SERVER:
            within = f"{parts.path.strip('/')}/{name}"
            self.server.put_file(within, size, lambda: self.open_file(name, path))
        elif parts.scheme in ("", "file"):
            raise RejectedError(_ITS_OWN_DISK)
        else:
            self._upload_past_server(name, path)

    def _upload_past_server(self, name: str, path: Path) -> None:
        """Send to S3 and its like, where the server names such a place."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        folder = name.rpartition("/")[0]
        try:
            store = get_artifact_repository(self.artifact_uri)
            store.log_artifact(str(path), folder or None)  # type: ignore[no-untyped-call]
        except Exception as error:  # each kind of store has its own
            raise NotNowError(f"{self.artifact_uri}: {type(error).__name__}") from error

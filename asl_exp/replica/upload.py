"""Sends what a replica's run still lacks: params, tags, metrics and datasets in batches, and files.

A file that the replica will not take stops no other.
"""

import json
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from sys import float_info
from typing import IO, Any, Final
from urllib.parse import urlsplit

from asl_exp.compat.mlflow import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE, upload
from asl_exp.config.names import Tag
from asl_exp.replica.api import NotNowError, RejectedError, Server, paged
from asl_exp.replica.ledger import Account, Kind
from asl_exp.replica.local_run import LocalRun, Point, digest, file_mark

_PARAM_BATCH, _METRIC_BATCH = 100, 1000  # of a call; MLflow's limits, tags as params
_LARGEST_CALL: Final = 500_000  # characters; MLflow's limit is a million bytes


@dataclass
class Sent:
    """How much of one run was delivered."""

    params: int = 0
    tags: int = 0
    points: int = 0
    inputs: int = 0
    artifacts: int = 0
    size: int = 0  # bytes, of the artifacts

    def __bool__(self) -> bool:
        return any((self.params, self.tags, self.points, self.inputs, self.artifacts))


@dataclass(frozen=True)
class Contents:
    """One local run on its way into one run of a replica.

    Attributes:
        altered: metric to how many of its points have another value there.
    """

    local: LocalRun
    replica_run_id: str
    parent_id: str | None
    server: Server
    account: Account
    sent: Sent
    altered: dict[str, int] = field(default_factory=dict)

    def send(self) -> None:
        """Send all that is missing; what was sent is written down after each answer."""
        self._params()
        self._tags()
        self._points()
        self._inputs()

    def _params(self) -> None:
        longest, _ = self.server.value_lengths
        for batch in _batches(self._changed("param", self.local.params), _PARAM_BATCH):
            self._log({"params": [_pair(key, value[:longest]) for key, value in batch]})
            self._note("param", dict(batch))
            self.sent.params += len(batch)

    def _tags(self) -> None:
        _, longest = self.server.value_lengths
        tags = self.tags_there()
        for batch in _batches(self._changed("tag", tags), _PARAM_BATCH):
            self._log({"tags": [_pair(key, value[:longest]) for key, value in batch]})
            self._note("tag", dict(batch))
            self.sent.tags += len(batch)
        for key in self.account.items("tag").keys() - tags.keys():
            self.server.post("/runs/delete-tag", {"run_id": self.replica_run_id, "key": key})
            self.account.drop("tag", key)

    def tags_there(self) -> dict[str, str]:
        """Return the tags as the replica is to have them; its parent has another id there."""
        tags = self.local.tags | {Tag.LOCAL_RUN: self.local.run_id}
        tags.pop(MLFLOW_PARENT_RUN_ID, None)
        if MLFLOW_RUN_NOTE in tags:  # its pictures are found by the run's id
            note = tags[MLFLOW_RUN_NOTE].replace(self.local.run_id, self.replica_run_id)
            tags[MLFLOW_RUN_NOTE] = note
        return tags | ({MLFLOW_PARENT_RUN_ID: self.parent_id} if self.parent_id else {})

    def _changed(self, kind: Kind, values: Mapping[str, str]) -> list[tuple[str, str]]:
        known = self.account.items(kind)
        return [(k, v) for k, v in values.items() if known.get(k) != digest(v)]

    def _points(self) -> None:
        """Send the points that are missing, oldest first.

        A log-batch without an answer may have been done. MLflow's databases leave out a point that
        they have, its folders do not; so after any doubt the replica is asked what it has.
        """
        known, doubtful = self.account.items("metric"), self.account.entry().doubtful
        marks, missing = {}, []
        for key in self.local.run.data.metrics:
            points = self.local.points(key)
            marks[key] = _mark(points)
            if known.get(key) != marks[key]:
                count = _delivered(points, known.get(key))
                rest = points if count is None else points[count:]
                asked = doubtful or count is None
                missing += [(key, p) for p in (self._lacking(key, rest) if asked else rest)]
        missing.sort(key=lambda entry: entry[1][:2])
        if missing:
            self.account.doubt(True)
        for batch in _batches(missing, _METRIC_BATCH):
            self._log_points(batch)
        self.account.note("metric", {k: m for k, m in marks.items() if known.get(k) != m})
        if missing or doubtful:
            self.account.doubt(False)

    def _log_points(self, batch: Sequence[tuple[str, Point]]) -> None:
        """Send one batch; before a repetition, ask which of its points have arrived after all."""
        left, first = list(batch), True

        def log() -> None:
            nonlocal left, first
            if not first:
                keys = {key for key, _ in left}
                lacking = {k: self._lacking(k, [p for key, p in left if key == k]) for k in keys}
                left = [(key, point) for key, point in left if point in lacking[key]]
            first = False
            if left:
                metrics = [_metric(key, point) for key, point in left]
                self.server.post_once(
                    "/runs/log-batch", {"run_id": self.replica_run_id, "metrics": metrics}
                )

        self.server.repeated(log)
        self.sent.points += len(batch)

    def _lacking(self, key: str, points: Sequence[Point]) -> list[Point]:
        """Return those that the replica does not have; it is asked."""
        query = {"run_id": self.replica_run_id, "metric_key": key}
        of_key = paged(
            lambda page: self.server.get("/metrics/get-history", **query, **page), "metrics"
        )
        there: dict[tuple[int, int], list[float]] = {}
        with self.server.reading():
            for one in of_key:
                at = int(one["timestamp"]), int(one.get("step", 0))
                there.setdefault(at, []).append(float(one.get("value", 0)))
        lacking, altered = [], 0
        for point in points:
            values = there.get(point[:2])
            if not values:
                lacking.append(point)
                continue
            same = [place for place, value in enumerate(values) if _equal(value, point.value)]
            values.pop(same[0] if same else 0)  # a point there cannot be changed, nor taken back
            altered += not same
        if altered:
            self.altered[key] = altered
        return lacking

    def _inputs(self) -> None:
        known = self.account.items("input")
        missing = {k: v for k, v in self.local.inputs.items() if digest(k) not in known}
        if missing:
            body = {"run_id": self.replica_run_id, "datasets": list(missing.values())}
            self.server.post("/runs/log-inputs", body)
            self.account.note("input", {digest(k): "" for k in missing})
            self.sent.inputs += len(missing)

    def _note(self, kind: Kind, values: Mapping[str, str]) -> None:
        self.account.note(kind, {key: digest(value) for key, value in values.items()})

    def _log(self, content: Mapping[str, Any]) -> None:
        self.server.post("/runs/log-batch", {"run_id": self.replica_run_id, **content})


def _batches(entries: Sequence[Any], count: int) -> Iterator[Sequence[Any]]:
    """Yield parts of at most so many entries, none larger than a call may be."""
    batch: list[Any] = []
    size = 0
    for entry in entries:
        size += len(json.dumps(entry))
        if batch and (len(batch) == count or size > _LARGEST_CALL):
            yield batch
            batch, size = [], len(json.dumps(entry))
        batch.append(entry)
    if batch:
        yield batch


def _pair(key: str, value: str) -> dict[str, str]:
    return {"key": key, "value": value}


def _equal(there: float, here: float) -> bool:
    """Return whether a value has arrived; servers may round, and have no infinity."""
    if math.isnan(there) or math.isnan(here):
        return math.isnan(there) and math.isnan(here)
    finite = [max(-float_info.max, min(float_info.max, value)) for value in (there, here)]
    return math.isclose(*finite, rel_tol=_ROUNDED, abs_tol=1e-30)


_ROUNDED: Final = 1e-6  # of single precision


def _metric(key: str, point: Point) -> dict[str, Any]:
    value = _number(point.value)
    return {"key": key, "timestamp": point.timestamp, "step": point.step, "value": value}


def _number(value: float) -> float | str:
    """Return a number as JSON can hold it; MLflow reads NaN and Infinity from text."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _mark(points: Iterable[Point]) -> str:
    """Return count and digest: equal marks, equal points."""
    listed = [tuple(point) for point in points]
    return f"{len(listed)}:{digest(repr(listed))}"


def _delivered(points: Sequence[Point], mark: str | None) -> int | None:
    """Return how many of the first points are those of the mark; None if they are others."""
    if mark is None:
        return 0
    count = int(mark.partition(":")[0])
    return count if _mark(points[:count]) == mark else None


_THROUGH_SERVER: Final = "mlflow-artifacts"
_READ_BY_PROGRAMS: Final = {".json", ".yaml", ".csv", ".parquet", ".ckpt", ".safetensors"}
_BEGINNING: Final = 65_536  # bytes of such a file that are compared
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
    account: Account
    sent: Sent
    open_file: Any = open_plainly

    def send(self, *, refused_too: bool = False) -> dict[str, str]:
        """Send all that is missing; return the files that the server refused, with its reason.

        Args:
            refused_too: try again what was refused before.

        Raises:
            NotNowError: some files did not arrive, for a reason that may pass.
        """
        known, refused = self.account.items("artifact"), self.account.items("refused")
        missing = {
            name: path
            for name, path in self.local.artifacts.items()
            if known.get(name) != file_mark(path)
            and (refused_too or not refused.get(name, "").startswith(f"{file_mark(path)} "))
        }
        self._send_several(missing)
        return {
            name: mark.partition(" ")[2]
            for name, mark in self.account.items("refused").items()
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
                    self.account.note("refused", {name: f"{mark} {error}"})
                except NotNowError as error:
                    failed.append(NotNowError(f"{name}: {error}"))
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

    def _note(self, arrived: dict[str, str], *, at_least: int = 1) -> None:
        """Write down what has arrived, some files at a time: each writing waits for the disk."""
        if len(arrived) >= at_least:
            self.account.note("artifact", arrived)
            self.account.drop("refused", *arrived)
            self.sent.artifacts += len(arrived)
            self.sent.size += sum(int(mark.partition(":")[0]) for mark in arrived.values())
            arrived.clear()

    def is_other(self, name: str) -> bool:
        """Return whether the server's file begins with other bytes than the local one.

        Lists of artifacts have sizes alone, so the beginning is downloaded, of files that programs
        read: another training's weights have the same size and no first value in common.
        """
        path, parts = self.local.artifacts.get(name), urlsplit(self.artifact_uri)
        if path is None or path.suffix not in _READ_BY_PROGRAMS or parts.scheme != _THROUGH_SERVER:
            return False
        there = self.server.get_beginning(f"{parts.path.strip('/')}/{name}", _BEGINNING)
        with path.open("rb") as file:
            return there is not None and file.read(_BEGINNING) != there

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
        folder = name.rpartition("/")[0]
        try:
            upload(self.artifact_uri, path, folder or None)
        except Exception as error:  # each kind of store has its own
            raise NotNowError(f"{self.artifact_uri}: {type(error).__name__}") from error

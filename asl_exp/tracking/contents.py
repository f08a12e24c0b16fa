"""Sends what a replica's run still lacks of params, tags, metrics and datasets, in batches."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE

from asl_exp.config.names import Tag
from asl_exp.tracking.ledger import Ledger
from asl_exp.tracking.local_run import LocalRun, Point, digest
from asl_exp.tracking.server import Server

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
    """One local run on its way into one run of a replica."""

    local: LocalRun
    replica_run_id: str
    parent_id: str | None
    server: Server
    ledger: Ledger
    sent: Sent

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
        tags = self._tags_there()
        for batch in _batches(self._changed("tag", tags), _PARAM_BATCH):
            self._log({"tags": [_pair(key, value[:longest]) for key, value in batch]})
            self._note("tag", dict(batch))
            self.sent.tags += len(batch)
        for key in self._known("tag").keys() - tags.keys():
            self.server.post("/runs/delete-tag", {"run_id": self.replica_run_id, "key": key})
            self.ledger.drop(self.local.run_id, self.server.address, "tag", key)

    def _tags_there(self) -> dict[str, str]:
        """Return the tags as the replica is to have them; its parent has another id there."""
        tags = self.local.tags | {Tag.LOCAL_RUN: self.local.run_id}
        tags.pop(MLFLOW_PARENT_RUN_ID, None)
        if MLFLOW_RUN_NOTE in tags:  # its pictures are found by the run's id
            note = tags[MLFLOW_RUN_NOTE].replace(self.local.run_id, self.replica_run_id)
            tags[MLFLOW_RUN_NOTE] = note
        return tags | ({MLFLOW_PARENT_RUN_ID: self.parent_id} if self.parent_id else {})

    def _changed(self, kind: Any, values: Mapping[str, str]) -> list[tuple[str, str]]:
        known = self._known(kind)
        return [(k, v) for k, v in values.items() if known.get(k) != digest(v)]

    def _points(self) -> None:
        """Send the points that are missing, oldest first.

        A log-batch without an answer may have been done. MLflow's databases leave out a point that
        they have, its folders do not; so after any doubt the replica is asked what it has.
        """
        run_id, address = self.local.run_id, self.server.address
        known, doubtful = self._known("metric"), self.ledger.entry(run_id, address).doubtful
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
            self.ledger.doubt(run_id, address, True)
        for batch in _batches(missing, _METRIC_BATCH):
            self._log_points(batch)
        self.ledger.note(
            run_id, address, "metric", {k: m for k, m in marks.items() if known.get(k) != m}
        )
        if missing or doubtful:
            self.ledger.doubt(run_id, address, False)

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
        there = Counter(self._stamps_there(key))
        lacking = []
        for point in points:
            if there[point[:2]]:
                there[point[:2]] -= 1
            else:
                lacking.append(point)
        return lacking

    def _stamps_there(self, key: str) -> Iterator[tuple[int, int]]:
        """Yield timestamp and step of each point: servers may round values."""
        token = ""
        while True:
            paged = {"page_token": token} if token else {}
            answer = self.server.get(
                "/metrics/get-history", run_id=self.replica_run_id, metric_key=key, **paged
            )
            for point in answer.get("metrics", []):
                yield int(point["timestamp"]), int(point.get("step", 0))
            token = answer.get("next_page_token", "")
            if not token:
                return

    def _inputs(self) -> None:
        known = self._known("input")
        missing = {k: v for k, v in self.local.inputs.items() if digest(k) not in known}
        if missing:
            body = {"run_id": self.replica_run_id, "datasets": list(missing.values())}
            self.server.post("/runs/log-inputs", body)
            marks = {digest(k): "" for k in missing}
            self.ledger.note(self.local.run_id, self.server.address, "input", marks)
            self.sent.inputs += len(missing)

    def _known(self, kind: Any) -> dict[str, str]:
        return self.ledger.items(self.local.run_id, self.server.address, kind)

    def _note(self, kind: Any, values: Mapping[str, str]) -> None:
        marks = {key: digest(value) for key, value in values.items()}
        self.ledger.note(self.local.run_id, self.server.address, kind, marks)

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

"""Local runs made by hand, and the comparison of a local run with its copy on a server."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.tracking import MlflowClient

from asl_exp.replica.ledger import Ledger
from asl_exp.tracking.recorder import artifact_folder
from asl_exp.tracking.store import experiment_id, open_store

NOTE = "mlflow.note.content"
FILES = {
    "config/resolved.yaml": b"seed: 0\n",
    "empty.txt": b"",
    "evaluation/a set/one, (two).png": b"picture",
    "evaluation/\u00e9t\u00e9 \u2600.csv": "\u00e9".encode(),
    "checkpoints/finetune.ckpt": bytes(300_000),
}


class Store:
    """A local store with runs made by hand."""

    def __init__(self, runs_dir: Path) -> None:
        self.runs_dir = runs_dir
        self.client, self.ledger = open_store(runs_dir), Ledger(runs_dir)

    def make_run(self, name: str = 'a/b "c" [d] \U0001f91f', **tags: str) -> str:
        experiment = experiment_id(self.client, self.runs_dir, "hands/nine letters")
        run = self.client.create_run(experiment, run_name=name, tags=tags)
        return str(run.info.run_id)

    def fill(
        self, run_id: str, steps: range = range(20), files: Mapping[str, bytes] = FILES
    ) -> None:
        self.client.log_batch(
            run_id,
            params=[Param(f"group.key{i}", f"value {i}") for i in range(130)]
            + [Param("long", "x" * 700)],
            tags=[
                RunTag("mlflow.note.content", "**bold** \U0001f91f\n" * 100),
                RunTag("phase", "transfer"),
            ],
        )
        self.epochs(run_id, steps)
        self.client.log_inputs(run_id, [_dataset("train"), _dataset("val")])
        for file, content in files.items():
            self.write(run_id, file, content)

    def epochs(self, run_id: str, steps: range, *, first_ms: int = 1_700_000_000_000) -> None:
        values = {"train/loss": math.nan, "val/loss": math.inf, "val/accuracy": 1 / 3, "lr": 1e-300}
        points = [
            Metric(key, value * (step + 1), first_ms + 1000 * step, step)
            for step in steps
            for key, value in values.items()
        ]
        for start in range(0, len(points), 1000):
            self.client.log_batch(run_id, metrics=points[start : start + 1000])

    def write(self, run_id: str, file: str, content: bytes) -> None:
        path = artifact_folder(self.client, self.client.get_run(run_id)) / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(content)

    def end(self, run_id: str, status: str = "FINISHED") -> None:
        self.client.set_terminated(run_id, status, end_time=1_700_000_999_000)


def _dataset(split: str) -> DatasetInput:
    about = Dataset(
        "photos", "0123456789abcdef", "folder", '{"root": "photos"}', None, '{"images": 9}'
    )
    return DatasetInput(about, [InputTag("mlflow.data.context", split)])


def copies(address: str, run_id: str) -> list[Run]:
    """Return the runs of a server that say they are copies of this one."""
    client = MlflowClient(address)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments, f"tags.local_run = '{run_id}'"))


def differences(here: MlflowClient, run_id: str, address: str, *, longest: int = 6000) -> list[Any]:
    """Return everything in which the copy is not the local run; nothing if it is it, once."""
    found = copies(address, run_id)
    if len(found) != 1:
        return [f"{len(found)} copies"]
    there, local, copy = MlflowClient(address), here.get_run(run_id), found[0]
    tags = {k: v for k, v in copy.data.tags.items() if k != "local_run"}
    parent = local.data.tags.get("mlflow.parentRunId")
    own_tags = dict(local.data.tags)
    if parent:
        own_tags["mlflow.parentRunId"] = copies(address, parent)[0].info.run_id
    if NOTE in own_tags:  # the addresses of its pictures name the run
        own_tags[NOTE] = own_tags[NOTE].replace(run_id, copy.info.run_id)
    params = {key: value[:longest] for key, value in local.data.params.items()}
    pairs = {
        "status": (local.info.status, copy.info.status),
        "name": (local.info.run_name, copy.info.run_name),
        "began": (local.info.start_time, copy.info.start_time),
        "ended": (local.info.end_time, copy.info.end_time),
        "experiment": (_experiment(here, local), _experiment(there, copy)),
        "params": (params, copy.data.params),
        "tags": (own_tags, tags),
        "inputs": (_inputs(local), _inputs(copy)),
        "files": (_files_here(here, local), _files_there(address, copy.info.run_id)),
        **{
            f"metric {key}": (_points(here, run_id, key), _points(there, copy.info.run_id, key))
            for key in local.data.metrics.keys() | copy.data.metrics.keys()
        },
    }
    return [(what, here, there) for what, (here, there) in pairs.items() if here != there]


def _experiment(client: MlflowClient, run: Run) -> str:
    return str(client.get_experiment(run.info.experiment_id).name)


def _inputs(run: Run) -> list[Any]:
    entries = run.inputs.dataset_inputs if run.inputs else []
    return sorted(
        (d.dataset.name, d.dataset.digest, d.dataset.source, d.dataset.profile or "",
         sorted((t.key, t.value) for t in d.tags))
        for d in entries
    )  # fmt: skip


def _points(client: MlflowClient, run_id: str, key: str) -> list[tuple[int, int, str]]:
    return sorted(
        (p.timestamp, p.step, repr(p.value)) for p in client.get_metric_history(run_id, key)
    )


def _files_here(client: MlflowClient, run: Run) -> dict[str, int]:
    root = artifact_folder(client, run)
    return {
        path.relative_to(root).as_posix(): path.stat().st_size
        for path in root.rglob("*")
        if path.is_file()
    }


def _files_there(address: str, run_id: str, folder: str = "") -> dict[str, int]:
    """Ask as old clients do: a new one asks for logged models, which old servers do not know."""
    query = {"run_id": run_id, "path": folder} if folder else {"run_id": run_id}
    answer = requests.get(f"{address}/api/2.0/mlflow/artifacts/list", params=query, timeout=30)
    found: dict[str, int] = {}
    for entry in answer.json().get("files", []):
        path = entry["path"]
        if entry.get("is_dir"):
            found |= _files_there(address, run_id, path)
        else:
            found[path] = int(entry.get("file_size", 0))
    return found

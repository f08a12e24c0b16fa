"""The local MLflow store of a folder of runs: a SQLite file and a folder of artifacts.

`mlflow ui --backend-store-uri sqlite:///runs/mlflow.db` opens it.
"""

import logging
import shutil
from pathlib import Path

from filelock import FileLock
from mlflow.tracking import MlflowClient

from asl_exp.tracking.views import experiment_tags

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"


def store_uri(runs_dir: Path) -> str:
    """Return the tracking address of a folder of runs."""
    return f"sqlite:///{(runs_dir / DATABASE).resolve()}"


def open_store(runs_dir: Path) -> MlflowClient:
    """Return a client of the store, made on first use, once, however many runs start."""
    runs_dir.mkdir(parents=True, exist_ok=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # prints what it raises
    with FileLock(runs_dir / f"{DATABASE}.lock"):
        if not (runs_dir / DATABASE).exists():
            _make_store(runs_dir)
        client = MlflowClient(store_uri(runs_dir))
        client.search_experiments(max_results=1)  # brings an older store up to date
    return client


def _make_store(runs_dir: Path) -> None:
    """Make the tables under another name; a store half made by a killed run could not be opened."""
    made, whole = (runs_dir / f".{DATABASE}.{part}" for part in ("made", "whole"))
    for left_over in runs_dir.glob(f"{made.name}*"):
        left_over.unlink()
    MlflowClient(f"sqlite:///{made.resolve()}").search_experiments(max_results=1)
    shutil.copyfile(made, whole)  # a copy, since the client holds the file open
    whole.replace(runs_dir / DATABASE)
    made.unlink()


def experiment_id(client: MlflowClient, runs_dir: Path, name: str) -> str:
    """Return the id of an experiment, made on first use, with its artifacts beside the store."""
    with FileLock(runs_dir / f"{DATABASE}.lock"):
        known = client.get_experiment_by_name(name)
        if known is None:
            folder = (runs_dir / ARTIFACTS / name.replace("/", "_")).resolve()
            known = client.get_experiment(client.create_experiment(name, folder.as_uri()))
        made = str(known.experiment_id)
        for key, value in experiment_tags(made).items():
            if key not in known.tags:
                client.set_experiment_tag(made, key, value)
        return made

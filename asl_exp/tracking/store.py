"""The local MLflow store of a folder of runs: a SQLite file and a folder of artifacts.

`mlflow ui --backend-store-uri sqlite:///runs/mlflow.db` opens it. The UI's own table has no metric
and no setting as it opens, and its charts are one a metric; so each experiment gets a saved view,
which is a tag of it: columns, and charts that answer which settings are best. The experiment's
description links to it; the menu "Views" has it too.
"""

import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from filelock import FileLock
from mlflow.entities import LifecycleStage, Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from asl_exp.compat.mlflow import close_connections, shared_view
from asl_exp.config import names
from asl_exp.config.errors import UserError
from asl_exp.runs.writing import full_disk, replaced, unwritable
from asl_exp.tracking.store_file import ARTIFACTS, DATABASE, check_store, repoint_store


def to_stderr(text: str) -> None:
    """Warn where nobody else is asked to."""
    print(text, file=sys.stderr)


def store_uri(runs_dir: Path) -> str:
    """Return the tracking address of a folder of runs."""
    return f"sqlite:///{(runs_dir / DATABASE).resolve()}"


def open_store(runs_dir: Path, warn: Callable[[str], None] = to_stderr) -> MlflowClient:
    """Return a client of the store, made on first use, once, however many runs start.

    Args:
        runs_dir: folder of all runs; where it was moved, its store is told so.
        warn: told what was put right.

    Raises:
        UserError: the store, or its folder, cannot be used.
    """
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # prints what it raises
    with _store_named(runs_dir):
        runs_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(runs_dir / f"{DATABASE}.lock"):
            check_store(runs_dir)
            file = runs_dir / DATABASE
            if not file.exists() or file.stat().st_size == 0:
                forget_store(runs_dir)
                _make_store(runs_dir)
            client = MlflowClient(store_uri(runs_dir))
            client.search_experiments(max_results=1)  # brings an older store up to date
            if moved := repoint_store(runs_dir):
                warn(f"the record was moved here from {moved}; its paths were put right")
    return client


@contextmanager
def _store_named(runs_dir: Path) -> Iterator[None]:
    """Say in one sentence what keeps a store from being opened."""
    try:
        yield
    except (OSError, MlflowException) as error:
        if full_disk(error):
            raise
        reason = unwritable(error)
        if isinstance(error, OSError) or reason:
            told = reason or getattr(error, "strerror", None) or str(error)
            raise UserError(
                f"runs_dir: cannot write the record in '{runs_dir}' ({told}); make it writable, "
                "or give another folder, runs_dir=FOLDER"
            ) from error
        raise unusable_store(runs_dir, error) from error


def unusable_store(runs_dir: Path, error: MlflowException) -> UserError:
    """Return what is said where MLflow cannot read a store, such as one that lacks a table."""
    file, told = runs_dir / DATABASE, " ".join(str(error).split())[:300]
    return UserError(
        f"{file}: MLflow cannot use it ({told}); if another version of MLflow wrote it, use that, "
        f"else move it away (mv {file} {file}.damaged) and begin with a new one"
    )


def forget_store(runs_dir: Path) -> None:
    """Let go of a store's file, which MLflow holds open also where it was deleted or replaced."""
    close_connections(store_uri(runs_dir))


def same_file(runs_dir: Path) -> tuple[int, int] | None:
    """Return what tells the store's file from another in its place; None where there is none."""
    try:
        found = os.stat(runs_dir / DATABASE)  # noqa: PTH116 - asked for before every write
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _make_store(runs_dir: Path) -> None:
    """Make the tables under another name; a store half made by a killed run could not be opened."""
    made = runs_dir / f".{DATABASE}.made"
    for left_over in runs_dir.glob(f"{made.name}*"):
        left_over.unlink()
    MlflowClient(f"sqlite:///{made.resolve()}").search_experiments(max_results=1)
    with replaced(runs_dir / DATABASE) as part:
        shutil.copyfile(made, part)  # a copy, since the client holds the file open
    made.unlink()


def experiment_id(
    client: MlflowClient, runs_dir: Path, name: str, warn: Callable[[str], None] = to_stderr
) -> str:
    """Return the id of an experiment, made on first use, with its artifacts beside the store.

    One that was deleted is restored: MLflow gives its name to no other.
    """
    with FileLock(runs_dir / f"{DATABASE}.lock"):
        known = client.get_experiment_by_name(name)
        if known is None:
            folder = (runs_dir / ARTIFACTS / names.record_name(name)).resolve()
            known = client.get_experiment(client.create_experiment(name, folder.as_uri()))
        made = str(known.experiment_id)
        if known.lifecycle_stage == LifecycleStage.DELETED:
            client.restore_experiment(made)
            warn(f"the experiment '{name}' had been deleted and is restored, with all its runs")
        with suppress(MlflowException):  # a view is worth no run
            _bring_view_up_to_date(client, made, known.tags)
        return made


def _bring_view_up_to_date(client: MlflowClient, made: str, there: dict[str, str]) -> None:
    for key, value in experiment_tags(made).items():
        ours = key == f"mlflow.sharedViewState.{VIEW}"
        if key not in there or (ours and there[key] != value):
            client.set_experiment_tag(made, key, value)


VIEW: Final = "asl_exp"
_NAME: Final = "asl_exp: compare runs"
_MADE_MS: Final = 1_750_000_000_000  # fixed, so that the same view is the same text
_KEPT: Final = f"{names.KEPT}{names.VAL_ACCURACY}"
_TEST: Final = names.score_key("test", "accuracy")
_OTHERS: Final = names.score_key(names.EXTERNAL, "accuracy")
_SETTINGS: Final = (
    "regularization.l2", "regularization.dropout", "lr.transfer", "lr.finetune",
)  # fmt: skip
_COLUMNS: Final = (
    "attributes.`Dataset`",
    f"metrics.`{_KEPT}`",
    f"metrics.`{_TEST}`",
    f"metrics.`{_OTHERS}`",
    f"tags.`{names.Tag.CAUTION}`",
    f"tags.`{names.Tag.SPLIT}`",
    "params.`backbone.name`",
    "params.`hand.mode`",
    *(f"params.`{key}`" for key in _SETTINGS),
    f"tags.`{names.Tag.CHANGED}`",
)
_CURVES: Final = (
    (names.VAL_ACCURACY, names.PHASE), (names.VAL_LOSS,), (names.TRAIN_ACCURACY,),
    (names.TRAIN_LOSS,), (names.LEARNING_RATE,), (names.PHASE,),
)  # fmt: skip
_IMAGES: Final = ("confusion_matrix/test", "confusion_matrix/external", "learning_curves")
_SECTIONS: Final = {  # with columns, and the height of a chart in pixels
    "Settings against scores": (1, 360),
    "Scores of the kept checkpoints": (3, 260),
    "Learning curves": (3, 300),
    "Pictures": (1, 420),
}


def view_path(experiment_id: str, *, charts: bool = False) -> str:
    """Return the address of the view, below that of the server."""
    query = f"workflowType=machine_learning&viewStateShareKey={VIEW}"
    mode = "&compareRunsMode=CHART" if charts else ""
    return f"#/experiments/{experiment_id}/runs?{query}{mode}"


def first_page(client: MlflowClient) -> str:
    """Return the page of the one experiment that has runs, else the list of experiments."""
    found = [
        one.experiment_id
        for one in client.search_experiments()
        if client.search_runs([one.experiment_id], max_results=1)
    ]
    return view_path(found[0]) if len(found) == 1 else "#/experiments?workflowType=machine_learning"


def run_path(experiment_id: str, run_id: str) -> str:
    """Return the address of a run's page, below that of the server."""
    return f"#/experiments/{experiment_id}/runs/{run_id}"


def experiment_tags(experiment_id: str) -> dict[str, str]:
    """Return the tags that an experiment is to have where it has none of these names."""
    table, charts = (view_path(experiment_id, charts=charts) for charts in (False, True))
    return {
        "mlflow.experimentKind": "custom_model_development",
        "mlflow.note.content": f"[Runs with their scores and settings]({table}) · "
        f"[charts to compare them]({charts})",
        **shared_view(
            VIEW, {"name": _NAME, "createdAt": _MADE_MS, "updatedAt": _MADE_MS, "state": _state()}
        ),
    }


def _state() -> dict[str, Any]:
    """Return the view as the UI writes it; keys that it does not find get its own defaults."""
    return {
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "selectedColumns": list(_COLUMNS),
        "columnOrder": list(_COLUMNS),
        "runsHiddenMode": "FIRST_10_RUNS",
        "compareRunCharts": list(_charts()),
        "compareRunSections": [
            {"uuid": name, "name": name, "display": True, "isReordered": True, "deleted": False,
             "isGenerated": False, "columns": columns, "cardHeight": height}
            for name, (columns, height) in _SECTIONS.items()
        ],
        "isAccordionReordered": True,  # else sections stand in the order of their names
    }  # fmt: skip


def _charts() -> Iterator[dict[str, Any]]:
    settings, scores, curves, pictures = _SECTIONS
    yield _chart("PARALLEL", settings, "settings and scores") | {
        "selectedParams": list(_SETTINGS), "selectedMetrics": [_KEPT, _TEST, _OTHERS],
        "showAllRuns": False,
    }  # fmt: skip
    for score in (_KEPT, _TEST, _OTHERS):
        yield _chart("BAR", scores, score) | {"metricKey": score}
    for keys in _CURVES:
        yield _chart("LINE", curves, " and ".join(keys)) | {
            "metricKey": keys[0], "selectedMetricKeys": list(keys), "xAxisKey": "step",
            "lineSmoothness": 0, "scaleType": "linear", "xAxisScaleType": "linear", "range": {},
            "yAxisKey": "metric", "yAxisExpressions": [], "selectedXAxisMetricKey": "",
        }  # fmt: skip
    for key in _IMAGES:
        yield _chart("IMAGE", pictures, key) | {
            "imageKeys": [key], "step": 0, "showRunParams": False,
        }  # fmt: skip


def _chart(kind: str, section: str, name: str) -> dict[str, Any]:
    return {
        "uuid": f"{kind} {name}", "type": kind, "displayName": name, "metricSectionId": section,
        "runsCountToCompare": 100, "deleted": False, "isGenerated": False,
    }  # fmt: skip


def every_run(client: MlflowClient, condition: str = "") -> Iterator[Run]:
    """Yield all runs of the local store, or those of which a condition is true, oldest first."""
    experiments = [e.experiment_id for e in client.search_experiments(view_type=ViewType.ALL)]
    token = None
    while True:
        page = client.search_runs(
            experiments, condition, max_results=1000, order_by=["start_time ASC"], page_token=token
        )
        yield from page
        token = page.token
        if not token:
            return


def folder_of(given: str, runs_dir: Path) -> Path:
    """Return the path that is given, or the folder of the run of the local store with that id.

    Raises:
        UserError: there is neither.
    """
    if Path(given).exists():
        return Path(given)
    if (runs_dir / DATABASE).is_file():
        try:
            return Path(open_store(runs_dir).get_run(given).data.tags[names.Tag.RUN_FOLDER])
        except (MlflowException, KeyError):
            pass
    raise UserError(
        f"{given}: no such folder, and no run of the store in {runs_dir}; give a run folder, or "
        "name the folder of runs in which the id is known"
    )


def store_above(folder: Path) -> Path | None:
    """Return the nearest folder above a run's that has a store; jobs of grids lie deeper."""
    return next((one for one in folder.resolve().parents if (one / DATABASE).is_file()), None)

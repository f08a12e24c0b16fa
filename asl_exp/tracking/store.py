"""The local MLflow store of a folder of runs: a SQLite file and a folder of artifacts.

`mlflow ui --backend-store-uri sqlite:///runs/mlflow.db` opens it. The UI's own table has no metric
and no setting as it opens, and its charts are one a metric; so each experiment gets a saved view,
which is a tag of it: columns, and charts that answer which settings are best. The experiment's
description links to it; the menu "Views" has it too.
"""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from filelock import FileLock
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from asl_exp.compat.mlflow import shared_view
from asl_exp.config import names
from asl_exp.config.errors import UserError
from asl_exp.runs.writing import replaced

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
    made = runs_dir / f".{DATABASE}.made"
    for left_over in runs_dir.glob(f"{made.name}*"):
        left_over.unlink()
    MlflowClient(f"sqlite:///{made.resolve()}").search_experiments(max_results=1)
    with replaced(runs_dir / DATABASE) as part:
        shutil.copyfile(made, part)  # a copy, since the client holds the file open
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


VIEW: Final = "asl_exp"
_NAME: Final = "asl_exp: compare runs"
_MADE_MS: Final = 1_750_000_000_000  # fixed, so that the same view is the same text
_KEPT: Final = f"{names.KEPT}{names.VAL_ACCURACY}"
_TEST: Final = names.score_key("test", "accuracy")
_SETTINGS: Final = (
    "regularization.l2", "regularization.dropout", "lr.transfer", "lr.finetune",
)  # fmt: skip
_COLUMNS: Final = (
    "attributes.`Dataset`",
    f"metrics.`{_KEPT}`",
    f"metrics.`{_TEST}`",
    f"tags.`{names.Tag.CAUTION}`",
    "params.`backbone.name`",
    *(f"params.`{key}`" for key in _SETTINGS),
    f"tags.`{names.Tag.CHANGED}`",
)
_CURVES: Final = (
    (names.VAL_ACCURACY, names.PHASE), (names.VAL_LOSS,), (names.TRAIN_ACCURACY,),
    (names.TRAIN_LOSS,), (names.LEARNING_RATE,), (names.PHASE,),
)  # fmt: skip
_IMAGES: Final = ("confusion_matrix/test", "learning_curves")
_SECTIONS: Final = {  # with columns, and the height of a chart in pixels
    "Settings against scores": (1, 360),
    "Scores of the kept checkpoints": (2, 260),
    "Learning curves": (3, 300),
    "Pictures": (1, 420),
}


def view_path(experiment_id: str, *, charts: bool = False) -> str:
    """Return the address of the view, below that of the server."""
    query = f"workflowType=machine_learning&viewStateShareKey={VIEW}"
    mode = "&compareRunsMode=CHART" if charts else ""
    return f"#/experiments/{experiment_id}/runs?{query}{mode}"


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
    yield _chart("PARALLEL", settings, f"settings and {_KEPT}") | {
        "selectedParams": list(_SETTINGS), "selectedMetrics": [_KEPT], "showAllRuns": False,
    }  # fmt: skip
    for score in (_KEPT, _TEST):
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


def folder_of(run_id: str, runs_dir: Path) -> Path:
    """Return the folder of a run of the local store by its MLflow id.

    Raises:
        UserError: there is no such run.
    """
    if (runs_dir / DATABASE).is_file():
        try:
            return Path(open_store(runs_dir).get_run(run_id).data.tags[names.Tag.RUN_FOLDER])
        except (MlflowException, KeyError):
            pass
    raise UserError(
        f"{run_id}: no such folder, and no run of the store in {runs_dir}; give a run folder, or "
        "name the folder of runs in which the id is known"
    )

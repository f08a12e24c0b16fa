"""What becomes of the record never costs a run: a table of what can happen to it, and when.

Each variant happens to a real store while a real run trains, or lies there before it begins.
"""

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_once import made
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking import MlflowClient
from mlflow.tracking._tracking_service.utils import _tracking_store_registry
from processes import result_of

from asl_exp.config.compose import compose_config
from asl_exp.config.errors import UserError
from asl_exp.config.names import record_name
from asl_exp.config.schema import Config
from asl_exp.replica.ledger import Ledger
from asl_exp.tracking import images, recorder, system_metrics
from asl_exp.tracking.store import forget_store, open_store, store_uri
from asl_exp.training import record
from asl_exp.training.run import run_experiment

SHORT = (
    "schedule.transfer.epochs=2", "schedule.finetune.epochs=1", "data.external=[]",
    "trainer.accelerator=cpu",
)  # fmt: skip


def config_of(tiny: tuple[str, ...], runs: Path, *more: str) -> Config:
    return compose_config([*tiny, *SHORT, f'runs_dir="{runs}"', *more])


class Looker:
    """Does something to the record after an epoch, as a user at the UI would."""

    def __init__(self, act: Callable[[MlflowClient, str], object], folder: Path, at: int) -> None:
        self.tags: dict[str, str] = {}
        self.features_gb: float | None = None
        self.act, self.folder, self.at = act, folder, at

    def after_epoch(self, epoch: int, metrics: Any) -> bool:
        if epoch == self.at:
            self.act(
                MlflowClient(store_uri(self.folder.parent)), result_of(self.folder)["mlflow_run_id"]
            )
        return False


def _sql(client: MlflowClient, *statements: tuple[str, tuple[str, ...]]) -> None:
    with sqlite3.connect(client.tracking_uri.removeprefix("sqlite:///")) as database:
        for statement, values in statements:
            database.execute(statement, values)


def delete_run(client: MlflowClient, run_id: str) -> None:
    client.delete_run(run_id)


def delete_experiment(client: MlflowClient, run_id: str) -> None:
    client.delete_experiment(client.get_run(run_id).info.experiment_id)


def run_gone_for_good(client: MlflowClient, run_id: str) -> None:
    tables = ("metrics", "latest_metrics", "params", "tags", "runs")
    _sql(client, *((f"DELETE FROM {table} WHERE run_uuid = ?", (run_id,)) for table in tables))


def delete_database(client: MlflowClient, run_id: str) -> None:
    Path(client.tracking_uri.removeprefix("sqlite:///")).unlink()


def replace_database(client: MlflowClient, run_id: str) -> None:
    """By one of the same tables, without any run."""
    file = Path(client.tracking_uri.removeprefix("sqlite:///"))
    shutil.copyfile(made("mlflow.db"), file.with_suffix(".other"))
    file.with_suffix(".other").replace(file)


def delete_artifacts(client: MlflowClient, run_id: str) -> None:
    runs = Path(client.tracking_uri.removeprefix("sqlite:///")).parent
    shutil.rmtree(runs / "mlartifacts")


RECORDED_ELSEWHERE = {
    "run deleted": delete_run,
    "experiment deleted": delete_experiment,
    "run gone for good": run_gone_for_good,
    "database deleted": delete_database,
    "database replaced": replace_database,
    "artifacts deleted": delete_artifacts,
}


@pytest.mark.parametrize("at", [0, 2])
@pytest.mark.parametrize("what", RECORDED_ELSEWHERE)
def test_the_record_goes_on_where_it_was_deleted_while_the_run_trains(
    what: str, at: int, tiny: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    folder = runs / "a run"
    observer = Looker(RECORDED_ELSEWHERE[what], folder, at)
    run_experiment(config_of(tiny, runs), folder, observer=observer)
    said, result = capsys.readouterr().out, result_of(folder)
    assert result["status"] == "FINISHED"
    assert "test/accuracy" in result["metrics"]
    forget_store(runs)
    run = open_store(runs).get_run(result["mlflow_run_id"])
    assert (run.info.status, run.info.lifecycle_stage) == ("FINISHED", "active")
    assert run.data.metrics["test/accuracy"] == result["metrics"]["test/accuracy"]
    history = open_store(runs).get_metric_history(run.info.run_id, "val/loss")
    assert sorted(point.step for point in history) == [0, 1, 2]
    assert run.data.params["backbone.name"] == "asl_small_cnn"
    assert {"signature", "kept_epochs", "data_digest"} <= run.data.tags.keys()
    assert len(run.inputs.dataset_inputs) == 3
    files = runs / "mlartifacts" / "asl_exp" / run.info.run_id / "artifacts"
    assert (files / "checkpoints" / "finetune.ckpt").is_file()
    assert (files / "result.json").is_file()
    warned = [line for line in said.splitlines() if "deleted" in line]
    assert len(warned) == (0 if what == "artifacts deleted" else 1), said


@pytest.mark.parametrize(("moved", "at"), [("a run", 0), ("runs", 2)])
def test_a_run_whose_folder_is_moved_away_trains_on(
    moved: str, at: int, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    folder = runs / "a run"
    old = folder if moved == "a run" else runs
    observer = Looker(lambda *_: old.rename(tmp_path / "elsewhere"), folder, at)
    run_experiment(config_of(tiny, runs), folder, observer=observer)
    assert result_of(folder)["status"] == "FINISHED"
    assert "test/accuracy" in result_of(folder)["metrics"]
    assert (folder / result_of(folder)["checkpoints"]["finetune"]).is_file()


def locked(runs: Path) -> sqlite3.Connection:
    held = sqlite3.connect(runs / "mlflow.db", isolation_level=None)
    held.execute("BEGIN EXCLUSIVE")
    return held


@pytest.mark.heavy  # a minute: the store's own waiting times
def test_a_store_that_is_locked_for_a_while_gets_everything_at_the_end(
    tiny: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    runs, holding = tmp_path / "runs", []
    folder = runs / "a run"
    end = recorder.Recorder.artifacts

    def freed(*arguments: Any) -> None:
        for connection in holding:
            connection.close()
        holding.clear()
        end(*arguments)

    monkeypatch.setattr(recorder.Recorder, "artifacts", freed)
    observer = Looker(lambda *_: holding.append(locked(runs)), folder, 1)
    run_experiment(config_of(tiny, runs), folder, observer=observer)
    result = result_of(folder)
    run = open_store(runs).get_run(result["mlflow_run_id"])
    assert (result["status"], run.info.status) == ("FINISHED", "FINISHED")
    history = open_store(runs).get_metric_history(run.info.run_id, "val/loss")
    assert sorted({point.step for point in history}) == [0, 1, 2]
    assert run.data.metrics["test/accuracy"] == result["metrics"]["test/accuracy"]
    assert capsys.readouterr().out.count("MLflow did not record everything") == 1


def fails(error: Exception) -> Callable[..., Any]:
    def failing(*arguments: Any, **more: Any) -> Any:
        raise error

    return failing


FAILING = {
    "a point is refused": (MlflowClient, "log_batch", MlflowException("Invalid metric name")),
    "a damaged database": (
        MlflowClient,
        "set_tag",
        MlflowException("malformed\n[SQL: SELECT * FROM runs]"),
    ),
    "pictures": (MlflowClient, "log_image", ValueError("bad key")),
    "the artifacts' folder": (recorder, "artifact_folder", PermissionError(13, "denied", "/x")),
    "the environment": (record, "write_environment", UnicodeDecodeError("utf-8", b"", 0, 1, "x")),
    "the data's description": (record, "dataset_inputs", ValueError("paths differ")),
    "the run's description": (record, "description", KeyError("confusion")),
    "the end": (MlflowClient, "set_terminated", ConnectionError("gone")),
    "the machine's figures": (system_metrics, "_Sampler", RuntimeError("no /proc")),
    "what was logged before": (MlflowClient, "get_metric_history", MlflowException("broken")),
}


@pytest.mark.parametrize("what", FAILING)
def test_whatever_fails_in_the_record_is_one_warning(
    what: str, tiny: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    runs, (owner, name, error) = tmp_path / "runs", FAILING[what]
    folder = runs / "a run"
    monkeypatch.setattr(owner, name, fails(error))
    if owner is recorder:
        monkeypatch.setattr(images, name, fails(error))
    run_experiment(config_of(tiny, runs), folder)
    result, said = result_of(folder), capsys.readouterr().out
    assert result["status"] == "FINISHED"
    assert "test/accuracy" in result["metrics"]
    assert (folder / result["checkpoints"]["finetune"]).is_file()
    assert said.count("MLflow did not record everything of this run") == 1, said
    assert "SQL" not in said


def test_a_run_that_failed_says_so_where_its_record_is_gone(
    tiny: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    folder = runs / "a run"

    class Breaks(Looker):
        def after_epoch(self, epoch: int, metrics: Any) -> bool:
            super().after_epoch(epoch, metrics)
            if epoch == 1:
                raise RuntimeError("out of luck with token=abcd12345678")
            return False

    observer = Breaks(delete_database, folder, 1)
    with pytest.raises(RuntimeError, match="out of luck"):
        run_experiment(config_of(tiny, runs), folder, observer=observer)
    result = result_of(folder)
    assert (result["status"], result["failure"]) == ("FAILED", "out of luck with token=***")
    assert (folder / result["checkpoints"]["transfer"]).is_file()


def garbage(file: Path) -> None:
    file.write_bytes(b"no database at all" * 500)


def half(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 3] + bytes(len(data) // 3))


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def of_others(file: Path) -> None:
    file.unlink()
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE songs (title TEXT)")


def a_later_one(file: Path) -> None:
    with sqlite3.connect(file) as database:
        database.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")


def a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def a_page(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.seek(20 * 4096)  # SQLite opens it still
        opened.write(b"x" * 4096)


UNUSABLE = {
    "damaged pages": (a_page, "move it away"),
    "garbage": (garbage, "move it away"),
    "cut": (half, "move it away"),
    "a folder": (a_folder, "is a folder"),
    "a pipe": (a_pipe, "is no file"),
    "of another program": (of_others, "none of MLflow's"),
    "of another MLflow": (a_later_one, "MLflow cannot use it"),
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_a_store_that_cannot_be_used_is_said_with_the_way_on(what: str, tmp_path: Path) -> None:
    open_store(tmp_path)
    forget_store(tmp_path)
    spoil, told = UNUSABLE[what]
    spoil(tmp_path / "mlflow.db")
    SqlAlchemyStore._engine_map.pop(store_uri(tmp_path), None)  # as in a process of its own
    _tracking_store_registry._get_store_with_resolved_uri.cache_clear()
    with pytest.raises(UserError) as caught:
        open_store(tmp_path)
    assert told in str(caught.value)
    assert "mlflow.db" in str(caught.value)


def test_sync_asks_mlflow_only_where_something_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from asl_exp import sync
    from asl_exp.replica import sync_command

    asked: list[object] = []
    monkeypatch.setattr(sync_command, "synchronize", lambda *given: asked.append(given) or 0)
    client = open_store(tmp_path)
    run_id = client.create_run("0").info.run_id

    def left() -> bool:
        asked.clear()
        assert sync.main([f"runs_dir={tmp_path}"]) == 0
        assert bool(asked) != ("nothing is left to deliver" in capsys.readouterr().out)
        return bool(asked)

    assert left(), "a run that runs, or died"
    client.set_terminated(run_id)
    assert not left()
    Ledger(tmp_path).of(run_id, "http://a-server").ask()
    assert left(), "a run that was to be delivered"
    Ledger(tmp_path).of(run_id, "http://a-server").forget()
    client.set_tag(run_id, "replica", "https://dagshub.com/owner/name")
    assert left(), "a run that was started with a replica"


@pytest.mark.parametrize("what", ["a column is gone", "a file in the way"])
def test_sync_says_what_it_cannot_read(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from asl_exp.sync import main

    open_store(tmp_path)
    if what == "a file in the way":
        (tmp_path / "outbox").touch()
    else:
        with sqlite3.connect(tmp_path / "mlflow.db") as database:
            database.execute("ALTER TABLE runs RENAME COLUMN lifecycle_stage TO gone")
    assert main([f"runs_dir={tmp_path}"]) == 2
    said = capsys.readouterr().err
    assert ("outbox" if what == "a file in the way" else "MLflow cannot use it") in said


def test_an_empty_file_is_a_store_that_was_not_made_yet(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    assert open_store(tmp_path).search_experiments() is not None


def test_a_locked_store_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_store(tmp_path)
    monkeypatch.setattr("asl_exp.tracking.store_file._BUSY_S", 0.2)
    held = locked(tmp_path)
    with pytest.raises(UserError, match="another program has held it locked"):
        open_store(tmp_path)
    held.close()


def renamed(runs: Path) -> Path:
    return runs.rename(runs.with_name("runs of last year"))


def deeper(runs: Path) -> Path:
    (runs.parent / "archive" / "2025 ä").mkdir(parents=True)
    return runs.rename(runs.parent / "archive" / "2025 ä" / "runs")


def copied(runs: Path) -> Path:
    return Path(shutil.copytree(runs, runs.with_name("copy"), dirs_exist_ok=True))


def old_place_is_a_file(runs: Path) -> Path:
    moved = runs.rename(runs.with_name("moved"))
    runs.write_text("in the way")
    return moved


def above_renamed(runs: Path) -> Path:
    (runs.parent / "project").mkdir()
    runs.rename(runs.parent / "project" / "runs")
    (runs.parent / "project").rename(runs.parent / "renamed")
    return runs.parent / "renamed" / "runs"


MOVED = (renamed, deeper, copied, old_place_is_a_file, above_renamed)


@pytest.fixture(scope="module")
def one_run(tiny: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("once") / "runs"
    run_experiment(config_of(tiny, runs), runs / "first")
    return runs


@pytest.mark.parametrize("move", MOVED, ids=lambda move: move.__name__)
def test_a_moved_folder_of_runs_is_written_to_where_it_is(
    move: Callable[[Path], Path], one_run: Path, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    given = tmp_path / "runs"
    shutil.copytree(one_run, given)
    told: list[str] = []
    open_store(given, told.append)
    assert len(told) == 1, "a copy is a move as well"
    runs = move(given)
    before = sorted(path for path in given.rglob("*")) if given.is_dir() else []
    run_experiment(config_of(tiny, runs), runs / "second")
    client = open_store(runs, told.append)
    for name in ("first", "second"):
        run = client.get_run(result_of(runs / name)["mlflow_run_id"])
        files = Path(client.get_run(run.info.run_id).info.artifact_uri.removeprefix("file://")
                     .replace("%20", " ").replace("%C3%A4", "ä"))  # fmt: skip
        assert files.is_relative_to(runs.resolve())
        assert (files / "result.json").is_file()
        assert run.data.tags["run_folder"] == str(runs.resolve() / name)
    if given.is_dir():
        assert sorted(path for path in given.rglob("*")) == before, "nothing goes to the old place"
    else:
        assert not given.is_dir()


def test_an_experiment_that_was_deleted_before_is_restored(
    tiny: tuple[str, ...], one_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(one_run, runs)
    client = open_store(runs)
    client.delete_experiment(client.get_experiment_by_name("asl_exp").experiment_id)
    run_experiment(config_of(tiny, runs), runs / "second")
    (experiment,) = (e for e in client.search_experiments(view_type=ViewType.ALL)
                     if e.name == "asl_exp")  # fmt: skip
    assert experiment.lifecycle_stage == "active"
    assert capsys.readouterr().out.count("had been deleted and is restored") == 1


NAMES = {
    "photos (2)": "photos_2", "A&B": "A_B", "a#b%c?d": "a_b_c_d", "x/../../y": "x_.._.._y",
    "my photos": "my photos", "davidlee": "davidlee", "v1.2-b": "v1.2-b", "été": "été",
    "фото рук": "фото рук", "手": "手", "tab\tand\nline": "tab_and_line", " blanks ": "blanks",
}  # fmt: skip


@pytest.mark.parametrize(
    "given", [*NAMES, "..", ".", "", "...", "🖐", "x" * 300, "ф" * 300, "\udcff"]
)
def test_a_name_of_an_external_set_is_one_that_records_and_folders_take(given: str) -> None:
    from mlflow.utils.validation import _validate_metric_name

    name = record_name(given)
    assert name == NAMES.get(given, name)
    _validate_metric_name(f"external/{name}/accuracy")
    assert len(name.encode()) <= 100
    assert name not in ("", ".", "..")
    assert (
        Path("evaluation", "external", name).resolve().parent
        == Path("evaluation/external").resolve()
    )
    assert record_name(name) == name


def test_long_names_stay_different() -> None:
    assert record_name("a" * 299 + "1") != record_name("a" * 299 + "2")


def test_sets_of_such_names_are_trained_and_recorded(
    tiny: tuple[str, ...], tmp_path: Path, made_photos: Path
) -> None:
    given = ["photos (2)", "A&B", "手", "s" * 300]
    for row, name in enumerate(given[:3]):
        shutil.copytree(made_photos, tmp_path / f"{row}" / name)
    sets = ",".join(f"'{tmp_path / str(row) / name}'" for row, name in enumerate(given[:3]))
    runs = tmp_path / "runs"
    run_experiment(config_of(tiny, runs, f"data.external=[{sets}]"), runs / "a run")
    result = result_of(runs / "a run")
    assert result["status"] == "FINISHED"
    metrics = open_store(runs).get_run(result["mlflow_run_id"]).data.metrics
    for name in ("photos_2", "A_B", "手"):
        assert (
            metrics[f"external/{name}/accuracy"] == result["metrics"][f"external/{name}/accuracy"]
        )
        assert (runs / "a run" / "evaluation" / "external" / name / "roc.png").is_file()
    three = [metrics[f"external/{name}/accuracy"] for name in ("photos_2", "A_B", "手")]
    assert metrics["external/accuracy"] == pytest.approx(sum(three) / 3)


@pytest.fixture
def made_photos(tmp_path: Path) -> Path:
    from PIL import Image

    folder = tmp_path / "made"
    for place, letter in enumerate("ABC"):
        (folder / letter).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (40, 40), (60 * place, 90, 40 * number)).save(
                folder / letter / f"{number}.png"
            )
    return folder


def test_a_run_killed_among_its_pictures_has_them_all_and_no_part(
    tiny: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    folder, log = runs / "a run", MlflowClient.log_image

    class KilledError(BaseException):
        pass

    def killed(client: MlflowClient, run_id: str, *arguments: Any, **more: Any) -> None:
        log(client, run_id, *arguments, **more)
        files = Path(client.get_run(run_id).info.artifact_uri.removeprefix("file://"))
        (files / "images" / ".artifact.uploading.x1").write_bytes(b"half")
        (files / "checkpoints" / ".artifact.uploading.x2").write_bytes(b"half")
        raise KilledError

    monkeypatch.setattr(MlflowClient, "log_image", killed)
    with pytest.raises(KilledError):
        run_experiment(config_of(tiny, runs), folder)
    monkeypatch.setattr(MlflowClient, "log_image", log)
    run_experiment(config_of(tiny, runs, "resume=true"), runs / "other")
    result = result_of(folder)
    assert result["status"] == "FINISHED"
    run = open_store(runs).get_run(result["mlflow_run_id"])
    files = Path(run.info.artifact_uri.removeprefix("file://"))
    shown = sorted(path.name.split("+")[0] for path in (files / "images").iterdir())
    assert shown == ["confusion_matrix~test"] * 2 + ["learning_curves"] * 2
    assert not list(files.rglob(".*"))

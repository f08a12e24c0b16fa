"""Which runs are closed for dead: those without a process, and studies without a living trial."""

import os
import re
import time
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from asl_exp.config.compose import compose_config
from asl_exp.config.errors import UserError
from asl_exp.config.names import Tag
from asl_exp.model.recognizer import find_checkpoint
from asl_exp.runs.result import Result
from asl_exp.runs.run_folder import held, write_config
from asl_exp.tracking.dead_runs import close_dead_runs
from asl_exp.tracking.recorder import Begin, Recorder


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def begin(runs: Path, name: str, **tags: str) -> str:
    """Begin a run as training does, in a folder of its name."""
    folder = runs / name
    folder.mkdir(parents=True)
    recorder = Recorder.open(Begin(runs, "letters", name, folder, tags), run_id=None)
    assert recorder.run_id is not None
    Result(name, "signature", recorder.run_id).write(folder)
    recorder.metrics({"train/loss": 0.5}, step=0)
    recorder.metrics({"train/loss": 0.4}, step=1)
    return recorder.run_id


def client_of(runs: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{runs.resolve() / 'mlflow.db'}")


def status(runs: Path, run_id: str) -> str:
    return str(client_of(runs).get_run(run_id).info.status)


def test_a_run_whose_folder_is_held_lives(runs: Path) -> None:
    dead, alive = begin(runs, "dead"), begin(runs, "alive")
    (runs / "dead" / "checkpoints").mkdir()
    (runs / "dead" / "checkpoints" / "transfer.ckpt").write_bytes(b"kept")
    with held(runs / "alive"):
        (closed,) = close_dead_runs(runs)
    assert (closed.run_id, closed.last_epoch) == (dead, 1)
    assert (status(runs, dead), status(runs, alive)) == ("KILLED", "RUNNING")
    result = Result.read(runs / "dead")
    assert result is not None
    assert (result.status, result.failure) == ("KILLED", "its process died after 2 epochs")
    assert result.checkpoints == {"transfer": "checkpoints/transfer.ckpt"}
    run = client_of(runs).get_run(dead)
    assert run.data.tags[Tag.LAST_EPOCH] == "1"
    last = client_of(runs).get_metric_history(dead, "train/loss")[-1]
    assert run.info.end_time == last.timestamp
    assert {file.path for file in client_of(runs).list_artifacts(dead)} == {
        "checkpoints",
        "result.json",
    }


def test_a_run_killed_in_its_second_phase_offers_that_phases_model(runs: Path) -> None:
    begin(runs, "dead")
    folder = runs / "dead"
    write_config(compose_config(["backbone.pretrained=false"]), folder)
    (folder / "checkpoints").mkdir()
    for name in ("transfer.ckpt", "finetune.ckpt", ".finetune.ckpt.writing", "old-v1.ckpt"):
        (folder / "checkpoints" / name).write_bytes(b"kept")
    close_dead_runs(runs)
    result = Result.read(folder)
    assert result is not None
    assert list(result.checkpoints) == ["transfer", "finetune"]
    assert find_checkpoint(folder) == folder / "checkpoints" / "finetune.ckpt"


def test_a_result_that_names_its_phases_in_another_order_offers_the_last_phase(
    tmp_path: Path,
) -> None:
    write_config(compose_config(["backbone.pretrained=false"]), tmp_path)
    checkpoints = {name: f"checkpoints/{name}.ckpt" for name in ("finetune", "transfer")}
    Result("run", "signature", status="KILLED", checkpoints=checkpoints).write(tmp_path)
    assert find_checkpoint(tmp_path) == tmp_path / "checkpoints" / "finetune.ckpt"


def test_a_run_whose_configuration_is_lost_offers_what_was_written_last(runs: Path) -> None:
    begin(runs, "dead")
    (runs / "dead" / "checkpoints").mkdir()
    for seconds, name in enumerate(("transfer", "finetune")):
        file = runs / "dead" / "checkpoints" / f"{name}.ckpt"
        file.write_bytes(b"kept")
        os.utime(file, (1000 + seconds, 1000 + seconds))
    close_dead_runs(runs)
    assert find_checkpoint(runs / "dead").name == "finetune.ckpt"


def test_a_folder_of_runs_names_the_newest_with_a_model(runs: Path) -> None:
    for seconds, name in enumerate(("b", "study/a", "failed")):
        (runs / name).mkdir(parents=True)
        Result(name, "signature", status="FINISHED").write(runs / name)
        os.utime(runs / name / "result.json", (1000 + seconds, 1000 + seconds))
        if name != "failed":
            (runs / name / "checkpoints").mkdir()
            (runs / name / "checkpoints" / "finetune.ckpt").write_bytes(b"kept")
    (runs / "report").mkdir()
    (runs / "report" / "figure.png").write_bytes(b"of a report, no photo")
    told = f"{runs}: a folder of runs; give one of them, such as {runs / 'study/a'}, the newest"
    with pytest.raises(UserError, match=f"^{re.escape(told)}$"):
        find_checkpoint(runs)


def test_a_closed_run_can_be_taken_up_again(runs: Path) -> None:
    run_id = begin(runs, "dead")
    close_dead_runs(runs)
    Recorder.open(Begin(runs, "letters", "dead", runs / "dead"), run_id=run_id)
    run = client_of(runs).get_run(run_id)
    assert run.info.status == "RUNNING"
    assert not {Tag.FAILURE, Tag.LAST_EPOCH} & run.data.tags.keys()


def test_the_folder_of_all_runs_was_moved(runs: Path, tmp_path: Path) -> None:
    dead = begin(runs, "dead")
    moved = runs.rename(tmp_path / "elsewhere")
    with held(moved / "dead"):
        assert close_dead_runs(moved) == []
    (closed,) = close_dead_runs(moved)
    assert closed.run_id == dead
    result = Result.read(moved / "dead")
    assert result is not None
    assert result.status == "KILLED"
    assert not runs.exists(), "nothing is written to where it was"


def test_a_run_whose_folder_was_deleted_is_closed(runs: Path) -> None:
    run_id = begin(runs, "dead")
    (runs / "dead" / "result.json").unlink()
    (runs / "dead").rmdir()
    close_dead_runs(runs)
    assert status(runs, run_id) == "KILLED"
    assert not (runs / "dead").exists()


def test_a_study_lives_with_its_trials(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = begin(runs, "study", **{Tag.STUDY: "nadam"})
    child = {Tag.STUDY: "nadam", "mlflow.parentRunId": study}
    first = begin(runs, "study/0", **child, **{Tag.TRIAL: "0"})
    second = begin(runs, "study/1", **child, **{Tag.TRIAL: "1"})
    with held(runs / "study/1"):
        close_dead_runs(runs)
        assert status(runs, first) == "KILLED"
        assert status(runs, study) == "RUNNING", "another agent goes on"
    client_of(runs).set_terminated(second, "FINISHED")
    close_dead_runs(runs)
    assert status(runs, study) == "RUNNING", "between two trials"
    now = time.time()
    monkeypatch.setattr("asl_exp.tracking.dead_runs.time.time", lambda: now + 3600)
    close_dead_runs(runs)
    assert status(runs, study) == "KILLED"


def test_a_study_dies_with_its_only_trial(runs: Path) -> None:
    study = begin(runs, "study", **{Tag.STUDY: "nadam"})
    begin(runs, "study/0", **{Tag.TRIAL: "0", "mlflow.parentRunId": study})
    assert len(close_dead_runs(runs)) == 2
    assert status(runs, study) == "KILLED"


def test_runs_that_are_not_ours_are_left_alone(runs: Path) -> None:
    begin(runs, "dead")
    foreign = client_of(runs).create_run("0", run_name="by hand").info.run_id
    assert len(close_dead_runs(runs)) == 1
    assert status(runs, foreign) == "RUNNING"

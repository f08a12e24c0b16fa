"""Runs as a study starts them: watched, pruned, of less depth, and completed afterwards."""

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from mlflow.tracking import MlflowClient

from asl_exp.config.compose import compose_config
from asl_exp.config.errors import Interrupted, PrunedError
from asl_exp.evaluation.inference import probabilities
from asl_exp.runs.result import Result
from asl_exp.tracking.store import open_store, store_uri
from asl_exp.training.run import run_experiment
from asl_exp.training.scoring import complete_run

EPOCHS = ("schedule.transfer.epochs=2", "schedule.finetune.epochs=2")


class Looking:
    """Keeps what it is told; ends the run after an epoch."""

    def __init__(self, last_epoch: int | None = None) -> None:
        self.tags = {"study": "looked at", "trial": "3"}
        self.features_gb = None
        self.seen: dict[int, dict[str, float]] = {}
        self.last_epoch = last_epoch

    def after_epoch(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        self.seen[epoch] = dict(metrics)
        return epoch == self.last_epoch


def run(tiny: tuple[str, ...], folder: Path, watcher: Looking | None, *overrides: str) -> Result:
    config = compose_config([*tiny, *EPOCHS, f"runs_dir={folder.parent}", *overrides])
    run_experiment(config, folder, observer=watcher, evaluate="validation")
    result = Result.read(folder)
    assert result is not None
    return result


def test_a_watcher_is_told_every_epoch_and_tags_the_run(
    tiny: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    watcher = Looking()
    result = run(tiny, tmp_path / "run", watcher)
    assert list(watcher.seen) == [0, 1, 2, 3]
    kept = watcher.seen[result.kept_epochs["finetune"]]
    assert result.metrics == kept
    assert {"val/loss", "val/accuracy", "images_per_second"} <= kept.keys()
    assert result.mlflow_run_id is not None
    recorded = MlflowClient(store_uri(tmp_path)).get_run(result.mlflow_run_id)
    assert {"study": "looked at", "trial": "3"}.items() <= recorded.data.tags.items()
    assert capsys.readouterr().out == ""


def test_a_pruned_run_ends_where_it_is_told_to_and_says_so(
    tiny: tuple[str, ...], tmp_path: Path
) -> None:
    watcher = Looking(last_epoch=1)
    with pytest.raises(PrunedError, match="pruned after 2 epochs"):
        run(tiny, tmp_path / "run", watcher)
    assert list(watcher.seen) == [0, 1]
    result = Result.read(tmp_path / "run")
    assert result is not None
    assert result.mlflow_run_id is not None
    assert result.status == "PRUNED"
    recorded = MlflowClient(store_uri(tmp_path)).get_run(result.mlflow_run_id)
    assert recorded.info.status == "KILLED"
    assert recorded.data.tags["trial_state"] == "PRUNED"
    assert not (tmp_path / "run" / "state").exists()


def test_an_interrupt_while_the_run_is_made_leaves_none_running(
    tiny: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted_store(runs_dir: Path, *warned: Any) -> MlflowClient:
        os.kill(os.getpid(), signal.SIGTERM)
        return open_store(runs_dir, *warned)

    def interrupt(number: int, _: Any) -> None:
        monkeypatch.undo()
        raise Interrupted(128 + number)

    monkeypatch.setattr("asl_exp.tracking.recorder.open_store", interrupted_store)
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        with pytest.raises(Interrupted):
            run(tiny, tmp_path / "run", None)
    finally:
        signal.signal(signal.SIGTERM, before)
    result = Result.read(tmp_path / "run")
    assert result is not None
    assert result.mlflow_run_id is not None
    recorded = MlflowClient(store_uri(tmp_path)).get_run(result.mlflow_run_id)
    assert (result.status, recorded.info.status) == ("KILLED", "KILLED")


def test_a_run_that_ends_while_its_epochs_are_written_goes_on(
    tiny: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(_: pd.DataFrame, path: Path, **options: Any) -> None:
        path.write_text("")
        raise Interrupted(143)

    monkeypatch.setattr(pd.DataFrame, "to_csv", cut_off)
    with pytest.raises(Interrupted):
        run(tiny, tmp_path / "run", None)
    monkeypatch.undo()
    result = run(tiny, tmp_path / "run", None, f"resume={tmp_path / 'run'}")
    assert result.status == "FINISHED"
    assert list(pd.read_csv(tmp_path / "run" / "epochs.csv")["epoch"]) == [0, 1, 2, 3]


def test_runs_of_one_process_share_what_they_start_from_without_changing_it(
    tiny: tuple[str, ...], tmp_path: Path
) -> None:
    first = run(tiny, tmp_path / "a", None)
    other = run(tiny, tmp_path / "b", None, "regularization.l2=1e-2", "seed=3")
    again = run(tiny, tmp_path / "c", None)
    assert first.start == again.start
    assert first.start["initial weights"] != other.start["initial weights"]  # random: of the seed
    speed = "images_per_second"
    assert {**first.metrics, speed: 0} == {**again.metrics, speed: 0}
    assert first.metrics["train/loss"] != other.metrics["train/loss"]


def test_a_completed_run_has_what_a_run_of_its_own_has(
    tiny: tuple[str, ...], tmp_path: Path
) -> None:
    config = compose_config([*tiny, *EPOCHS, f"runs_dir={tmp_path}"])
    run_experiment(config, tmp_path / "whole")
    run_experiment(config, tmp_path / "less", evaluate="scores")
    whole, less = Result.read(tmp_path / "whole"), Result.read(tmp_path / "less")
    assert whole is not None
    assert less is not None
    speed = "images_per_second"
    assert {**whole.metrics, speed: 0} == {**less.metrics, speed: 0}
    assert "test/accuracy" in less.metrics
    assert not (tmp_path / "less" / "evaluation").exists()
    complete_run(tmp_path / "less")
    state = {name for name in files(tmp_path / "whole") if name.startswith("state/")}
    assert state, "a run of its own can be made longer, a trial cannot"
    assert files(tmp_path / "less") == files(tmp_path / "whole") - state
    table = tmp_path / "whole" / "epochs.csv"
    assert pd.read_csv(table)["phase"].tolist() == ["transfer"] * 2 + ["finetune"] * 2
    assert less.mlflow_run_id is not None
    client = MlflowClient(store_uri(tmp_path))
    assert client.get_run(less.mlflow_run_id).info.status == "FINISHED"
    logged = {item.path for item in client.list_artifacts(less.mlflow_run_id)}
    assert {"evaluation", "model", "learning_curves.png", "epochs.csv"} <= logged


def test_a_run_is_completed_on_the_machines_own_device(
    tiny: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The GPU is none: the scores are worked out on the CPU when it is asked for."""
    config = compose_config([*tiny, *EPOCHS, f"runs_dir={tmp_path}", "tracking=off"])
    run_experiment(config, tmp_path / "run", evaluate="validation")
    asked: set[torch.device] = set()

    def on_the_cpu(*arguments: Any, device: torch.device, **more: Any) -> Any:
        asked.add(device)
        return probabilities(*arguments, device=torch.device("cpu"), **more)

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr("asl_exp.training.scoring.probabilities", on_the_cpu)
    complete_run(tmp_path / "run")
    assert asked == {torch.device("cuda", 0)}
    result = Result.read(tmp_path / "run")
    assert result is not None
    assert "test/accuracy" in result.metrics


def files(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

"""What a run's record says of its surroundings: the code, the machine, and why it failed."""

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from asl_exp.config.compose import compose_config
from asl_exp.config.errors import NonFiniteLossError
from asl_exp.tracking import environment, system_metrics
from asl_exp.tracking.recorder import Begin, Recorder
from asl_exp.tracking.store import open_store
from asl_exp.training.run import run_experiment


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository with one commit, as the working folder."""
    caches = (environment.git_commit, environment.git_diff)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text("layers = 3\n")
    for arguments in (
        ["init", "-q"],
        ["add", "model.py"],
        ["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "-m", "first"],
    ):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    for cached in caches:
        cached.cache_clear()
    yield tmp_path
    for cached in caches:
        cached.cache_clear()


def test_a_clean_commit_needs_no_diff(repository: Path) -> None:
    environment.write_environment(repository.parent / "environment")
    assert not (repository.parent / "environment" / "git.diff").exists()
    assert len(environment.git_commit() or "") == 40


def test_what_is_not_committed_is_kept_without_secrets(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_API_TOKEN", "s3cret-value")
    (repository / "model.py").write_text("layers = 5\nkey = 's3cret-value'\n")
    (repository / "new.py").write_text("pass\n")
    folder = repository.parent / "dirty"
    environment.write_environment(folder)
    diff = (folder / "git.diff").read_text()
    assert "-layers = 3\n+layers = 5\n" in diff
    assert "# untracked: new.py" in diff
    assert "s3cret-value" not in diff
    assert json.loads((folder / "machine.json").read_text())["git_commit"].endswith("-dirty")


def test_a_very_long_diff_is_cut(repository: Path) -> None:
    (repository / "model.py").write_text("x = 1\n" * 400_000)
    diff = environment.git_diff()
    assert diff is not None
    assert 1_000_000 < len(diff) < 1_000_200
    assert "characters more" in diff[-200:]


def test_packages_are_those_that_metadata_names(tmp_path: Path) -> None:
    environment.write_environment(tmp_path)
    named = {f"{one.metadata['Name']}=={one.version}" for one in metadata.distributions()}
    assert set((tmp_path / "packages.txt").read_text().splitlines()) == named


def test_the_command_is_kept_where_a_person_typed_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_TOKEN", "s3cret-value")
    monkeypatch.setattr("sys.argv", ["/some/asl_exp/__main__.py", "name=my s3cret-value", "seed=1"])
    assert environment.command() == ["python", "-m", "asl_exp", "name=my ***", "seed=1"]
    monkeypatch.setattr("sys.argv", ["/some/submitit/core/_submit.py", "/a/folder"])
    assert environment.command() is None


def test_the_machine_is_sampled_while_a_run_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system_metrics, "_SAMPLE_S", 0.01)
    recorder = Recorder.open(Begin(tmp_path, "e", "a run", tmp_path / "run"), run_id=None)
    assert recorder.run_id is not None
    key, client = "system/cpu_utilization_percentage", open_store(tmp_path)

    def steps() -> list[int]:
        return [point.step for point in client.get_metric_history(recorder.run_id, key)]

    with system_metrics.sampled(recorder):
        deadline = time.monotonic() + 30
        while not steps() and time.monotonic() < deadline:
            time.sleep(0.01)
    first = steps()
    assert first == list(range(len(first))) != []
    assert "system/system_memory_usage_megabytes" in client.get_run(recorder.run_id).data.metrics
    with system_metrics.sampled(recorder):  # a run that is taken up again
        time.sleep(0.1)
    assert steps() == list(range(len(steps())))
    assert len(steps()) > len(first)
    assert not [thread for thread in threading.enumerate() if thread.name == "system metrics"]


def test_the_last_samples_of_a_short_run_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system_metrics, "_SAMPLE_S", 0.01)
    monkeypatch.setattr(system_metrics, "_SAMPLES", 10_000)
    recorder = Recorder.open(Begin(tmp_path, "e", "a run", tmp_path / "run"), run_id=None)
    with system_metrics.sampled(recorder):
        time.sleep(0.3)
    assert recorder.run_id is not None
    metrics = open_store(tmp_path).get_run(recorder.run_id).data.metrics
    assert "system/cpu_utilization_percentage" in metrics


def test_a_run_that_fails_has_a_description_too(tiny: tuple[str, ...], tmp_path: Path) -> None:
    overrides = (*tiny, "optimizer=sgd", "lr.transfer=1e4", f"runs_dir={tmp_path}")
    config = compose_config(overrides)
    with pytest.raises(NonFiniteLossError):
        run_experiment(config, tmp_path / "run")
    run_id = json.loads((tmp_path / "run" / "result.json").read_text())["mlflow_run_id"]
    run = open_store(tmp_path).get_run(run_id)
    note = run.data.tags["mlflow.note.content"]
    assert run.info.status == "FAILED"
    assert note.startswith(f"**FAILED**: {run.data.tags['failure'].split()[0]}")
    assert "optimizer.name=sgd" in note
    assert str(tmp_path / "run") in note

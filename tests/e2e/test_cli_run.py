"""The command line in processes of its own: a whole run, its end by signals, two at once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from processes import Command, Forked, ended, result_of

ROOT = Path(__file__).resolve().parents[2]
LONG = ("schedule.transfer.epochs=10000", "schedule.finetune.epochs=0", "data.external=[]")


def run_folder(runs: Path) -> Path:
    (result,) = runs.glob("*/result.json")
    return result.parent


def mlflow_status(runs: Path, run_id: object) -> str:
    return str(MlflowClient(f"sqlite:///{runs / 'mlflow.db'}").get_run(str(run_id)).info.status)


@pytest.mark.parametrize(
    ("sent", "status"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.heavy)],
)
def test_a_signal_ends_the_run_as_killed(
    tiny: tuple[str, ...], tmp_path: Path, sent: signal.Signals, status: int
) -> None:
    runs, errors = tmp_path / "runs", tmp_path / "errors.txt"
    with Forked(tmp_path, *tiny, *LONG, f"runs_dir={runs}", errors=errors) as run:
        run.wait_for("\ntransfer 2/")
        os.kill(run.pid, sent)
        assert run.wait(60) == status, errors.read_text()
    said = errors.read_text()
    assert "Traceback" not in said
    assert ("interrupted" if sent == signal.SIGINT else "terminated") in said
    folder = run_folder(runs)
    result = result_of(folder)
    assert result["status"] == "KILLED"
    assert mlflow_status(runs, result["mlflow_run_id"]) == "KILLED"
    assert (folder / "checkpoints" / "transfer.ckpt").is_file()


def test_a_signal_before_training_ends_it_as_well(tiny: tuple[str, ...], tmp_path: Path) -> None:
    with Command(tmp_path, *tiny, *LONG) as run:
        time.sleep(2.5)  # torch is being imported
        os.kill(run.pid, signal.SIGINT)
        assert run.wait(60) == 130, run.text()
    assert "Traceback" not in run.text()


@pytest.mark.heavy
def test_a_loss_that_is_not_finite_ends_with_status_1(
    tiny: tuple[str, ...], tmp_path: Path
) -> None:
    done = ended(
        tmp_path, *tiny, "optimizer=sgd", "lr.finetune=1e30", "schedule.transfer.epochs=1",
        "schedule.finetune.epochs=3",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "non-finite in phase 'finetune', epoch 1, " in done.stderr
    assert "(schedule.finetune.lr is 1e+30)" in done.stderr or "after its last" in done.stderr
    folder = run_folder(tmp_path / "runs")
    result = result_of(folder)
    assert result["status"] == "FAILED"
    assert mlflow_status(tmp_path / "runs", result["mlflow_run_id"]) == "FAILED"
    assert (folder / "checkpoints" / "transfer.ckpt").is_file()
    assert not (folder / "checkpoints" / "finetune.ckpt").exists()


@pytest.mark.heavy
def test_two_runs_at_once_in_one_folder(tiny: tuple[str, ...], tmp_path: Path) -> None:
    """One of them makes the store, while the other waits."""
    runs = tmp_path / "runs"
    length = ("schedule.transfer.epochs=1", "schedule.finetune.epochs=1", f"runs_dir={runs}")
    own = [override for override in tiny if not override.startswith("data.cache_dir")]
    made = tmp_path / "made"  # empty: there is no store yet that could be copied
    made.mkdir()
    with (
        Forked(tmp_path, *own, *length, "seed=1", ASL_EXP_TEST_MADE=str(made)) as one,
        Forked(tmp_path, *own, *length, "seed=2", ASL_EXP_TEST_MADE=str(made)) as other,
    ):
        for run in (one, other):
            assert run.wait(240) == 0, run.text()
    assert (made / "mlflow.db").is_file()
    results = [result_of(path.parent) for path in runs.glob("*/result.json")]
    assert [result["status"] for result in results] == ["FINISHED", "FINISHED"]
    statuses = {mlflow_status(runs, result["mlflow_run_id"]) for result in results}
    assert statuses == {"FINISHED"}
    assert len({result["mlflow_run_id"] for result in results}) == 2


@pytest.mark.heavy
def test_a_grid_trains_each_value(tiny: tuple[str, ...], tmp_path: Path) -> None:
    length = ("schedule.transfer.epochs=1", "schedule.finetune.epochs=0", "data.external=[]")
    done = ended(tmp_path, "--multirun", *tiny, *length, "seed=1,2", timeout=240)
    assert done.returncode == 0, done.stderr
    results = [result_of(p.parent) for p in (tmp_path / "runs").glob("*_multirun/*/result.json")]
    assert len(results) == 2
    assert len({result["signature"] for result in results}) == 2


PHOTOS = (
    "data=manifest", "data.sources=[kaggle_asl_alphabet]", "data.classes=A-C",
    "backbone=mobilenetv2_035", "backbone.image_size=96", "head=linear", "lr.transfer=1e-2",
    "schedule.transfer.epochs=10", "schedule.finetune.epochs=1", "data.split=random",
    "augmentation=none",
)  # fmt: skip


@pytest.mark.heavy
def test_real_photos_and_weights_are_learnt_and_predicted(
    photos: Path, real_weights: Callable[[str], Path], tmp_path: Path
) -> None:
    """360 photos of three letters; the random split leaks, so that 0.85 is easy: 0.94 measured."""
    weights = real_weights("mobilenetv2_035")
    done = ended(
        tmp_path, *PHOTOS, f"data.manifest={photos / 'manifest.csv'}",
        f"backbone.weights={weights}", "data.external=[roboflow_davidlee]", timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "260 tensors from mobilenetv2_035.safetensors, sha256 0d3634f4c34ac2cf" in done.stdout
    assert "data.split=random leaks" in done.stdout
    assert "make ui" in done.stdout
    folder = run_folder(tmp_path / "runs")
    assert str(folder.name) in done.stdout
    result = result_of(folder)
    metrics = result["metrics"]
    assert isinstance(metrics, dict)
    assert metrics["test/accuracy"] >= 0.85
    assert 0 < metrics["external/roboflow_davidlee/accuracy"] < metrics["test/accuracy"]
    run = MlflowClient(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}").get_run(
        str(result["mlflow_run_id"])
    )
    assert run.data.tags["pretrained"] == "True"
    assert run.data.tags["weights_digest"].startswith("0d3634f4c34ac2cf")
    assert run.data.tags["split_leaks"] == "True"
    letters = {letter: sorted((photos / "images/kaggle_asl_alphabet" / letter).glob("*.jpg"))[5]
               for letter in "ABC"}  # fmt: skip
    told = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "asl_exp.predict", str(folder),
         *map(str, letters.values())],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    loaded = {line.rpartition("|")[2].strip() for line in told.stderr.splitlines()}
    heavy = {"torch._dynamo", "pandas", "scipy", "matplotlib", "mlflow", "pytorch_lightning"}
    assert "torch.nn" in loaded
    assert not heavy & loaded, "one image would wait for them"
    for letter, path in letters.items():
        line = next(line for line in told.stdout.splitlines() if path.name in line)
        assert line.split("\t")[1] == letter, told.stdout


@pytest.mark.heavy
def test_a_grid_of_which_a_job_fails_runs_the_others(tiny: tuple[str, ...], tmp_path: Path) -> None:
    short = ("schedule.transfer.epochs=3", "schedule.finetune.epochs=0", "tracking=off")
    growing = ("optimizer=sgd", "regularization.l2=1")  # by 2 l2 lr at every step
    done = ended(
        tmp_path, "--multirun", *tiny, *short, *growing, "data.external=[]", "lr.transfer=1e4,1e-3"
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "1 of 2 jobs of the grid failed, the others are done" in done.stderr
    assert "job 0 (lr.transfer=10000.0): the training loss became non-finite" in done.stderr
    folders = sorted(path.parent for path in (tmp_path / "runs").rglob("result.json"))
    assert [result_of(folder)["status"] for folder in folders] == ["FAILED", "FINISHED"]

"""Runs inside jobs of a real SLURM, whose variables tell who takes part and where all meet."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import ROOT, history, mlflow_run, result_of, run_folders
from slurm import cluster, missing

from asl_exp.training.state import FOLDER

RUN = ("schedule.transfer.epochs=1", "schedule.finetune.epochs=1", "trainer.accelerator=cpu",
       "data.external=[]", "schedule.transfer.features=never")  # fmt: skip
JOB_S = 180


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Return the variables of the cluster's users."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    with cluster(tmp_path_factory.mktemp("cluster") / "slurm") as variables:
        yield {**os.environ, **variables, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "TERM": "dumb"}


@pytest.mark.heavy
def test_machines_of_a_job_share_a_run(
    tiny: tuple[str, ...], tmp_path: Path, slurm: dict[str, str]
) -> None:
    """Two tasks stand for two machines that share a disk; cancelled once, then taken up again."""
    task = (
        "--ntasks=2", sys.executable, "-m", "asl_exp", *tiny, *RUN, "schedule.transfer.epochs=60",
        "trainer.num_nodes=2", "trainer.rendezvous_timeout_s=90",
    )  # fmt: skip
    runs, log = tmp_path / "runs", tmp_path / "first.txt"
    with (
        log.open("w") as output,
        subprocess.Popen(
            ["srun", *task], cwd=tmp_path, env=slurm, stdout=output, stderr=output
        ) as job,
    ):
        while not any(runs.glob(f"*/{FOLDER}/000003-*.ckpt")):
            assert job.poll() is None, log.read_text()
            time.sleep(0.1)
        subprocess.run(["scancel", "--user=root"], env=slurm, timeout=30, check=True)
        assert job.wait(JOB_S) != 0
    (folder,) = run_folders(runs)
    first = result_of(folder)
    assert first["status"] == "KILLED", log.read_text()
    again = finished(["srun", *task, "resume=true"], tmp_path, slurm)
    assert "resumed in phase transfer" in again
    assert run_folders(runs) == [folder]
    assert result_of(folder)["status"] == "FINISHED"
    assert result_of(folder)["mlflow_run_id"] == first["mlflow_run_id"]
    assert mlflow_run(runs, folder).info.status == "FINISHED"
    assert all(points[-1][0] == 60 for points in history(runs, folder).values() if points[1:])


@pytest.mark.heavy
def test_tasks_of_a_job_are_not_taken_for_devices(
    tiny: tuple[str, ...], tmp_path: Path, slurm: dict[str, str]
) -> None:
    command = shlex.join([sys.executable, "-m", "asl_exp", *tiny, *RUN, "tracking=off"])
    finished(["sbatch", "--wait", "--ntasks=3", "--output=log.txt", "--wrap", command],
             tmp_path, slurm)  # fmt: skip
    said = (tmp_path / "log.txt").read_text()
    assert [result_of(folder)["status"] for folder in run_folders(tmp_path / "runs")] == [
        "FINISHED"
    ], said
    assert "Warning" not in said


def finished(command: list[str], cwd: Path, variables: dict[str, str]) -> str:
    """Run a command to its good end and return what it said."""
    done = subprocess.run(
        command, cwd=cwd, env=variables, timeout=JOB_S, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr

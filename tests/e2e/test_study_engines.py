"""Studies that others start or keep: PostgreSQL, joblib, Ray, SLURM, and Optuna's dashboard.

Every engine is a real one of this machine. Each finishes exactly the trials asked for, none twice.
"""

import json
import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import slurm
from processes import Command
from studies import STUDY, counted, distinct, finish, runs_of, trials_of

N_TRIALS = 4
AGENTS = (*STUDY, f"sweep.n_trials={N_TRIALS}", "sweep.agents=2")

pytestmark = pytest.mark.heavy


def require_each_trial_once(folder: Path, storage: str | None = None) -> None:
    """Compare the storage, the run folders and MLflow's children with what was asked for."""
    trials = trials_of(folder, storage)
    assert len(trials) == len(counted(trials)) == distinct(trials) == N_TRIALS
    (parent,), children = runs_of(folder, children=False), runs_of(folder)
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert sorted(run.data.tags["trial"] for run in children) == [str(t.number) for t in trials]


def test_agents_share_a_postgresql_server(
    tiny: tuple[str, ...], tmp_path: Path, database: str
) -> None:
    finish(tmp_path, *AGENTS, *tiny, f"sweep.storage={database}")
    require_each_trial_once(tmp_path, database)


@pytest.fixture(scope="module")
def studied(tiny: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a study whose agents joblib started, and which the user named."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    folder = tmp_path_factory.mktemp("joblib")
    (folder / "own").mkdir()
    options = ("--config-dir=own", "hydra/launcher=joblib", 'hydra.sweep.dir="Bob\'s study"')
    finish(folder, *AGENTS, *tiny, *options, kind=Command)
    return folder


def test_joblib_starts_the_agents(studied: Path) -> None:
    require_each_trial_once(studied)
    ran = {Path(trial.user_attrs["run_folder"]).parent.name for trial in trials_of(studied)}
    assert ran == {"Bob's study"}


def test_the_command_that_continues_a_study_is_whole(studied: Path) -> None:
    told = (studied / "Bob's study" / "outcome" / "README.md").read_text()
    again, more = re.findall(r"^    (python -m asl_exp .*)$", told, re.MULTILINE)
    own = f"--config-dir={studied / 'own'}"
    assert own in again
    words = shlex.split(more)[3:]
    assert {own, "hydra/launcher=joblib", "sweep.n_trials=8"} <= {*words}
    words.remove("hydra/launcher=joblib")  # whose start takes a minute
    finish(studied, *words)
    assert len(counted(trials_of(studied))) == 8
    assert len(list((studied / "Bob's study").glob("*_asl_small_cnn"))) == 8


def test_ray_starts_the_agents(tiny: tuple[str, ...], tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_ray_launcher")
    quiet = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}  # no token, no call home
    said = finish(tmp_path, *AGENTS, *tiny, "hydra/launcher=ray", **quiet)
    assert "Started a local Ray instance" in said
    require_each_trial_once(tmp_path)


def test_slurm_starts_the_agents(tiny: tuple[str, ...], tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    if reason := slurm.missing():
        pytest.skip(reason)
    with slurm.cluster(tmp_path / "slurm") as variables:
        finish(tmp_path, *AGENTS, *tiny, "hydra/launcher=submitit_slurm",
               "hydra.launcher.mem_gb=0", **variables)  # fmt: skip
    jobs = list((tmp_path / "runs" / "s" / "agents").glob(".submitit/*/*_result.pkl"))
    assert len(jobs) == 2
    require_each_trial_once(tmp_path)


def test_the_dashboard_opens_the_storage_as_it_is(studied: Path) -> None:
    pytest.importorskip("optuna_dashboard")
    dashboard = Path(sys.executable).with_name("optuna-dashboard")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    storage = f"sqlite:///{studied}/runs/studies.db"
    process = subprocess.Popen(
        [dashboard, storage, "--host=127.0.0.1", f"--port={port}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        answer = asked(f"http://127.0.0.1:{port}/api/studies", process)
    finally:
        process.terminate()
        process.wait(30)
    assert [study["study_name"] for study in answer["study_summaries"]] == ["s"]


def asked(address: str, process: "subprocess.Popen[bytes]") -> Any:
    """Return what a server answers, as soon as it does."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                return json.load(answer)
        except OSError:
            assert process.poll() is None, "the server has ended"
            assert time.monotonic() < deadline, "no answer"
            time.sleep(0.2)

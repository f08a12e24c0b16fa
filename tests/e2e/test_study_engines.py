"""Studies that others start or keep: PostgreSQL, joblib, Ray, SLURM, and Optuna's dashboard.

Every engine is a real one of this machine. Each finishes exactly the trials asked for, none twice.
"""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import optuna
import postgresql
import pytest
import slurm
from mlflow.tracking import MlflowClient
from processes import Command, Forked

N_TRIALS = 4
STUDY = (
    "--multirun", "sweep=nadam_l2_dropout", "sweep.name=engines", f"sweep.n_trials={N_TRIALS}",
    "schedule.transfer.epochs=2", "schedule.finetune.epochs=0", "trainer.accelerator=cpu",
    "data.external=[]",
)  # fmt: skip
ENDS_WITHIN_S = 600


def finish(
    folder: Path, *arguments: str, kind: type[Command | Forked] = Command, **variables: str
) -> str:
    """Run a study's command to its good end; return what it said."""
    with kind(folder, *STUDY, *arguments, **variables) as command:
        status = command.wait(ENDS_WITHIN_S)
        said: str = command.text()
        assert status == 0, said
        assert "Traceback" not in said
    return said


def require_each_trial_once(folder: Path, storage: str) -> None:
    """Compare the storage, the run folders and MLflow's children with what was asked for."""
    trials = optuna.load_study(study_name="engines", storage=storage).get_trials(deepcopy=False)
    ended = [trial.state.name for trial in trials]
    assert [state for state in ended if state in ("COMPLETE", "PRUNED")] == ended
    assert len(trials) == N_TRIALS
    assert len({tuple(sorted(trial.params.items())) for trial in trials}) == N_TRIALS
    client = MlflowClient(f"sqlite:///{folder.resolve() / 'runs' / 'mlflow.db'}")
    experiments = [one.experiment_id for one in client.search_experiments()]
    runs = client.search_runs(experiments)
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(runs) == N_TRIALS + 1
    assert len({run.data.tags["mlflow.parentRunId"] for run in children}) == 1
    assert sorted(run.data.tags["trial"] for run in children) == [str(t.number) for t in trials]


@pytest.mark.heavy
def test_agents_share_a_postgresql_server(tiny: tuple[str, ...], tmp_path: Path) -> None:
    reason = postgresql.missing()
    if reason:
        pytest.skip(reason)
    with postgresql.server() as address:
        finish(tmp_path, *tiny, "sweep.agents=2", f"sweep.storage={address}", kind=Forked)
        require_each_trial_once(tmp_path, address.replace("://", "+psycopg://"))


@pytest.fixture(scope="module")
def studied(tiny: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a study whose agents joblib started."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    folder = tmp_path_factory.mktemp("joblib")
    finish(folder, *tiny, "sweep.agents=2", "hydra/launcher=joblib")
    return folder


@pytest.mark.heavy
def test_joblib_starts_the_agents(studied: Path) -> None:
    require_each_trial_once(studied, f"sqlite:///{studied}/runs/studies.db")


@pytest.mark.heavy
def test_ray_starts_the_agents(tiny: tuple[str, ...], tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_ray_launcher")
    quiet = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}  # no token, no call home
    said = finish(tmp_path, *tiny, "sweep.agents=2", "hydra/launcher=ray", kind=Forked, **quiet)
    assert "Started a local Ray instance" in said
    require_each_trial_once(tmp_path, f"sqlite:///{tmp_path}/runs/studies.db")


@pytest.mark.heavy
def test_slurm_starts_the_agents(tiny: tuple[str, ...], tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    reason = slurm.missing()
    if reason:
        pytest.skip(reason)
    with slurm.cluster(tmp_path / "slurm") as variables:
        finish(tmp_path, *tiny, "sweep.agents=2", "hydra/launcher=submitit_slurm",
               "hydra.launcher.mem_gb=0", kind=Forked, **variables)  # fmt: skip
    jobs = list((tmp_path / "runs" / "engines" / "agents").glob(".submitit/*/*_result.pkl"))
    assert len(jobs) == 2
    require_each_trial_once(tmp_path, f"sqlite:///{tmp_path}/runs/studies.db")


@pytest.mark.heavy
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
    assert [study["study_name"] for study in answer["study_summaries"]] == ["engines"]


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

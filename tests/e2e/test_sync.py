"""Runs with a replica, from the command line: what a server does to them, and what sync mends."""

import base64
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from processes import Command, Forked, ended, mlflow_run, result_of, run_folders
from replicas import copies, differences
from servers.dagshub import Dagshub
from servers.mlflow_server import MlflowServer
from servers.proxy import Proxy, Trouble

RUN = ("schedule.transfer.epochs=3", "schedule.finetune.epochs=3", "trainer.accelerator=cpu",
       "data.external=[]")  # fmt: skip
SECRETS = {
    name: f"a-secret-{name}-4711" for name in ("uri", "netrc", "file", "token", "proxy", "key")
}
LOAD = """
import sys
import mlflow.pyfunc, pandas as pd
table = mlflow.pyfunc.load_model(sys.argv[1]).predict(pd.DataFrame({"image": [sys.argv[2]]}))
print(len(table), "row")
"""
"""In a process of its own: MLflow puts the code of the model's folder before all other."""
ENDLESS = ("schedule.transfer.epochs=50000", "trainer.accelerator=cpu", "data.external=[]")


def sync(cwd: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return ended(cwd, *arguments, module="asl_exp.sync", timeout=180)


def local(runs: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{runs.resolve() / 'mlflow.db'}")


def recorded_epochs(runs: Path, name: str) -> int:
    """Return how many epochs of a run are in the local store."""
    found = local(runs).search_runs(["1"], f"attributes.run_name = '{name}'")
    histories = [local(runs).get_metric_history(r.info.run_id, "val/loss") for r in found]
    return max(map(len, histories), default=0)


def run_id_of(folder: Path) -> str:
    return str(result_of(folder)["mlflow_run_id"])


@pytest.mark.heavy
def test_a_server_that_fails_and_is_down(
    tiny: tuple[str, ...],
    tmp_path: Path,
    mlflow_3: MlflowServer,
    proxy: Callable[[MlflowServer], Proxy],
) -> None:
    """Three of ten calls fail, then none is answered; training ends, and sync completes it."""
    unreliable = proxy(mlflow_3)
    unreliable.trouble = Trouble(fail=0.2, cut_before=0.05, cut_after=0.05)
    with Forked(
        tmp_path, *tiny, *RUN, "schedule.transfer.epochs=60", "tracking=server",
        f"tracking.uri={unreliable.url}", "tracking.flush_timeout_s=2",
    ) as run:  # fmt: skip
        run.wait_for("transfer 5/60")
        unreliable.down()
        assert run.wait() == 0, run.text()
        assert "not everything is on" in run.text()
        assert "python -m asl_exp.sync" in run.text()
    runs = tmp_path / "runs"
    (folder,) = run_folders(runs)
    before = sync(tmp_path)
    assert before.returncode == 1, before.stderr
    unreliable.up()
    for _ in range(5):
        done = sync(tmp_path)
        if done.returncode == 0:
            break
    assert done.returncode == 0, done.stdout + done.stderr
    assert differences(local(runs), run_id_of(folder), mlflow_3.url) == []
    assert "nothing is left" in sync(tmp_path).stdout


@pytest.mark.heavy
def test_the_next_run_delivers_what_was_left(
    tiny: tuple[str, ...], tmp_path: Path, own_server: Callable[[str], MlflowServer]
) -> None:
    server, runs = own_server("3"), tmp_path / "runs"
    arguments = (*tiny, *RUN, "tracking=server", f"tracking.uri={server.url}/")
    server.kill()
    with Forked(tmp_path, *arguments) as refused:
        assert refused.wait() == 2
        assert "tracking.uri: " in refused.text()
        assert "nothing listens there" in refused.text()
    assert run_folders(runs) == []
    late = ("tracking.required=false", "tracking.flush_timeout_s=0.5")
    with Forked(tmp_path, *arguments, *late) as run:
        assert run.wait() == 0, run.text()
    server.start()
    with Forked(tmp_path, *arguments, "seed=1") as run:
        assert run.wait() == 0, run.text()
    folders = run_folders(runs)
    assert len(folders) == 2
    for folder in folders:
        assert differences(local(runs), run_id_of(folder), server.url) == []


@pytest.mark.heavy
def test_killed_runs_are_closed_and_living_ones_are_not(
    tiny: tuple[str, ...], tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    with (
        Forked(tmp_path, *tiny, *ENDLESS, "name=dead") as dead,
        Forked(tmp_path, *tiny, *ENDLESS, "name=alive") as alive,
    ):
        dead.wait_for("transfer 3/50000")
        dead.wait_until(lambda: all(recorded_epochs(runs, name) > 2 for name in ("dead", "alive")))
        dead.kill()
        dead.wait(30)
        done = sync(tmp_path)
        assert done.returncode == 0, done.stderr
        assert "closed: dead" in done.stdout
        assert "alive" not in done.stdout
        assert alive.alive()
        by_name = {result_of(folder)["name"]: folder for folder in run_folders(runs)}
        closed, living = (mlflow_run(runs, by_name[name]) for name in ("dead", "alive"))
        assert (closed.info.status, living.info.status) == ("KILLED", "RUNNING")
        assert int(closed.data.tags["last_epoch"]) >= 2
        result = result_of(by_name["dead"])
        assert result["status"] == "KILLED"
        assert re.search(r"died after \d+ epochs", result["failure"])
    assert "closed: alive" in sync(tmp_path).stdout
    assert all(run.info.status != "RUNNING" for run in local(runs).search_runs(["1"]))


@pytest.mark.heavy
def test_dagshub(
    tiny: tuple[str, ...],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    dagshub: Dagshub,
) -> None:
    """One run with everything, the repository read from the git remote; its model loads there.

    Nothing that the run leaves behind holds a secret, wherever one could have come from.
    """
    git = ["git", "-C", str(tmp_path)]
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    remote = f"{dagshub.host}/{dagshub.owner}/{dagshub.name}.git".replace("//", "//bob:hunter22@")
    subprocess.run([*git, "remote", "add", "origin", remote], check=True)
    (tmp_path / "notes.txt").write_text("first\n")
    subprocess.run([*git, "add", "notes.txt"], check=True)
    author = ("-c", "user.name=ada", "-c", "user.email=ada@localhost")
    subprocess.run([*git, *author, "commit", "-qm", "notes"], check=True)
    (tmp_path / "notes.txt").write_text(f"export DAGSHUB_USER_TOKEN={dagshub.WRITER}\n")
    home = _home_with_secrets(tmp_path_factory.mktemp("home"))
    variables = dagshub.environment(dagshub.WRITER, home) | _variables(home)
    with Command(tmp_path, *tiny, *RUN, "tracking=dagshub", **variables) as run:
        assert run.wait() == 0, run.text()
    (tmp_path / "notes.txt").unlink()
    refused = (*tiny, "tracking=server", f"tracking.uri=http://bob:{SECRETS['uri']}@127.0.0.1:9")
    for arguments in (refused, (*refused, f"tracking.uri=http://bob:{SECRETS['uri']}@[")):
        with Command(tmp_path, *arguments) as wrong:
            assert wrong.wait() == 2, wrong.text()
    assert f"copy on: {dagshub.url}" in run.text()
    (folder,) = run_folders(tmp_path / "runs")
    server = f"http://{dagshub.upstream.netloc}"
    assert differences(local(tmp_path / "runs"), run_id_of(folder), server, longest=500) == []
    (copy,) = copies(server, run_id_of(folder))
    asked = [f"runs:/{copy.info.run_id}/model", str(folder / "learning_curves.png")]
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD, *asked], capture_output=True, text=True, timeout=180,
        check=False, env={**os.environ, "MLFLOW_TRACKING_URI": dagshub.url,
                          "MLFLOW_TRACKING_USERNAME": dagshub.owner,
                          "MLFLOW_TRACKING_PASSWORD": dagshub.WRITER},
    )  # fmt: skip
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.splitlines()[-1] == "1 row"
    _finds_no_secret(tmp_path, [dagshub.WRITER, "hunter22", *SECRETS.values()])


def _home_with_secrets(home: Path) -> Path:
    (home / ".netrc").write_text(f"machine 127.0.0.1 login bob password {SECRETS['netrc']}\n")
    (home / ".mlflow").mkdir()
    (home / ".mlflow" / "credentials").write_text(
        f"[mlflow]\nmlflow_tracking_username = bob\nmlflow_tracking_password = {SECRETS['file']}\n"
    )
    return home


def _variables(home: Path) -> dict[str, str]:
    return {
        "HOME": str(home),
        "MLFLOW_TRACKING_TOKEN": SECRETS["token"],
        "HTTP_PROXY": f"http://bob:{SECRETS['proxy']}@127.0.0.1:9",
        "NO_PROXY": "127.0.0.1",
        "AWS_SECRET_ACCESS_KEY": SECRETS["key"],
    }


def _finds_no_secret(folder: Path, secrets: Iterable[str]) -> None:
    """Search every file, packed ones unpacked, and both databases with them."""
    forms = {secret.encode() for secret in secrets}
    forms |= {base64.b64encode(form) for form in forms}
    files = [path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts]
    assert {"mlflow.db", "ledger.db", "machine.json", "git.diff"} <= {path.name for path in files}
    for path in files:
        content = path.read_bytes()
        assert [form for form in forms if form in content] == [], path


@pytest.mark.heavy
def test_older_runs_are_copied_on_request(
    tiny: tuple[str, ...], tmp_path: Path, mlflow_3: MlflowServer
) -> None:
    for seed in (1, 2):
        with Forked(tmp_path, *tiny, *RUN, f"seed={seed}") as run:
            assert run.wait() == 0, run.text()
    runs = tmp_path / "runs"
    first, second = run_folders(runs)
    there = ("tracking=server", f"tracking.uri={mlflow_3.url}")
    assert sync(tmp_path, str(first)).returncode == 2, "it is not said where to"
    assert sync(tmp_path, str(first), *there).returncode == 0
    assert differences(local(runs), run_id_of(first), mlflow_3.url) == []
    assert copies(mlflow_3.url, run_id_of(second)) == []
    assert sync(tmp_path, "all", *there).returncode == 0
    assert differences(local(runs), run_id_of(second), mlflow_3.url) == []
    (copy,) = copies(mlflow_3.url, run_id_of(second))
    for given in (run_id_of(second), str(second / "model"), copy.info.run_id):
        told = sync(tmp_path, "--where", given).stdout
        assert run_id_of(second) in told
        assert str(second) in told
        assert str(second / "checkpoints" / "finetune.ckpt") in told
        assert copy.info.run_id in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--wher", "x"), "--wher"),
        (("--where",), "needs a RUN"),
        (("no-such-run",), "'no-such-run' is no run"),
        (("tracking=server",), "tracking.uri: is missing"),
        (("runs_dir=nowhere",), "runs_dir: no runs are recorded in 'nowhere'"),
    ],
)
def test_sync_says_what_is_wrong(
    tmp_path: Path, arguments: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from asl_exp.sync import main
    from asl_exp.tracking.store import open_store

    monkeypatch.chdir(tmp_path)
    open_store(tmp_path / "runs")
    assert main(list(arguments)) == 2
    assert told in capsys.readouterr().err

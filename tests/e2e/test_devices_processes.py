"""The command line on several devices: grids, two at once, errors, kills, signals, no orphans."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from processes import (
    Command,
    Forked,
    changed_when_loaded,
    history,
    kill_all,
    left,
    mlflow_run,
    result_of,
    run_folders,
)

from asl_exp.training.state import FOLDER

TWO = ("trainer.accelerator=cpu", "trainer.devices=2", "data.external=[]")
SHORT = ("schedule.transfer.epochs=1", "schedule.finetune.epochs=1")
EVERY_IMAGE = "schedule.transfer.features=never"  # an epoch takes its time, and writes a state
LONG = ("schedule.transfer.epochs=5000", "schedule.finetune.epochs=1", EVERY_IMAGE)
ENDS_WITHIN_S = 30


@pytest.mark.heavy
def test_bad_input_is_refused_at_once(tmp_path: Path) -> None:
    wrong = {
        "trainer.devices=0": "trainer.devices: got 0; must be greater than or equal to 1 (GPUs",
        "trainer.devices=-1": "trainer.devices: got -1; must be greater than or equal to 1 (GPUs",
        "trainer.devices=auto": "trainer.devices: got 'auto'; must be a whole number (GPUs, or "
        "processes on the CPU, of each machine: say how many, 'all' is not supported)",
        "trainer.devices=2": "trainer.devices: got 2, but this machine shows no GPU; use one "
        "device, or trainer.accelerator=cpu for processes on the CPU",
        "trainer.accelerator=cpu trainer.devices=3 data.batch_size=64": (
            "data.batch_size: 64 images"
        ),
        "trainer.accelerator=cpu trainer.num_nodes=2": "trainer.rendezvous: 2 machines need",
    }
    for arguments, words in wrong.items():
        with Forked(tmp_path, "backbone.pretrained=false", *arguments.split()) as run:
            assert run.wait() == 2, run.text()
            assert words in run.text()
            assert "Traceback" not in run.text()
    assert not list(tmp_path.glob("runs/*/result.json"))


@pytest.mark.heavy
def test_a_grid_of_two_jobs_of_two_ranks(tiny: tuple[str, ...], tmp_path: Path) -> None:
    with Forked(tmp_path, "--multirun", *tiny, *TWO, *SHORT, "seed=1,2") as grid:
        assert grid.wait(240) == 0, grid.text()
        assert "Traceback" not in grid.text()
        assert "Warning" not in grid.text()
        assert "srun" not in grid.text()
    runs = tmp_path / "runs"
    folders = run_folders(runs)
    assert len(folders) == 2, "one run folder a job"
    assert len(list(runs.glob("*_multirun"))) == 1
    for seed, folder in enumerate(folders, 1):
        run = mlflow_run(runs, folder)
        assert result_of(folder)["status"] == run.info.status == "FINISHED"
        assert run.data.params["seed"] == str(seed)
        for key, points in history(runs, folder).items():
            assert len({step for step, _ in points}) == len(points), f"{key}: recorded twice"
    signatures = {result_of(folder)["signature"] for folder in folders}
    assert len(signatures) == 2
    losses = [result_of(folder)["metrics"]["train/loss"] for folder in folders]
    assert losses[0] != losses[1]


@pytest.mark.heavy
def test_two_runs_started_at_once(tiny: tuple[str, ...], tmp_path: Path) -> None:
    arguments = (*tiny, *TWO, *SHORT, "tracking=off")
    with Forked(tmp_path / "a", *arguments) as one, Forked(tmp_path / "b", *arguments) as other:
        assert one.wait(240) == 0, one.text()
        assert other.wait(240) == 0, other.text()


RAISES_ON_RANK_1 = """
import os
def change(batches):
    share = batches.BatchLoader._batch
    def fail(self, rows, n=[0]):
        n[0] += 1
        if n[0] > 20 and os.environ.get("RANK") == "1":
            raise ValueError("the 21st batch of rank 1 is broken")
        return share(self, rows)
    batches.BatchLoader._batch = fail
"""
"""The launcher sets RANK, after all is loaded."""


def folder_of(runs: Path) -> Path:
    (folder,) = run_folders(runs)
    return folder


@pytest.mark.heavy
def test_a_rank_that_raises_ends_all(tiny: tuple[str, ...], tmp_path: Path) -> None:
    shim = changed_when_loaded(tmp_path / "shim", "asl_exp.data.loader", RAISES_ON_RANK_1)
    with Command(tmp_path, *tiny, *TWO, *LONG, python_path=[shim]) as run:
        run.wait_for("transfer 2/")
        tree = run.tree()
        assert run.wait(ENDS_WITHIN_S) == 1, run.text()
        assert left(tree) == []
        assert "asl_exp: rank 1: ValueError: the 21st batch of rank 1 is broken" in run.text()
    runs = tmp_path / "runs"
    assert mlflow_run(runs, folder_of(runs)).info.status == "FAILED"
    result = result_of(folder_of(runs))
    assert result["status"] == "FAILED"
    assert "the 21st batch" in result["failure"]


@pytest.mark.heavy
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_worker_ends_all(tiny: tuple[str, ...], tmp_path: Path, rank: int) -> None:
    with Forked(tmp_path, *tiny, *TWO, *LONG) as run:
        run.wait_for("transfer 3/")
        tree, workers = run.tree(), run.workers()
        assert len(workers) == 2, [p.cmdline() for p in tree]
        kill_all(workers[rank : rank + 1])
        assert run.wait(ENDS_WITHIN_S) == 1, run.text()
        assert left(tree) == []
        assert "killed from outside, or out of memory" in run.text()
    runs = tmp_path / "runs"
    assert mlflow_run(runs, folder_of(runs)).info.status == "FAILED"


@pytest.mark.heavy
def test_workers_end_with_a_killed_parent(tiny: tuple[str, ...], tmp_path: Path) -> None:
    """They and what forked them were forked from it: they share what it had imported."""
    with Command(tmp_path, *tiny, *TWO, *LONG) as run:
        run.wait_for("transfer 2/")
        tree = run.tree()
        assert len([one for one in tree if one.cmdline() == tree[0].cmdline()]) == 4
        os.kill(run.pid, signal.SIGKILL)
        orphans = left(tree, ENDS_WITHIN_S)
        kill_all(orphans)
        assert orphans == []


@pytest.mark.heavy
def test_signals_end_all_and_the_run_goes_on(tiny: tuple[str, ...], tmp_path: Path) -> None:
    """SIGTERM, taken up; SIGINT; taken up again with another number of devices."""
    runs, length = tmp_path / "runs", ("schedule.transfer.epochs=300", *LONG[1:])
    for sent, status, said in ((signal.SIGTERM, 143, "terminated"),
                               (signal.SIGINT, 130, "interrupted")):  # fmt: skip
        with Forked(tmp_path, *tiny, *TWO, *length, "resume=true") as run:
            run.wait_for("transfer")
            run.wait_until(lambda: any(runs.glob(f"*/{FOLDER}/*.ckpt")))
            if sent == signal.SIGINT:
                run.wait_for("resumed in phase transfer")
            run.wait_for(" img/s")
            tree = run.tree()
            for process in tree:  # as a terminal, SLURM and systemd do; the launcher sends its own
                process.send_signal(sent)
            assert run.wait(ENDS_WITHIN_S) == status, run.text()
            assert left(tree) == []
            assert said in run.text()
            assert "Traceback" not in run.text()
            assert "death signal" not in run.text()
        assert result_of(folder_of(runs))["status"] == "KILLED"
        assert mlflow_run(runs, folder_of(runs)).info.status == "KILLED"
    with Forked(tmp_path, *tiny, *length, "trainer.accelerator=cpu", "data.external=[]",
                "resume=true") as run:  # fmt: skip
        run.wait_for("the run had 2 devices and now has 1")
        assert run.wait(120) == 0, run.text()
    assert mlflow_run(runs, folder_of(runs)).info.status == "FINISHED"


def listening(processes: list[psutil.Process]) -> list[tuple[str, int]]:
    """Return the addresses on which processes of a run wait for connections."""
    found = []
    for process in processes:
        with suppress(psutil.Error):
            connections = process.net_connections(kind="inet")
            found += [tuple(c.laddr) for c in connections if c.status == psutil.CONN_LISTEN]
    return found


@pytest.mark.heavy
def test_one_machine_listens_to_itself_alone_and_a_stopped_worker_is_told(
    tiny: tuple[str, ...], tmp_path: Path
) -> None:
    """Also where a cluster's set-up names the interface that its machines share."""
    outwards = [name for name, of in psutil.net_if_stats().items() if of.isup][-1]
    shared = {"GLOO_SOCKET_IFNAME": outwards, "NCCL_SOCKET_IFNAME": outwards}
    with Forked(tmp_path, *tiny, *TWO, *LONG, **shared) as run:
        run.wait_for("transfer 2/")
        tree, workers = run.tree(), run.workers()
        assert {address for address, _ in listening(tree)} <= {"127.0.0.1", "::1"}
        workers[1].send_signal(signal.SIGTERM)
        assert run.wait(ENDS_WITHIN_S) == 1, run.text()
        assert left(tree, 20) == []
        assert "was terminated from outside (SIGTERM)" in run.text()
        assert "Traceback" not in run.text()


@pytest.mark.heavy
@pytest.mark.parametrize("after_s", [0.3, 1.0, 2.0])
def test_ctrl_c_in_the_first_seconds_is_one_sentence(
    after_s: float, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    """The whole group gets it, as from a terminal."""
    with Command(tmp_path, *tiny, *TWO, *LONG, prefix=("setsid",)) as run:
        time.sleep(after_s)
        tree = run.tree()
        os.killpg(run.pid, signal.SIGINT)
        assert run.wait(ENDS_WITHIN_S) in (130, -signal.SIGINT), run.text()
        assert left(tree, 20) == []
        assert "Traceback" not in run.text()

"""Several machines: two network namespaces on this one, joined by a cable of two virtual ends."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import Command, Forked, mlflow_run, result_of, run_folders

SHORT = ("schedule.transfer.epochs=1", "schedule.finetune.epochs=1", "trainer.accelerator=cpu",
         "trainer.num_nodes=2", "data.external=[]")  # fmt: skip


@pytest.mark.heavy
def test_a_rendezvous_that_nobody_joins(tiny: tuple[str, ...], tmp_path: Path) -> None:
    alone = ("trainer.rendezvous=127.0.0.1:29731", "trainer.rendezvous_timeout_s=5")
    with Forked(tmp_path, *tiny, *SHORT, *alone) as run:
        status = run.wait(90)
        assert status == 2, run.text()
        assert "Traceback" not in run.text()
        assert "1 of 2 machines came" in run.text()
        assert "127.0.0.1:29731" in run.text()


@pytest.fixture
def machines() -> Iterator[tuple[str, str]]:
    """Two namespaces with the addresses 10.77.0.1 and 10.77.0.2."""
    if shutil.which("ip") is None:
        pytest.skip("no command ip")
    names = (f"aslexp{os.getpid()}a", f"aslexp{os.getpid()}b")
    ends = (f"ae{os.getpid()}a", f"ae{os.getpid()}b")
    steps = [
        *(f"netns add {name}" for name in names),
        f"link add {ends[0]} type veth peer name {ends[1]}",
    ]
    for number, (name, end) in enumerate(zip(names, ends, strict=True), 1):
        steps += [
            f"link set {end} netns {name}",
            f"-n {name} addr add 10.77.0.{number}/24 dev {end}",
            f"-n {name} link set {end} up",
            f"-n {name} link set lo up",
        ]
    try:
        for step in steps:
            done = subprocess.run(
                ["ip", *step.split()], capture_output=True, text=True, timeout=20, check=False
            )
            if done.returncode:
                pytest.skip(f"ip {step}: {done.stderr.strip()}")
        yield names
    finally:
        for name in names:
            subprocess.run(
                ["ip", "netns", "del", name], capture_output=True, timeout=20, check=False
            )


@pytest.mark.heavy
def test_two_machines_train_one_run(
    tiny: tuple[str, ...], tmp_path: Path, machines: tuple[str, str]
) -> None:
    both = [
        Command(
            tmp_path / name, *tiny, *SHORT, "trainer.rendezvous=10.77.0.1:29500",
            "trainer.rendezvous_timeout_s=90", prefix=("ip", "netns", "exec", name),
        )
        for name in machines
    ]  # fmt: skip
    try:
        for command in both:
            assert command.wait(150) == 0, "\n".join(one.text() for one in both)
    finally:
        for command in both:
            command.kill()
    runs = [tmp_path / name / "runs" for name in machines]
    recorded = [path for path in runs if (path / "mlflow.db").is_file()]
    assert len(recorded) == 1, "one MLflow run"
    (folder,) = run_folders(recorded[0])
    assert mlflow_run(recorded[0], folder).info.status == "FINISHED"
    assert result_of(folder)["status"] == "FINISHED"

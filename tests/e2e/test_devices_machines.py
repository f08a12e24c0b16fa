"""Several machines: two network namespaces on this one, joined by a cable of two virtual ends."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from processes import Command, Forked, changed_when_loaded, mlflow_run, result_of, run_folders

from asl_exp.training.state import FOLDER

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


def on_both(
    tmp_path: Path,
    machines: tuple[str, str],
    *arguments: str,
    python_path: Sequence[Path] = (),
) -> tuple[list[int], list[str]]:
    """Start the same command on both; the second does not see the first one's folder."""
    hide = f'mount -t tmpfs none "{tmp_path / machines[0]}" && exec "$@"'  # for this process only
    both = [
        Command(
            tmp_path / name, *arguments, *SHORT, "trainer.rendezvous=10.77.0.1:29500",
            "trainer.rendezvous_timeout_s=90", prefix=("ip", "netns", "exec", name, *hidden),
            python_path=python_path,
        )
        for name, hidden in zip(machines, ((), ("sh", "-c", hide, "sh")), strict=True)
    ]  # fmt: skip
    try:
        return [command.wait(150) for command in both], [command.text() for command in both]
    finally:
        for command in both:
            command.kill()


NO_PICKLES = """
def refuse(*args, **options):
    raise AssertionError("an object is sent as a pickle")
def change(dist):
    for name in (
        "all_gather_object", "broadcast_object_list", "gather_object", "scatter_object_list"
    ):
        assert hasattr(dist, name)
        setattr(dist, name, refuse)
"""
"""What another machine sends is not unpickled, by Lightning neither."""


@pytest.mark.heavy
def test_two_machines_train_one_run(
    tiny: tuple[str, ...], tmp_path: Path, machines: tuple[str, str]
) -> None:
    shim = changed_when_loaded(tmp_path / "shim", "torch.distributed", NO_PICKLES)
    statuses, said = on_both(tmp_path, machines, *tiny, python_path=[shim])
    assert statuses == [0, 0], "\n".join(said)
    first, second = (tmp_path / name / "runs" for name in machines)
    (folder,) = run_folders(first)
    assert mlflow_run(first, folder).info.status == "FINISHED"
    assert result_of(folder)["status"] == "FINISHED"
    assert run_folders(second) == [], "one run, on the first machine"


@pytest.mark.exhaustive
def test_a_state_that_only_one_machine_sees(
    tiny: tuple[str, ...], tmp_path: Path, machines: tuple[str, str]
) -> None:
    alone = [text for text in SHORT if "num_nodes" not in text]
    runs = tmp_path / machines[0] / "runs"
    with Forked(tmp_path, *tiny, *alone, f"runs_dir={runs}") as run:
        run.wait_until(lambda: any(runs.glob(f"*/{FOLDER}/000001-*.ckpt")))
        run.kill()
        run.wait(30)
    statuses, said = on_both(tmp_path, machines, *tiny, "resume=true")
    assert statuses == [2, 2], "\n".join(said)
    for text in said:
        assert "resume: not all machines see the state in" in text
        assert "Traceback" not in text

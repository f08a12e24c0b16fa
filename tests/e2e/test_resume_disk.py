"""A disk that fills up in the middle of a run: said, nothing lost, and gone on with after."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import Forked, outcome, result_of, run_folders

from asl_exp.training.state import FOLDER, find_state

RUN = (
    "schedule.transfer.epochs=40", "schedule.finetune.epochs=2", "augmentation=paper",
    "trainer.accelerator=cpu", "data.external=[]", "schedule.transfer.features=never",
)  # fmt: skip
DISK_MB = 24


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip(f"mount: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], timeout=20, check=True)


def fill(path: Path) -> None:
    """Write until there is no more room."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


@pytest.mark.heavy
def test_a_full_disk(tiny: tuple[str, ...], tmp_path: Path, disk: Path) -> None:
    runs, arguments = disk / "runs", (*tiny, *RUN)
    with Forked(tmp_path, *arguments, f"runs_dir={runs}") as run:
        run.wait_until(lambda: any(runs.glob(f"*/{FOLDER}/000003-*.ckpt")))
        fill(disk / "others")
        assert run.wait(60) == 1, run.text()
        said = run.text()
    (folder,) = run_folders(runs)
    assert "Traceback" not in said
    assert f"cannot write to '{folder}'" in said
    assert "resume=true goes on" in said
    state = find_state(folder)
    assert state is not None
    assert len(state.rows) >= 3
    (disk / "others").unlink()
    with Forked(tmp_path, *arguments, f"runs_dir={runs}", "resume=true") as run:
        assert run.wait(120) == 0, run.text()
        assert f"resumed in phase {state.phase}, epoch {len(state.rows) + 1}" in run.text()
    assert run_folders(runs) == [folder]
    assert result_of(folder)["status"] == "FINISHED"
    whole = tmp_path / "whole"
    with Forked(tmp_path, *arguments, f"runs_dir={whole}") as run:
        assert run.wait(120) == 0, run.text()
    assert outcome(runs, folder) == outcome(whole, run_folders(whole)[0])

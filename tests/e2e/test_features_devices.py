"""Stored features with real processes: two devices compute one file, and a kill leaves no half."""

from pathlib import Path

import pytest
from processes import Forked, history, outcome, run_folders

pytestmark = pytest.mark.heavy

RUN = (
    "augmentation=paper", "trainer.accelerator=cpu", "data.external=[]",
    "schedule.transfer.epochs=3", "schedule.finetune.epochs=1", "schedule.transfer.views=2",
    "schedule.transfer.features=always", "data.synthetic.images_per_letter=20",
)  # fmt: skip


def ran(tiny: tuple[str, ...], folder: Path, *overrides: str) -> dict[str, bytes]:
    """Run to the end; return the files of features that it made."""
    arguments = (*tiny, *RUN, *overrides, f"runs_dir={folder}", f"data.cache_dir={folder / 'c'}")
    with Forked(folder, *arguments) as run:
        assert run.wait(180) == 0, run.text()
    return {file.name: file.read_bytes() for file in (folder / "c" / "features").glob("*.f32")}


def test_two_devices_compute_together_what_one_computes(
    tiny: tuple[str, ...], tmp_path: Path
) -> None:
    alone = ran(tiny, tmp_path / "one")
    together = ran(tiny, tmp_path / "two", "trainer.devices=2")
    assert len(alone) == 3  # two views of the training images, the validation images as they are
    assert together == alone
    one, two = (history(tmp_path / n, run_folders(tmp_path / n)[0]) for n in ("one", "two"))
    for key in ("train/loss", "val/loss"):  # dropout differs between ranks in training
        assert [step for step, _ in one[key]] == [step for step, _ in two[key]]


def test_killed_while_features_are_written_a_run_goes_on(
    tiny: tuple[str, ...], tmp_path: Path
) -> None:
    ran(tiny, tmp_path / "whole")
    folder = tmp_path / "killed"
    places = (f"runs_dir={folder}", f"data.cache_dir={folder / 'c'}")
    with Forked(folder, *tiny, *RUN, *places) as run:
        run.wait_until(lambda: any((folder / "c" / "features").glob("*.part")))
        run.kill()
    with Forked(folder, *tiny, *RUN, *places, "resume=true") as run:
        assert run.wait(180) == 0, run.text()
    assert not list((folder / "c").glob("*/*.part"))
    whole = outcome(tmp_path / "whole", run_folders(tmp_path / "whole")[0])
    assert outcome(folder, run_folders(folder)[-1]) == whole

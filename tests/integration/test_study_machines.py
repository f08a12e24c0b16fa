"""Trials of one study on machines that differ: what decides their numbers is decided once."""

from pathlib import Path

import pytest

from asl_exp.config.errors import DataError, UserError
from asl_exp.config.study_plan import plan_study
from asl_exp.runs.result import Result
from asl_exp.study.agent import work
from asl_exp.study.study import open_study

STUDY = (
    "sweep=nadam_l2_dropout", "sweep.name=s", "schedule.transfer.epochs=16", "augmentation=paper",
    "sweep.pruner.name=none", "schedule.finetune.epochs=0", "data.external=[]",
    "trainer.accelerator=cpu", "tracking=off",
)  # fmt: skip


pytestmark = pytest.mark.usefixtures("folder")


def run_trials(n_trials: int, *overrides: str) -> list[Result]:
    """Work as one agent until the study has so many trials; return what each came to."""
    plan = plan_study([*STUDY, f"sweep.n_trials={n_trials}", *overrides])
    work(open_study(plan), f"command {n_trials}")
    results = [Result.read(folder) for folder in sorted(plan.folder.glob("*_asl_small_cnn"))]
    return [result for result in results if result]


def test_an_agent_with_less_room_stores_as_the_first_one_decided(
    tiny: tuple[str, ...], tmp_path: Path
) -> None:
    own = (*tiny, f"data.cache_dir={tmp_path / 'cache'}")
    run_trials(1, *own)
    results = run_trials(2, *own, "data.cache_limit_gb=0.0005")
    assert [result.stored_views for result in results] == [{"transfer": 16}] * 2


@pytest.mark.heavy
def test_an_agent_that_stores_no_pixels_is_refused(tiny: tuple[str, ...]) -> None:
    run_trials(1, *tiny)
    with pytest.raises(UserError, match=r"data\.store: study 's' began with True, now it is False"):
        run_trials(2, *tiny, "data.store=false")
    assert len(run_trials(2, *tiny, "data.store=false", "sweep.extend=true")) == 2


@pytest.mark.usefixtures("no_room_for_features")
def test_a_full_disk_ends_a_study_instead_of_mixing(tiny: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.cache_dir: no room .* features=never"):
        run_trials(1, *tiny, f"data.cache_dir={tmp_path / 'cache'}")

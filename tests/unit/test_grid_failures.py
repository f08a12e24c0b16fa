"""A grid of which some jobs fail: all are run, each failure is named, the status is 1."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher

from asl_exp.config.errors import PastHydra, RunError
from asl_exp.runs.writing import remove_empty
from hydra_plugins.asl_exp_sweeper import GridSweeper, _Outcomes

JOBS = [["lr.transfer=1e-3", f"seed={seed}", "name=x y"] for seed in range(4)]


class Engine(Launcher):
    """Runs jobs as Hydra's launchers do: an error is what a job returns."""

    def __init__(self, errors: dict[int, BaseException | None]) -> None:
        self.errors, self.ran = errors, 0

    def setup(self, **given: Any) -> None:
        raise NotImplementedError

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        returned = []
        for number, _ in enumerate(job_overrides, initial_job_idx):
            self.ran += 1
            result = JobReturn()
            failed = number in self.errors
            result.status = JobStatus.FAILED if failed else JobStatus.COMPLETED
            result.return_value = self.errors[number] if failed else 0.5
            returned.append(result)
        return returned


FAILED: dict[str, tuple[dict[int, BaseException | None], list[str]]] = {
    "none": ({}, []),
    "the first": ({0: RunError("no room")}, ["1 of 4 jobs", "job 0 (seed=0): no room"]),
    "the last": ({3: RunError("no room")}, ["1 of 4 jobs", "job 3 (seed=3): no room"]),
    "two": (
        {1: RunError("NaN"), 2: ValueError("odd")},
        ["2 of 4 jobs", "job 1 (seed=1): NaN", "job 2 (seed=2): odd"],
    ),
    "all": (dict.fromkeys(range(4), RunError("no data")), ["4 of 4 jobs", "job 0", "job 3"]),
    "without a word": ({1: None}, ["1 of 4 jobs", "job 1 (seed=1): it did not end"]),
}


@pytest.mark.parametrize("batch", [1, 3, 4])
@pytest.mark.parametrize("what", FAILED)
def test_all_jobs_are_run_and_the_failed_ones_named(what: str, batch: int) -> None:
    errors, told = FAILED[what]
    engine = Engine(errors)
    outcomes = _Outcomes(engine)
    for start in range(0, len(JOBS), batch):
        for job in outcomes.launch(JOBS[start : start + batch], start):
            assert isinstance(job.return_value, float), "Hydra would raise here and end the grid"
    assert engine.ran == 4
    said = outcomes.failures()
    assert (said is None) == (not told)
    assert all(part in (said or "") for part in told), said


class Listed:
    """Hydra's own grid: writes its listing, then launches."""

    def __init__(self, folder: Path, launcher: Engine, beside: str | None) -> None:
        self.folder, self.launcher, self.beside = folder, launcher, beside

    def setup(self, **given: Any) -> None:
        """Nothing to prepare."""

    def sweep(self, arguments: Sequence[str]) -> None:
        self.folder.mkdir(parents=True)
        for name in ("multirun.yaml", *([self.beside] if self.beside else [])):
            (self.folder / name).touch()
        self.launcher.launch(JOBS, 0)


@pytest.mark.parametrize(
    ("failed", "beside", "left"),
    [(range(4), None, False), (range(4), "0", True), ((1, 2), None, True), ((), None, True)],
)
def test_a_grid_of_which_nothing_came_leaves_nothing(
    failed: Sequence[int], beside: str | None, left: bool, tmp_path: Path
) -> None:
    folder, sweeper = tmp_path / "runs" / "grid", GridSweeper()
    engine = Engine(dict.fromkeys(failed, RunError("no data")))
    sweeper._grid = Listed(folder, engine, beside)
    config: Any = SimpleNamespace(hydra=SimpleNamespace(sweep=SimpleNamespace(dir=str(folder))))
    sweeper.setup(hydra_context=Any, task_function=Any, config=config)  # type: ignore[arg-type]
    if failed:
        with pytest.raises(PastHydra):
            sweeper.sweep([])
    else:
        sweeper.sweep([])
    assert folder.exists() == folder.parent.exists() == left


@pytest.mark.parametrize("place", ["run", "runs/run", "runs/more/run"])
def test_the_folder_where_a_command_is_typed_is_not_removed(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(place).mkdir(parents=True)
    remove_empty(Path(place))
    assert tmp_path.is_dir()
    assert not Path(place).exists()
    assert Path(place).parent.is_dir() == (place == "run")

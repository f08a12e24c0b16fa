"""Hydra's way into a study and a grid: it takes sweepers from the namespace hydra_plugins alone."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class StudySweeper(Sweeper):
    """Runs a study; everything is done in asl_exp.study."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what launchers need."""
        self.hydra_context = hydra_context
        self.config = config

    def sweep(self, arguments: Sequence[str]) -> None:
        """Run the study of a command line."""
        from asl_exp.cli import load_packages

        load_packages("timm", "pytorch_lightning")
        from asl_exp.study.command import run_study_command

        if self.config is None or self.hydra_context is None:
            raise RuntimeError("setup comes before sweep")
        run_study_command(list(arguments), self.config, self.hydra_context)


class GridSweeper(Sweeper):
    """Runs every job of a grid, whichever of them fail; then says which did.

    Args:
        max_batch_size: jobs that are given to the launcher together; None: all.
        params: overrides that are varied beside those of the command line.
    """

    def __init__(
        self, max_batch_size: int | None = None, params: dict[str, str] | None = None
    ) -> None:
        from asl_exp.compat.hydra import grid_sweeper

        self._grid = grid_sweeper(max_batch_size, params)

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Prepare Hydra's own sweeper and the launcher."""
        self._folder = str(config.hydra.sweep.dir)
        self._grid.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: Sequence[str]) -> Any:
        """Run the grid.

        Raises:
            PastHydra: with the jobs that failed.
        """
        from asl_exp.config.errors import PastHydra, RunError

        assert self._grid.launcher is not None
        self._grid.launcher = outcomes = _Outcomes(self._grid.launcher)
        results = self._grid.sweep(list(arguments))
        if outcomes.none_is_done():
            self._remove_listing()
        if told := outcomes.failures():
            raise PastHydra(RunError(told))
        return results

    def _remove_listing(self) -> None:
        """Remove what Hydra wrote of a grid, where nothing else came of it."""
        from asl_exp.runs.writing import remove_empty

        folder = Path(self._folder)
        if [path.name for path in folder.glob("*")] == [_LISTING]:
            (folder / _LISTING).unlink()
            remove_empty(folder)


_LISTING: Final = "multirun.yaml"


class _Outcomes(Launcher):
    """Launches as another launcher does and keeps what came of each job."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._jobs: list[tuple[Sequence[str], str | None]] = []

    def setup(self, **given: Any) -> None:
        """Leave what was set up as it is."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Launch; jobs that failed return NaN in place of their error."""
        from asl_exp.compat.hydra import returned

        results = self._launcher.launch(job_overrides, initial_job_idx)
        for overrides, result in zip(job_overrides, results, strict=True):
            reason = None
            if result.status != JobStatus.COMPLETED:
                error = returned(result)
                reason = str(error) if isinstance(error, Exception) else "it did not end"
                result.status, result.return_value = JobStatus.COMPLETED, math.nan
            self._jobs.append((overrides, reason))
        return results

    def none_is_done(self) -> bool:
        """Return whether every job has failed."""
        return all(why is not None for _, why in self._jobs)

    def failures(self) -> str | None:
        """Return which jobs failed and why; None where all are done."""
        failed = [(n, job, why) for n, (job, why) in enumerate(self._jobs) if why is not None]
        if not failed:
            return None
        shared = set.intersection(*(set(job) for job, _ in self._jobs))
        lines = [
            f"{len(failed)} of {len(self._jobs)} jobs of the grid failed, the others are done:"
        ]
        for number, job, why in failed:
            own = " ".join(part for part in job if part not in shared)
            lines.append(f"  job {number} ({own or 'the only one'}): {why}")
        return "\n".join(lines)

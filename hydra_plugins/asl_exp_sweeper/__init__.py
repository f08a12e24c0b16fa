"""Hydra's way into a study: it takes sweepers from the namespace hydra_plugins alone."""

from collections.abc import Sequence
from typing import Any

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

    def sweep(self, arguments: Sequence[str]) -> Any:
        """Run the study of a command line; return its best value."""
        from asl_exp.study.command import run_study_command

        if self.config is None or self.hydra_context is None:
            raise RuntimeError("setup comes before sweep")
        return run_study_command(list(arguments), self.config, self.hydra_context)

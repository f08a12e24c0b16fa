"""A study from its command line to its outcome."""

import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

from hydra.types import HydraContext
from omegaconf import DictConfig

from asl_exp.config.errors import Interrupted, RunError, UserError
from asl_exp.config.plan import Plan, plan_study


def run_study_command(
    arguments: list[str], config: DictConfig, hydra_context: HydraContext
) -> float | list[float] | None:
    """Run the study that a command line asks for; return its best value, or the front's.

    Raises:
        SystemExit: with status 2 or 1 and one message, where it cannot go on.
        Interrupted: Ctrl-C or SIGTERM, after it has said how to continue.
    """
    try:
        plan = plan_study(arguments, searchpath=_own_folders(config))
        return _run(plan, arguments, config, hydra_context)
    except UserError as error:
        print(f"asl_exp: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except RunError as error:
        print(f"asl_exp: {error}", file=sys.stderr)
        raise SystemExit(1) from None


def _own_folders(config: DictConfig) -> list[str]:
    """Return the user's own configuration folders: --config-dir, and hydra.searchpath."""
    return [
        str(source.path) if "://" in str(source.path) else f"file://{source.path}"
        for source in config.hydra.runtime.config_sources
        if source.provider not in ("hydra", "main", "schema") and source.path
    ]


def _run(
    plan: Plan, arguments: list[str], config: DictConfig, hydra_context: HydraContext
) -> float | list[float] | None:
    from asl_exp.sweep.study import open_study

    opened = open_study(plan)  # before torch is imported: a storage's faults come at once
    from asl_exp.sweep.agent import work
    from asl_exp.sweep.lines import Lines

    command = uuid4().hex[:12]
    try:
        with Lines(opened) as lines:
            work(opened, command, lines.show)
    except Interrupted:
        print(_how_to_continue(plan), file=sys.stderr)
        raise
    return _best(opened.study)


def _how_to_continue(plan: Plan) -> str:
    return f"asl_exp: the same command continues study {plan.name}"


def _best(study: Any) -> float | list[float] | None:
    if len(study.directions) > 1:
        return [value for trial in study.best_trials for value in trial.values]
    try:
        return float(study.best_value)
    except ValueError:  # no trial was completed
        return None

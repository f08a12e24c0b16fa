"""A study from its command line to its outcome."""

import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from filelock import FileLock
from hydra.types import HydraContext
from omegaconf import DictConfig

from asl_exp.compat.hydra import has_engine
from asl_exp.config.errors import Interrupted, PastHydra, RunError, UserError
from asl_exp.config.study_plan import Plan, plan_study
from asl_exp.training.forking import begin_forking


def run_study_command(
    arguments: list[str], config: DictConfig, hydra_context: HydraContext
) -> None:
    """Run the study that a command line asks for.

    Raises:
        PastHydra: with what was wrong, where it cannot go on.
        Interrupted: Ctrl-C or SIGTERM, after it has said how to continue.
    """
    try:
        plan = plan_study(arguments, searchpath=_own_folders(config))
        if any(word.startswith("hydra.sweep.dir=") for word in config.hydra.overrides.hydra):
            plan = replace(plan, folder=Path(config.hydra.sweep.dir))
        _run(plan, arguments, config, hydra_context)
    except (UserError, RunError) as error:
        raise PastHydra(error) from None


def _own_folders(config: DictConfig) -> list[str]:
    """Return the user's own configuration folders."""
    return [
        f"file://{source.path}"
        for source in config.hydra.runtime.config_sources
        if source.provider == "command-line"
    ]


def _run(plan: Plan, arguments: list[str], config: DictConfig, hydra_context: HydraContext) -> None:
    from asl_exp.study.study import open_study

    opened = open_study(plan)  # before torch is imported: a storage's faults come at once
    agents = ["asl_exp.study.agent_launch"] if plan.sweep.agents > 1 else []
    if (agents or plan.base.trainer.devices > 1) and not has_engine(config):
        begin_forking(*agents)
    from asl_exp.config.process_setup import signals_deferred
    from asl_exp.replica.background import begin_delivery
    from asl_exp.study.agent_launch import Command, run_agents
    from asl_exp.study.mlflow_parent import open_parent, recorder_of
    from asl_exp.study.progress import Lines
    from asl_exp.study.report import conclude
    from asl_exp.study.sampling import outside
    from asl_exp.study.storage import LOST, lost

    begin_delivery(plan.base.tracking, plan.runs_dir, print)
    plan.folder.mkdir(parents=True, exist_ok=True)
    typed = [word for word in config.hydra.overrides.hydra if not word.startswith("hydra.mode=")]
    typed += arguments
    one_at_a_time = FileLock(plan.folder / ".outcome_lock")
    parent = None
    try:
        with signals_deferred():
            parent = open_parent(opened)
        command = Command(plan, uuid4().hex[:12], parent)
        for told in outside(plan):
            print(told)
        with Lines(opened) as lines:
            run_agents(opened, command, lines, config, hydra_context)
        with one_at_a_time:
            conclude(opened, parent, typed)
    except Interrupted:
        with one_at_a_time:
            conclude(opened, parent, typed, status="KILLED")
        told = f"the same command continues study {plan.name}; resume is for single runs"
        print(f"asl_exp: {told}", file=sys.stderr)
        raise
    except RunError:
        with one_at_a_time, suppress(KeyError, *LOST):  # its storage may be what failed
            conclude(opened, parent, typed, status="FAILED")
        recorder_of(plan, parent).end("FAILED")
        raise
    except LOST as error:
        recorder_of(plan, parent).end("FAILED")
        raise RunError(lost(error)) from None
    except BaseException:
        recorder_of(plan, parent).end("FAILED")
        raise

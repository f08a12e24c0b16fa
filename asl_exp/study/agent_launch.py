"""Starts the agents of a command: here, as processes of this machine, or as jobs of an engine.

Agents know the study's plan, with its storage, and nothing of each other.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from omegaconf import DictConfig, open_dict

from asl_exp.compat.hydra import has_engine
from asl_exp.config.errors import Interrupted, RunError, UserError, WorkerError
from asl_exp.config.machine_checks import visible_gpus
from asl_exp.config.overrides import quoted_override
from asl_exp.config.process_setup import end_silently, raise_interrupts
from asl_exp.config.redact import scrubbed
from asl_exp.config.study_plan import Plan
from asl_exp.study.agent import work
from asl_exp.study.claims import Budget
from asl_exp.study.progress import Lines
from asl_exp.study.storage import LOST, lost
from asl_exp.study.study import OpenStudy, open_study
from asl_exp.training.forking import METHOD, begin_forking
from asl_exp.training.launcher import end_with_parent

_SHOW_S = 0.5
"""Between looks for trials that have ended, whose lines are then printed: soon for a person."""

_FAREWELL_S = 60
"""For an agent that was told to end: its own workers get 20 s, then it records its run."""

Fault = UserError | RunError


@dataclass(frozen=True)
class Command:
    """What every agent is told.

    Attributes:
        id: of this command, to tell its trials from those of others.
        parent_id: of the study's MLflow run in the store of the command's machine.
    """

    plan: Plan
    id: str
    parent_id: str | None


def run_agents(
    opened: OpenStudy,
    command: Command,
    lines: Lines,
    config: DictConfig,
    hydra_context: HydraContext,
) -> None:
    """Run the agents that the study asks for until all have ended.

    Raises:
        UserError, RunError: the first that an agent met.
        Interrupted: Ctrl-C or SIGTERM, after all have ended.
    """
    if Budget(opened, command.id).is_spent():
        return
    if has_engine(config):
        faults = _run_jobs(command, lines, config, hydra_context)
    elif command.plan.sweep.agents > 1:
        faults = _run_processes(command, lines)
    else:
        work(opened, command.id, command.parent_id, lines.show)
        faults = []
    if faults:
        raise min(faults, key=lambda fault: isinstance(fault, RunError))  # the user's own first
    if not Budget(opened, command.id).is_spent():
        raise WorkerError("all agents ended before the study did: killed, or out of memory")


def _run_processes(command: Command, lines: Lines) -> list[Fault]:
    """Run agents as processes that share what they import."""
    context = multiprocessing.get_context(METHOD)
    begin_forking(__name__)
    agents: list[BaseProcess] = []
    pipes: list[Connection] = []
    try:
        for number in range(command.plan.sweep.agents):
            receiving, sending = context.Pipe(duplex=False)
            agent = context.Process(target=_process, args=(command, number, sending))
            agent.start()
            sending.close()
            agents.append(agent)
            pipes.append(receiving)
        while any(agent.is_alive() for agent in agents):
            wait([agent.sentinel for agent in agents if agent.is_alive()], timeout=_SHOW_S)
            lines.show()
    except Interrupted:
        _end(agents)
        for fault in _faults(pipes):
            told = f"asl_exp: an agent ended with another fault: {fault}"
            print(scrubbed(told), file=sys.stderr)
        raise
    finally:
        _end(agents)
    return _faults(pipes)


def _end(agents: list[BaseProcess]) -> None:
    """Ask those that still run to end, and wait until they have."""
    for agent in agents:
        if agent.is_alive():
            agent.terminate()
    for agent in agents:
        agent.join(_FAREWELL_S)
        if agent.is_alive():
            agent.kill()
            agent.join()


def _faults(pipes: list[Connection]) -> list[Fault]:
    """Return what the agents that have ended met; one that was killed could not say."""
    faults = []
    for pipe in pipes:
        with suppress(EOFError, OSError):
            faults.append(pipe.recv())
    return faults


def _process(command: Command, number: int, told: Connection) -> None:
    """Be one of several agents of a machine."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the calling process hands on what it gets
        raise_interrupts(signal.SIGTERM, once=True)
        threading.Thread(target=end_with_parent, daemon=True).start()
        fault = _work(command, number)
        end_silently(signal.SIGTERM)
    except Interrupted as interruption:
        sys.exit(interruption.exit_status)
    if fault is not None:
        told.send(fault)
        sys.exit(1)


def _work(command: Command, number: int | None) -> Fault | None:
    """Work on the study as one agent; return the fault that ended it.

    Args:
        command: of the user.
        number: of the agent among those that share the machine; None: it is not shared.
    """
    try:
        if number is not None:
            share_machine(command.plan, number)
        work(open_study(command.plan), command.id, command.parent_id)
    except (UserError, RunError) as error:
        return error
    except LOST as error:
        return RunError(lost(error))
    return None


def share_machine(plan: Plan, number: int) -> None:
    """Give an agent GPUs of its own, or its share of the cores; devices are reused in turn."""
    trainer, gpus = plan.base.trainer, visible_gpus()
    if trainer.accelerator != "cpu" and gpus:
        named = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
        first = number * trainer.devices
        own = [named[(first + device) % gpus] for device in range(trainer.devices)]
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(own)
    elif hasattr(os, "sched_setaffinity"):  # macOS cannot; there its scheduler shares the cores
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[number :: plan.sweep.agents] or [cores[number % len(cores)]])


def _run_jobs(
    command: Command, lines: Lines, config: DictConfig, hydra_context: HydraContext
) -> list[Fault]:
    """Run agents as jobs of the engine that ``hydra/launcher`` names."""
    folder = command.plan.folder / "agents"
    own = config.copy()
    with open_dict(own):
        own.hydra.sweep.dir = str(folder)
    shared = "joblib" in str(config.hydra.launcher._target_)
    launcher = Plugins.instance().instantiate_launcher(
        hydra_context=hydra_context,
        task_function=partial(_job, command, shared),
        config=own,
    )
    sweep_dir = quoted_override("hydra.sweep.dir", str(folder))
    numbers = range(command.plan.sweep.agents)
    jobs = [[sweep_dir, f"hydra.sweep.subdir='{number}'"] for number in numbers]
    with _shown(lines):
        ended = launcher.launch(jobs, initial_job_idx=0)
    return [fault for job in ended if (fault := job.return_value) is not None]


def _job(command: Command, shared: bool, _: DictConfig) -> Fault | None:
    """Be an agent that an engine started; those of clusters give GPUs and cores themselves."""
    return _work(command, int(HydraConfig.get().job.num) if shared else None)


@contextmanager
def _shown(lines: Lines) -> Iterator[None]:
    """Show the lines of trials while an engine's agents try them."""
    ended = threading.Event()

    def show() -> None:
        with suppress(*LOST):  # which the agents tell themselves
            while not ended.wait(_SHOW_S):
                lines.show()

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()

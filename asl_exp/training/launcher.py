"""One worker process a device, started by PyTorch's elastic launcher from the checked config.

Workers get the resolved configuration and never the user's command line, so a worker cannot start
a study or a grid of its own. The calling process waits, hands on interrupts, and says how
the run ended, since it outlives every worker.

Workers are forked by a forkserver (forking.py).
"""

import json
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from asl_exp.compat.torch_launcher import (
    LOGGERS,
    ChildFailedError,
    DefaultLogsSpecs,
    LaunchConfig,
    RendezvousClosedError,
    RendezvousConnectionError,
    RendezvousTimeoutError,
    elastic_launch,
)
from asl_exp.config.errors import Interrupted, UserError, WorkerError, rebuilt
from asl_exp.config.process_setup import end_silently, raise_interrupts
from asl_exp.config.schema import Config, TrainerConfig
from asl_exp.training.device import device_of
from asl_exp.training.forking import METHOD, begin_forking
from asl_exp.training.process_store import BACKEND, Rendezvous, join_group
from asl_exp.training.ranks import gather
from asl_exp.training.rendezvous import address_for_others, interface, is_first, rendezvous_address
from asl_exp.training.state import state_names

_SHUTDOWN_S = 20  # in which a worker records how its run ended, before it is killed
_LOST = ("RuntimeError", "DistBackendError", "DistNetworkError", "DistStoreError")
"""What torch raises where a partner is gone."""

Train = Callable[[Config, Path], float]
"""Does the work of one rank; a module's function, so that it can be sent to a process."""


def run_in_workers(config: Config, run_folder: Path, train: Train) -> float:
    """Run ``train`` as every rank of one experiment; return its objective.

    Raises:
        the workers' own UserError or NonFiniteLossError; WorkerError for anything else in them;
        Interrupted: Ctrl-C or SIGTERM, after all workers have ended.
    """
    run_folder.mkdir(parents=True, exist_ok=True)
    faults = run_folder / ".workers"
    shutil.rmtree(faults, ignore_errors=True)
    faults.mkdir()
    for logger in LOGGERS:
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    begin_forking()
    raise_interrupts(*handlers, once=True)
    private = tempfile.TemporaryDirectory(prefix="asl_exp-")  # of mode 0700
    folder = Path(private.name) if config.trainer.num_nodes == 1 else None
    try:
        objectives = elastic_launch(_launch_config(config, folder), work)(
            config.model_dump(), str(run_folder), str(faults), train, folder
        )
    except (RendezvousTimeoutError, RendezvousConnectionError, RendezvousClosedError):
        raise _nobody_came(config) from None
    except ChildFailedError:
        raise first_error(faults, config.trainer.devices) from None
    finally:
        private.cleanup()
        shutil.rmtree(faults, ignore_errors=True)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return float(next(iter(objectives.values())))


def _launch_config(config: Config, folder: Path | None) -> LaunchConfig:
    """Return how workers are started.

    Args:
        folder: where its processes find each other, on one machine; None for several.
    """
    trainer, first = config.trainer, is_first(config.trainer)
    point = rendezvous_address(trainer)
    rendezvous = Rendezvous(folder, point, first, trainer.num_nodes, trainer.rendezvous_timeout_s)
    return LaunchConfig(
        min_nodes=trainer.num_nodes,
        max_nodes=trainer.num_nodes,
        nproc_per_node=trainer.devices,
        rdzv_endpoint=point or "",
        rdzv_backend=BACKEND,
        rdzv_configs={"rendezvous": rendezvous},
        run_id="asl_exp" if point else uuid4().hex,
        local_addr=address_for_others(trainer),
        max_restarts=0,
        monitor_interval=0.2,
        start_method=METHOD,
        logs_specs=DefaultLogsSpecs(),
        signals_to_handle="none",  # of torch: ours stay
        shutdown_timeout=_SHUTDOWN_S,
    )


def _nobody_came(config: Config) -> UserError:
    trainer = config.trainer
    who = (
        "1 of 2 machines" if trainer.num_nodes == 2 else f"not all of {trainer.num_nodes} machines"
    )
    return UserError(
        f"trainer.rendezvous: {who} came to {rendezvous_address(trainer)} within "
        f"{trainer.rendezvous_timeout_s} s (trainer.rendezvous_timeout_s); start the same command "
        "on all, with the address of the first, which the others must be able to reach"
    )


def work(
    values: dict[str, Any], run_folder: str, faults: str, train: Train, rendezvous: Path | None
) -> float:
    """Run the experiment as one rank; return the objective, which all ranks know."""
    told = Path(faults)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])  # see begin_forking
        # Once: one that went to the whole group comes a second time, from the launcher, and would
        # cut off what records the end.
        raise_interrupts(signal.SIGINT, signal.SIGTERM, once=True)
        try:
            objective = _as_rank(Config.model_validate(values), Path(run_folder), train, rendezvous)
            end_silently(signal.SIGINT, signal.SIGTERM)
            _ended(told).touch()
            return objective
        except Exception as error:
            for number in (signal.SIGINT, signal.SIGTERM):  # the launcher's, as a partner is lost
                signal.signal(number, signal.SIG_IGN)
            _tell_parent(told, error)
            os._exit(1)  # the group's other members may be gone: no orderly goodbye
    except BaseException as interruption:  # also one that came as an error was caught
        _tell_parent(told, interruption)
        os._exit(143 if isinstance(interruption, Interrupted) else 1)


def _as_rank(config: Config, run_folder: Path, train: Train, rendezvous: Path | None) -> float:
    import torch
    import torch.distributed as dist

    threading.Thread(target=end_with_parent, daemon=True).start()
    device = device_of(config.trainer, int(os.environ["LOCAL_RANK"]))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    _tell_gloo_the_way(config.trainer)
    join_group("nccl" if device.type == "cuda" else "gloo", rendezvous)
    objective = train(config, _folder_of_all(config.trainer, run_folder))
    dist.barrier()
    dist.destroy_process_group()
    return objective


def _tell_gloo_the_way(trainer: TrainerConfig) -> None:
    """Name the interface by which the other machines reach this one, unless the user has."""
    if trainer.num_nodes > 1 and (name := interface(address_for_others(trainer))):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)


def _folder_of_all(trainer: TrainerConfig, run_folder: Path) -> Path:
    """Return the run folder of rank 0, which is on the first machine, on all ranks."""
    if trainer.num_nodes == 1:
        return run_folder
    name, first = gather([str(run_folder.resolve()), is_first(trainer)])[0]
    if not first:
        raise WorkerError("rank 0 is not on the first machine, which has the run folder")
    folder = Path(str(name))
    seen = gather(state_names(folder))
    if any(names != seen[0] for names in seen):
        raise UserError(
            f"resume: not all machines see the state in '{folder}'; to go on with a run of "
            "several machines, runs_dir must be on a disk that all of them share"
        )
    return folder


def _ended(faults: Path, local_rank: str | None = None) -> Path:
    """Return the mark of a worker that came to its own end; one that was killed leaves none."""
    return faults / f"ended{local_rank or os.environ['LOCAL_RANK']}"


def end_with_parent() -> None:
    """Leave no orphan where the calling process was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _tell_parent(faults: Path, error: BaseException) -> None:
    kind = type(error).__name__
    told = {"kind": kind, "message": str(error) or kind, "traceback": traceback.format_exc()}
    (faults / f"rank{os.environ['RANK']}.json").write_text(json.dumps(told))
    _ended(faults).touch()


def first_error(faults: Path, devices: int) -> Exception:
    """Return the error of the rank that failed first; the others only lost their partner."""
    told = sorted(faults.glob("rank*.json"), key=lambda path: path.stat().st_mtime_ns)
    killed = [rank for rank in range(devices) if not _ended(faults, str(rank)).exists()]
    content = json.loads(told[0].read_text()) if told else {"kind": _LOST[0], "message": ""}
    # A SIGTERM may be the launcher's own, which ends the others when it sees that one was killed.
    if content["kind"] in (*_LOST, Interrupted.__name__) and killed:
        return WorkerError(
            f"worker {killed[0]} of this machine: its process ended with no error of its own: "
            "killed from outside, or out of memory"
        )
    if content["kind"] == Interrupted.__name__:
        rank = told[0].stem.removeprefix("rank")
        return WorkerError(f"rank {rank}: its process was terminated from outside (SIGTERM)")
    if error := rebuilt(content["kind"], str(content["message"])):
        return error
    print(content.get("traceback", ""), file=sys.stderr)  # of the first alone: the others follow
    rank = told[0].stem.removeprefix("rank") if told else "?"
    return WorkerError(f"rank {rank}: {content['kind']}: {content['message']}")

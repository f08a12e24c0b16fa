"""The store by which the processes of one run find each other, and who may reach it.

On one machine it is two files in a folder of the user's own: nothing listens for it, and gloo and
NCCL are held to the loopback interface, whatever interface the environment names for them. Of
several machines the first listens on the port of trainer.rendezvous, on all its interfaces, without
a secret: docs/tasks.md says what network that needs. PyTorch's own c10d rendezvous keeps its state
as a pickle under a key of that store, so that whoever reaches the port runs code; here machines are
numbered by a counter, and what is read are numbers and addresses.
"""

import os
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import torch.distributed as dist
from torch.distributed import FileStore, PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from asl_exp.compat.torch_launcher import (
    RendezvousClosedError,
    RendezvousConnectionError,
    RendezvousHandler,
    RendezvousInfo,
    RendezvousParameters,
    RendezvousStoreInfo,
    RendezvousTimeoutError,
    rendezvous_handler_registry,
)

BACKEND: Final = "asl_exp"
_COUNTER: Final = "asl_exp/machines"
_ALL: Final = "asl_exp/all"
_POLL_S: Final = 0.05  # once a run, for machines that take seconds to start


@dataclass(frozen=True)
class Rendezvous:
    """Where the processes of a run find each other.

    Attributes:
        folder: of the files, on one machine; None for several.
        address: host:port of the first machine.
        first: this is that machine.
        wait_s: how long the others are waited for.
    """

    folder: Path | None
    address: str | None
    first: bool
    machines: int
    wait_s: int


class _Handler(RendezvousHandler):
    """Numbers the machines of one run in the order in which they come; the first has number 0."""

    def __init__(self, rendezvous: Rendezvous, run_id: str) -> None:
        self._rendezvous = rendezvous
        self._run_id = run_id
        self._store: Store | None = None

    def get_backend(self) -> str:
        return BACKEND

    @property
    def use_agent_store(self) -> bool:
        return self._rendezvous.folder is None

    def next_rendezvous(self) -> RendezvousInfo:
        rendezvous = self._rendezvous
        if rendezvous.folder is not None:
            self._store = FileStore(str(rendezvous.folder / "launcher"), -1)
            return RendezvousInfo(self._store, 0, 1, RendezvousStoreInfo("127.0.0.1", 0))
        host, _, port = (rendezvous.address or "").rpartition(":")
        try:
            self._store = TCPStore(
                host,
                int(port),
                is_master=rendezvous.first,
                timeout=timedelta(seconds=rendezvous.wait_s),
                wait_for_workers=False,
            )
            number = 0 if rendezvous.first else int(self._store.add(_COUNTER, 1))
            self._wait_for_all(self._store, number)
        except (dist.DistNetworkError, dist.DistStoreError, RuntimeError) as error:
            if isinstance(error, RendezvousTimeoutError | RendezvousClosedError):
                raise
            raise RendezvousConnectionError(str(error)) from error
        info = RendezvousStoreInfo(host, int(port))
        return RendezvousInfo(
            PrefixStore(self._run_id, self._store), number, rendezvous.machines, info
        )

    def _wait_for_all(self, store: Store, number: int) -> None:
        rendezvous, deadline = self._rendezvous, time.monotonic() + self._rendezvous.wait_s
        if number >= rendezvous.machines:
            raise RendezvousClosedError(f"{rendezvous.machines} machines are there already")
        if not rendezvous.first:
            store.wait([_ALL], timedelta(seconds=rendezvous.wait_s))
            return
        while int(store.add(_COUNTER, 0)) < rendezvous.machines - 1:
            if time.monotonic() > deadline:
                raise RendezvousTimeoutError("not all machines came")
            time.sleep(_POLL_S)
        store.set(_ALL, "yes")

    def is_closed(self) -> bool:
        return False

    def set_closed(self) -> None:
        return

    def num_nodes_waiting(self) -> int:
        return 0

    def get_run_id(self) -> str:
        return self._run_id

    def shutdown(self) -> bool:
        return True


def _handler(parameters: RendezvousParameters) -> RendezvousHandler:
    rendezvous: Any = parameters.config["rendezvous"]
    return _Handler(rendezvous, parameters.run_id)


rendezvous_handler_registry.register(BACKEND, _handler)


def join_group(backend: str, folder: Path | None) -> None:
    """Join the process group of all ranks; with a folder, by a file in it and by loopback alone."""
    if folder is None:
        dist.init_process_group(backend)  # by the launcher's store, as its client
        return
    loopback = "lo0" if os.uname().sysname == "Darwin" else "lo"
    for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        os.environ[variable] = loopback
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    store = FileStore(str(folder / "ranks"), world_size)
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size)

"""The parts of torch's elastic launcher that torchrun itself is made of.

Apart from torch.py: the calling process of a run on several devices imports these alone.
"""

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous.api import (
    RendezvousClosedError,
    RendezvousConnectionError,
    RendezvousHandler,
    RendezvousInfo,
    RendezvousParameters,
    RendezvousStoreInfo,
    RendezvousTimeoutError,
    rendezvous_handler_registry,
)
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

LOGGERS = ("torch.distributed", "torch.distributed.elastic.agent.server.api")
"""The second sets a level of its own."""

__all__ = [
    "LOGGERS",
    "ChildFailedError",
    "DefaultLogsSpecs",
    "LaunchConfig",
    "RendezvousClosedError",
    "RendezvousConnectionError",
    "RendezvousHandler",
    "RendezvousInfo",
    "RendezvousParameters",
    "RendezvousStoreInfo",
    "RendezvousTimeoutError",
    "elastic_launch",
    "rendezvous_handler_registry",
]

"""The parts of torch's elastic launcher that torchrun itself is made of.

Apart from torch.py: the calling process of a run on several devices imports these alone.
"""

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous.api import (
    RendezvousConnectionError,
    RendezvousTimeoutError,
)
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

LOGGERS = ("torch.distributed", "torch.distributed.elastic.agent.server.api")
"""The second sets a level of its own."""

__all__ = [
    "LOGGERS",
    "ChildFailedError",
    "DefaultLogsSpecs",
    "LaunchConfig",
    "RendezvousConnectionError",
    "RendezvousTimeoutError",
    "SignalException",
    "elastic_launch",
]

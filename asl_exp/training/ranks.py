"""Communication between the ranks of one run, one process a device.

With one device there is one rank and nothing is sent. Rank 0 records and decides; every comparison
here is made by all ranks together.
"""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import torch
import torch.distributed as dist

from asl_exp.compat.torch import NormBase
from asl_exp.config.errors import RanksDifferError

T = TypeVar("T")


def rank() -> int:
    """Return this process's number among all, 0 if it is alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def local_rank() -> int:
    """Return this process's number on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0")) if dist.is_initialized() else 0


def local_world_size() -> int:
    """Return the number of processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if dist.is_initialized() else 1


def gather(value: T) -> list[T]:
    """Return every rank's value, in the order of ranks, on all ranks."""
    gathered: list[Any] = [value]
    if world_size() > 1:
        gathered = [None] * world_size()
        dist.all_gather_object(gathered, value)
    return gathered


def sum_over_ranks(values: torch.Tensor) -> torch.Tensor:
    """Return the sum of every rank's tensor, the same on all."""
    if world_size() == 1:
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total


def first_of_folder(folder: Path) -> bool:
    """Return whether no machine with lower ranks sees the same files in a folder.

    All ranks take part; the answer is the same for all of a machine.
    """
    if world_size() == local_world_size():
        return True
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / f".machine-{uuid4().hex}"
    if local_rank() == 0:
        mark.touch()
    own_leader = rank() - local_rank()
    marks = gather(mark.name if local_rank() == 0 else None)
    first = next(r for r, name in enumerate(marks) if name and (folder / name).exists())
    gather(None)  # all have looked
    mark.unlink(missing_ok=True)
    return first == own_leader


def require_equal(values: dict[str, str]) -> None:
    """Compare named values between all ranks.

    Raises:
        RanksDifferError: naming what differs, and each rank's value.
    """
    gathered = gather(values)
    for name in values:
        seen = [one[name] for one in gathered]
        if len(set(seen)) > 1:
            listed = ", ".join(f"rank {r}: {value}" for r, value in enumerate(seen))
            raise RanksDifferError(f"the ranks do not agree on the {name} ({listed})")


def state_digest(module: torch.nn.Module) -> str:
    """Return a digest of every parameter and buffer, bit for bit."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def send_from_rank_zero(module: torch.nn.Module, values: list[Any]) -> None:
    """Give every rank the parameters and buffers of rank 0, and its ``values``, in place."""
    if world_size() == 1:
        return
    sent: list[Any] = [module.state_dict(), values] if rank() == 0 else [None, None]
    dist.broadcast_object_list(sent, src=0)
    module.load_state_dict(sent[0])
    values[:] = sent[1]


def average_statistics(layers: Iterable[torch.nn.Module]) -> None:
    """Make the running statistics of BatchNorms among the layers the mean of all ranks'."""
    if world_size() == 1:
        return
    for layer in layers:
        if isinstance(layer, NormBase) and layer.running_mean is not None:
            for statistic in (layer.running_mean, layer.running_var):
                assert statistic is not None
                dist.all_reduce(statistic)
                statistic /= world_size()

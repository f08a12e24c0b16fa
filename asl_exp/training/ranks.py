"""Communication between the ranks of one run, one process a device.

With one device there is one rank and nothing is sent. Rank 0 records and decides; every comparison
here is made by all ranks together.

Values go as JSON and weights as tensors: torch's collectives for objects unpickle what arrives, and
whoever took a rank's place in the network of several machines would run code in the others.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, TypeVar
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


_MOST_BYTES: Final = 2**24
"""Of a rank's value; ours are a few numbers, names or the message of an error."""


def gather(value: T) -> list[T]:
    """Return every rank's value, in the order of ranks, on all ranks.

    Args:
        value: numbers, texts, None, lists and dicts of them, which are all that JSON brings.

    Raises:
        RanksDifferError: a rank sent something else.
    """
    if world_size() == 1:
        return [value]
    own = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
    sizes = [int(size) for size in _gather_tensors(torch.tensor([len(own)]))]
    for sender, size in enumerate(sizes):
        if not 0 < size <= _MOST_BYTES:
            raise RanksDifferError(f"rank {sender} says that it sends {size:,} bytes: {_STRANGER}")
    padded = torch.nn.functional.pad(own, (0, max(sizes) - len(own)))
    texts = [bytes(sent.numpy()) for sent in _gather_tensors(padded)]
    return [received(sender, text[: sizes[sender]]) for sender, text in enumerate(texts)]


def _gather_tensors(tensor: torch.Tensor) -> list[torch.Tensor]:
    """Return every rank's tensor, which all have one shape, on the CPU."""
    tensor = tensor.to(_device())
    gathered = [torch.zeros_like(tensor) for _ in range(world_size())]
    dist.all_gather(gathered, tensor)
    return [one.cpu() for one in gathered]


def _device() -> torch.device:
    """Return where tensors must lie to be sent."""
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")


_STRANGER: Final = (
    "no process of this run does that, so another program may have taken its place; give the "
    "machines of a run a network of their own"
)


def received(sender: int, text: bytes) -> Any:
    """Return the value that a rank sent; nothing in it is run.

    Raises:
        RanksDifferError: it is no JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise RanksDifferError(
            f"rank {sender} sent {len(text):,} bytes that are no JSON: {_STRANGER}"
        ) from None


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
    for tensor in module.state_dict().values():
        sent = tensor.contiguous().to(_device())
        dist.broadcast(sent, src=0)
        tensor.copy_(sent)
    values[:] = gather(values)[0]


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

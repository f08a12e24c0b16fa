"""The device of this process, and how the process is set up for it.

The device is decided here alone; Lightning is told which one it is.
"""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from asl_exp.config.errors import ConfigError
from asl_exp.config.schema import TrainerConfig
from asl_exp.data.decode_pool import n_cores

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # from glibc's malloc.h
_LARGEST_INT = 2**31 - 1


def device_of(trainer: TrainerConfig, local_rank: int) -> torch.device:
    """Return the device of a rank of this machine: a GPU of NVIDIA, or the CPU.

    Raises:
        ConfigError: there are fewer GPUs than ``trainer.devices``.
    """
    n_gpus = torch.cuda.device_count()
    if trainer.accelerator == "cpu" or (trainer.accelerator == "auto" and n_gpus == 0):
        return torch.device("cpu")
    if trainer.devices > n_gpus:
        raise ConfigError(
            [f"trainer.devices: got {trainer.devices}, but this machine has {n_gpus} GPUs"]
        )
    return torch.device("cuda", local_rank)


def set_up(device: torch.device, trainer: TrainerConfig, threads: int | None = None) -> None:
    """Set the threads, memory and environment of this process for its device.

    Args:
        trainer: says how many devices share the cores.
        threads: on the CPU; None: as OMP_NUM_THREADS says, or all of this device's cores.
    """
    # Lightning sets it; NAdam would then open NVML's library at every step, in 0.2 ms
    os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
    if device.type == "cpu":
        told = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
        asked = int(told) if told.isdecimal() else n_cores() // trainer.devices
        torch.set_num_threads(threads or max(1, asked))
        keep_freed_memory()
    if trainer.deterministic:
        _compute_deterministically(compiled=bool(trainer.compile))


def _compute_deterministically(*, compiled: bool) -> None:
    """Choose algorithms of equal bits, with a warning where there is none, as Lightning does.

    Lightning's own key loads torch's compiler, in 2 s, to tell it too.
    """
    torch.backends.cudnn.benchmark = False
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    if compiled:
        torch.use_deterministic_algorithms(True, warn_only=True)
    else:
        torch.set_deterministic_debug_mode("warn")


def keep_freed_memory() -> None:
    """Let glibc's allocator reuse large blocks; does nothing where there is no glibc.

    By default glibc gives every large tensor back to the system and gets it anew, zeroed page by
    page: of the CPU time of MobileNetV2's forward pass, 30 to 67 % were spent in the kernel for it.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _LARGEST_INT)


@contextmanager
def one_thread(wanted: bool) -> Iterator[None]:
    """Let torch use one thread of the CPU inside, if that is wanted."""
    before = torch.get_num_threads()
    if wanted:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

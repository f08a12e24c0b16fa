"""Running out of memory names the settings that help, and nothing else is taken for it."""

from collections.abc import Callable

import pytest
import torch

from asl_exp.config.compose import compose_config
from asl_exp.config.errors import OutOfMemoryError
from asl_exp.training.phase import memory_named

CONFIG = compose_config(["data.batch_size=96", "trainer.accumulate=2"])


def on_the_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")


def on_the_cpu() -> None:
    """Ask torch's allocator for what no machine has: 4 exabytes."""
    torch.empty(2**60, dtype=torch.float32)


def in_python() -> None:
    raise MemoryError


@pytest.mark.parametrize("ask", [on_the_gpu, on_the_cpu, in_python])
def test_the_message_says_what_to_change(ask: Callable[[], None]) -> None:
    with pytest.raises(OutOfMemoryError) as caught, memory_named(CONFIG, "finetune"):
        ask()
    for told in ("phase 'finetune'", "trainer.accumulate (now 2; 4 halves", "now 96",
                 "backbone.image_size"):  # fmt: skip
        assert told in str(caught.value)


def test_other_errors_stay_themselves() -> None:
    with pytest.raises(RuntimeError, match="shapes"), memory_named(CONFIG, "finetune"):
        raise RuntimeError("shapes cannot be multiplied")

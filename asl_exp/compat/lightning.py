"""Lightning's private parts, and its warnings that say nothing here."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

__all__ = ["LightningEnvironment", "TorchElasticEnvironment", "without_known_warnings"]

_KNOWN: Final = (
    ".*LeafSpec.*",  # Lightning 2.6 calls a name that torch 2.15 calls old
    ".*exists and is not empty.*",  # 2.5: the folder of checkpoints; a resumed run has one
    ".*in eval mode at the start.*",  # 2.5: what is frozen is so on purpose
    ".*dataloader is not resumable.*",  # 2.5: the loader is told where to begin, by start_at
    ".*Grad strides do not match.*",  # torch 2.11, channels_last: slower, not wrong
    ".*sync_dist=True.*",  # 2.5: the values are equal on all ranks already
    ".*broadcast_buffers.*deprecated.*",  # torch 2.15, which names no other way
    ".*`srun` command is available.*",  # 2.5: in a SLURM job the run's own launcher is used
    ".*`training_step` returned `None`.*",  # 2.5: a group of batches takes its steps itself
    ".*GPU available but not used.*",  # 2.5: accelerator=cpu was asked for
)


@contextmanager
def without_known_warnings() -> Iterator[None]:
    """Keep back the warnings of a fit that are no news."""
    with warnings.catch_warnings():
        for message in _KNOWN:
            warnings.filterwarnings("ignore", message=message)
        yield

"""Recognises letters with a kept model and the preprocessing that it was trained with."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from asl_exp.config.errors import UserError
from asl_exp.config.names import Artifact
from asl_exp.data.decode import Pixels, read_image
from asl_exp.model.checkpoint import KeptModel, load_kept_model
from asl_exp.runs.run_folder import kept_checkpoint

CHECKPOINT = "checkpoint.ckpt"
"""Name of the checkpoint inside a model folder's artifacts."""


class Recognizer:
    """A kept model, ready to be shown images."""

    def __init__(self, kept: KeptModel) -> None:
        self.kept = kept

    @classmethod
    def load(cls, where: Path) -> "Recognizer":
        """Load from a run folder, a model folder or a checkpoint.

        Raises:
            UserError: there is no kept model.
        """
        return cls(load_kept_model(find_checkpoint(where)))

    def read(self, image: Path | bytes) -> Pixels:
        """Read one image as training would: ``(S, S, 3)`` uint8.

        Raises:
            UnreadableImageError: with the reason.
        """
        data = self.kept.config.data
        return read_image(
            image,
            size=self.kept.preprocessing.image_size,
            resize=data.resize,
            interpolation=self.kept.preprocessing.interpolation,
            max_megapixels=data.max_megapixels,
        )

    @torch.inference_mode()
    def recognize(self, images: Sequence[Pixels]) -> pd.DataFrame:
        """Return a row for each image: letter, probability, and ``probability/<class>``."""
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255.0
        scores = self.kept.model(batch).softmax(1).numpy()
        table = pd.DataFrame(
            {f"probability/{name}": scores[:, i] for i, name in enumerate(self.kept.classes)}
        )
        table.insert(0, "letter", [self.kept.classes[i] for i in scores.argmax(1)])
        table.insert(1, "probability", scores.max(1))
        return table


def find_checkpoint(where: Path) -> Path:
    """Return the kept checkpoint that a path means: the last phase's of a run folder.

    Raises:
        UserError: there is none, or the folder's result.json cannot be read.
    """
    if where.is_file():
        return where
    for inside in (f"artifacts/{CHECKPOINT}", f"{Artifact.MODEL}/artifacts/{CHECKPOINT}"):
        if (where / inside).is_file():
            return where / inside
    if kept := kept_checkpoint(where):
        return kept
    raise UserError(
        f"{where}: no kept model; give a run folder, its model/ folder, or a .ckpt file"
    )

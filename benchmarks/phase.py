"""One phase of asl_exp inside a benchmark, without what a run does before and after it."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from material import material

from asl_exp.config.compose import compose_config
from asl_exp.config.schema import Config
from asl_exp.data.dataset import LetterData
from asl_exp.model.classifier import LetterClassifier
from asl_exp.model.preprocessing import resolve_preprocessing
from asl_exp.training.batch_size import with_batch_size
from asl_exp.training.cpu import keep_freed_memory
from asl_exp.training.phase import run_phase
from asl_exp.training.run import _device
from asl_exp.training.shared_inputs import classifier, letters
from asl_exp.training.terminal import Stages, hushed


class Bench:
    """Data and folders that all sides of a benchmark share.

    Args:
        folder: for caches and runs.
        overrides: of the experiment, after those of the material.
        gpu: train there.
    """

    def __init__(self, folder: Path, *overrides: str, gpu: bool = False) -> None:
        self.folder, self.n_runs = folder, 0
        self.overrides = [
            *material(), *overrides, "tracking=off", f"data.cache_dir={folder / 'cache'}",
            f"trainer.accelerator={'gpu' if gpu else 'cpu'}",
        ]  # fmt: skip
        self.device = torch.device("cuda" if gpu else "cpu")
        if not gpu:
            keep_freed_memory()
        self.config = self.configured()
        _device(self.config)  # sets torch's threads and environment as in a run
        self.preprocessing = resolve_preprocessing(self.config.backbone)
        self.data: LetterData = letters(self.config, self.preprocessing)

    def configured(self, *more: str) -> Config:
        return compose_config([*self.overrides, *more])

    def network(self, config: Config | None = None) -> LetterClassifier:
        """Return the network as a run would start with it."""
        config = config or self.config
        pl.seed_everything(config.seed, verbose=False)
        return classifier(config, len(self.data.classes), self.preprocessing)

    def phase(self, name: str, *more: str) -> list[dict[str, Any]]:
        """Run a phase; return the metrics of its epochs."""
        config = self.configured(*more)
        model, rows = self.network(config), []  # type: ignore[var-annotated]
        n_train = len(self.data.splits["train"])
        config = with_batch_size(
            config, model, n_train, self.preprocessing, self.device, known=None
        )
        self.n_runs += 1
        with hushed(True):
            run_phase(
                model, self.data, config, name,
                run_folder=self.folder / "runs" / str(self.n_runs), device=self.device,
                stages=Stages(), finished=[], rows=rows, metadata={},
                record_epoch=lambda epoch, metrics: None,
                record_views=lambda phase, views: None,
            )  # fmt: skip
        return rows

    def pixels(self, split: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a split's images (N, 3, S, S) uint8 and labels, in memory."""
        import numpy as np

        one = self.data.splits[split]
        images = torch.from_numpy(one.gather(np.arange(len(one)))).permute(0, 3, 1, 2)
        return images.to(self.device), torch.from_numpy(one.labels).to(self.device)

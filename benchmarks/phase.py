"""One phase of asl_exp inside a benchmark, without what a run does before and after it."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from material import material

from asl_exp.config.compose import compose_config
from asl_exp.config.schema import Config
from asl_exp.data.letters import LetterData
from asl_exp.model.classifier import LetterClassifier
from asl_exp.model.own_weights import resolve_preprocessing
from asl_exp.runs.result import Result
from asl_exp.tracking.recorder import Recorder
from asl_exp.training.batch_size import with_batch_size
from asl_exp.training.current_run import Run
from asl_exp.training.device import device_of, set_up
from asl_exp.training.phase import train_phase
from asl_exp.training.shared_inputs import classifier, letters
from asl_exp.training.terminal import hushed


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
        self.config = self.configured()
        self.device = device_of(self.config.trainer, 0)
        set_up(self.device, self.config.trainer)
        self.preprocessing = resolve_preprocessing(self.config.backbone)
        self.data: LetterData = letters(self.config, self.preprocessing)

    def configured(self, *more: str) -> Config:
        return compose_config([*self.overrides, *more])

    def network(self, config: Config | None = None) -> LetterClassifier:
        """Return the network as a run would start with it."""
        config = config or self.config
        pl.seed_everything(config.seed, verbose=False)
        return classifier(config, self.data, self.preprocessing)

    def phase(self, name: str, *more: str) -> list[dict[str, Any]]:
        """Run a phase; return the metrics of its epochs."""
        config = self.configured(*more)
        model, n_train = self.network(config), len(self.data.splits["train"])
        config = with_batch_size(
            config, model, n_train, self.preprocessing, self.device, known=None
        )
        self.n_runs += 1
        run = Run(
            config=config,
            folder=self.folder / "runs" / str(self.n_runs),
            device=self.device,
            data=self.data,
            model=model,
            preprocessing=self.preprocessing,
            recorder=Recorder(None, None),
            result=Result(name="benchmark", signature=""),
        )
        run.folder.mkdir(parents=True)
        with hushed(True):
            train_phase(run, name)
        return run.epochs

    def pixels(self, split: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a split's images (N, 3, S, S) uint8 and labels, in memory."""
        import numpy as np

        one = self.data.splits[split]
        images = torch.from_numpy(one.gather(np.arange(len(one)))).permute(0, 3, 1, 2)
        return images.to(self.device), torch.from_numpy(one.labels).to(self.device)

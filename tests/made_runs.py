"""Runs in progress, made by hand: what the functions of training take, without a record."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from asl_exp.config.schema import Config
from asl_exp.data.letters import LetterData, Split
from asl_exp.data.recordings import Grouping
from asl_exp.model.classifier import LetterClassifier
from asl_exp.model.own_weights import resolve_preprocessing
from asl_exp.runs.result import Result
from asl_exp.tracking.recorder import Recorder
from asl_exp.training.current_run import Run


def made_run(
    config: Config, model: LetterClassifier, data: LetterData, folder: Path, **more: Any
) -> Run:
    """Make a run on the CPU that starts from ``model`` and records nothing."""
    return Run(
        config=config,
        folder=folder,
        device=torch.device("cpu"),
        data=data,
        model=model,
        preprocessing=resolve_preprocessing(config.backbone),
        recorder=Recorder(None, None),
        result=Result(name="made", signature=""),
        **more,
    )


class NoPixels:
    """Images that nobody reads."""

    digest = ""

    def gather(self, rows: Any) -> Any:
        """Fail: a test reads what it said it would not."""
        raise AssertionError("a test without images read some")


def made_data(n_classes: int, n_train: int) -> LetterData:
    """Make data of so many classes and training images, of which no image is ever read."""
    zeros = np.zeros(n_train, dtype=np.int64)
    train = Split("train", zeros, pd.DataFrame(index=zeros), NoPixels(), zeros)
    return LetterData(
        classes=tuple("ABCDEFGHIJ"[:n_classes]),
        digest="",
        splits={"train": train, "val": replace(train, name="val")},
        split_rule="group",
        leaks=False,
        caution="",
        grouping=Grouping(),
        unreadable=(),
        notes=(),
        store_digest="",
    )

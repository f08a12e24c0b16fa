"""Stored features: what the frozen part of a network makes of each image, computed once.

Here it is decided whether a phase trains on them, and their batches are made, in the very order in
which the images would come; feature_files.py computes and keeps the files.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from asl_exp.config import readable
from asl_exp.config.conf_folder import home_expanded
from asl_exp.config.errors import DataError, NoRoomError
from asl_exp.config.schema import AugmentationConfig, DataConfig, PhaseConfig
from asl_exp.data.augmentation import Augmentation
from asl_exp.data.cache_files import Rows
from asl_exp.data.letters import Split
from asl_exp.data.loader import Batch, BatchLoader
from asl_exp.model.feature_cut import Cut, find_cut
from asl_exp.training.current_run import Run
from asl_exp.training.feature_files import FeatureFile, Source
from asl_exp.training.ranks import first_of_folder, gather, require_equal
from asl_exp.training.terminal import say
from asl_exp.training.trainable import trained_layers

_DEFAULT_VIEWS = 16
"""As accurate as new changes every epoch; 4 lose 2 to 9 points."""

_AUTO_SHARE = 0.5
"""Of data.cache_limit_gb that a phase may take with features=auto, so that the stored pixels and
the features of another phase or backbone need not go for them."""


@dataclass(frozen=True)
class StoredFeatures:
    """The features that a phase goes from.

    Attributes:
        cut: where in the network they are taken.
        train: one source of rows for each view; epoch e of the phase sees view e mod V.
        val: of the images as they are.
    """

    cut: Cut
    train: Sequence["RowsOfImages"]
    val: Rows


def n_views(phase: PhaseConfig, augmentation: AugmentationConfig) -> int:
    """Return V: how many augmented views of an image are stored; 1 where nothing is augmented."""
    if not _augments(augmentation):
        return 1
    return phase.views or min(_DEFAULT_VIEWS, phase.epochs)


def auto_features_gb(data: DataConfig) -> float:
    """Return how much a phase's stored features may take with ``features=auto``."""
    return _AUTO_SHARE * data.cache_limit_gb


def stored_features(run: Run, name: str) -> StoredFeatures | None:
    """Return the features of a phase, computed where the cache lacks them; None: the images.

    Whether a phase trains on stored views or on new changes every epoch decides what it computes.
    Where it is the machine that has no way to store (``run.result.on_images`` gets the reason), the
    phase counts as one of ``features=never``. A run that is resumed stays with what it began with.

    Raises:
        DataError: ``features=always``, or the run or its study began on stored features, and there
            is no way or no room.
        RanksDifferError: some machines of the run store pixels and others do not.
    """
    phase, result = run.config.schedule[name], run.result
    cut, reason = _place(run, phase)
    if cut is None:
        if phase.features == "always":
            raise _missing(name, reason)
        if reason:
            say(f"{name}: no stored features: they {reason}")
        return None
    if name in result.on_images:
        say(f"{name}: no stored features, as when the run began: they {result.on_images[name]}")
        return None
    opened = _opened(run, name, cut)
    if isinstance(opened, StoredFeatures):
        return opened
    if phase.features == "always":
        raise _missing(name, opened)
    if result.stored_views.get(name):
        raise DataError(
            f"resume: phase {name} of this run began on stored features, but now they {opened}"
        )
    say(f"{name}: no stored features: they {opened}")
    result.on_images[name] = opened
    return None


def _missing(name: str, reason: str) -> DataError:
    return DataError(f"schedule.{name}.features: always, but they {reason}; use auto or never")


def _opened(run: Run, name: str, cut: Cut) -> StoredFeatures | str:
    """Return the features, or why this machine cannot store them; all ranks take part."""
    data, phase, observer = run.config.data, run.config.schedule[name], run.observer
    pixels = "stored" if run.data.store_digest else "not stored"
    require_equal({"pixels (data.store)": pixels})
    if not run.data.store_digest:
        return "need stored pixels (data.store=true)"
    run.model.eval().to(run.device)
    files = _files(run, phase, cut)
    of_study = observer.features_gb if observer else None
    allowed_gb = min(gather(auto_features_gb(data) if of_study is None else of_study))
    needed = sum(one.n_bytes for one in files)
    began = run.result.stored_views.get(name)
    if phase.features == "auto" and not began and needed > 1e9 * allowed_gb:
        return f"would take {readable.size(needed)} of data.cache_limit_gb"
    keep = [one.kept.name for one in files]
    try:
        *train, val = (one.open(limit_gb=data.cache_limit_gb, keep=keep) for one in files)
    except NoRoomError as error:
        if of_study is not None:  # its other trials may have found room
            raise
        return f"find no room: {error}"
    augmented = _augments(run.config.augmentation)
    views = f"{len(train)} augmented views" if augmented else "no augmentation"
    numbers = f"{np.prod(cut.shape):,} numbers an image"
    say(f"{name}: trains on stored features: {views}, {numbers}, {readable.size(needed)}")
    n_images = int((run.data.splits["train"].rows >= 0).sum())
    return StoredFeatures(cut, [RowsOfImages(view, n_images) for view in train], val)


class RowsOfImages:
    """The features of a training split; zeros for the hands without an image, which come last."""

    def __init__(self, rows: Rows, n_images: int) -> None:
        self._rows, self._n_images = rows, n_images
        self.n_bytes = rows.n_bytes

    def gather(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return (B, ...) of the rows given."""
        without = rows >= self._n_images
        if not without.any():
            return self._rows.gather(rows)
        features = self._rows.gather(np.where(without, 0, rows))
        features[without] = 0
        return features


def _augments(augmentation: AugmentationConfig) -> bool:
    return any(augmentation.model_dump().values())


def _place(run: Run, phase: PhaseConfig) -> tuple[Cut | None, str]:
    """Return where the configuration lets the network be cut, or None and the reason."""
    config = run.config
    if phase.features == "never" or phase.trainable == "all" or not run.model.sees_pixels:
        return None, ""
    if config.augmentation.mixup or config.augmentation.cutmix:
        return None, "cannot be mixed (augmentation.mixup, augmentation.cutmix)"
    layers = trained_layers(run.model, phase)
    if layers and config.trainer.compile:
        return None, "cannot be taken inside a compiled backbone (trainer.compile)"
    cut = find_cut(run.model, layers)
    return cut, "" if cut else "have no single place in this backbone below its last layers"


def _files(run: Run, phase: PhaseConfig, cut: Cut) -> list[FeatureFile]:
    """Return the file of each view of the training images, then that of the validation images."""
    config, splits = run.config, run.data.splits
    folder = home_expanded(config.data.cache_dir) / "features"
    source = Source(
        run.model,
        cut,
        config.trainer.precision,
        run.device,
        run.data.store_digest,
        folder,
        has_folder=first_of_folder(folder),
    )
    about = {"backbone": config.backbone.name, **source.describe()}
    augmented = _augments(config.augmentation)
    changes = Augmentation(config.augmentation, len(run.data.classes)) if augmented else None
    images = splits["train"].take(np.flatnonzero(splits["train"].rows >= 0))
    views = [
        FeatureFile(source, about, images, changes, view)
        for view in range(n_views(phase, config.augmentation))
    ]
    return [*views, FeatureFile(source, about, splits["val"])]


_RESIDENT_BYTES = 2_000_000_000
"""So much is held on the device, a part of what the smallest GPUs and laptops have; more is read
batch by batch."""


STEPS: Final = 32
"""Batches of a group: what Lightning spends around a call, 1 to 2 ms, is then 0.05 ms a step."""

Group = tuple[torch.Tensor, torch.Tensor, Sequence[torch.Tensor], int]
"""All features (N, ...), all labels (N,), the rows of each batch, the first batch's number."""


class FeatureLoader(BatchLoader):
    """Iterates over one rank's batches; another view of the images every epoch.

    Args:
        split: whose features they are.
        views: one source of rows each; they take turns, from the first epoch on.
        first_epoch: of the phase, counted across phases.
        device: where the batches are put.
        together: yield groups of batches, see head_steps.py, if all is held on the device.
        **order: batch_size, shuffle, seed, share: as in BatchLoader.
    """

    def __init__(
        self,
        split: Split,
        views: Sequence[Rows | RowsOfImages],
        *,
        first_epoch: int,
        device: torch.device,
        together: bool = False,
        **order: Any,
    ) -> None:
        super().__init__(split, **order)
        self._views = views
        self.together = together and self._n_bytes() <= _RESIDENT_BYTES
        self._first_epoch = first_epoch
        self._device = device
        self._resident: dict[int, torch.Tensor] = {}
        self._on_device = self._labels.to(device)

    def __len__(self) -> int:
        """Return the number of this rank's batches, or of their groups."""
        n_batches = super().__len__()
        return math.ceil(n_batches / STEPS) if self.together else n_batches

    def __iter__(self) -> Iterator[Any]:
        """Yield the epoch's batches, or groups: features (B, ...) float32, labels and rows (B,)."""
        if self._n_bytes() > _RESIDENT_BYTES:
            yield from super().__iter__()
            return
        view = self._view()
        if view not in self._resident:
            everything = self._views[view].gather(np.arange(len(self._split)))
            self._resident[view] = torch.from_numpy(everything).to(self._device)
        if self.together:
            first, shares = self._first_batch, list(self._shares())
            order = torch.from_numpy(np.concatenate(shares)).to(self._device)
            batches = torch.split(order, [len(share) for share in shares])
            resident = self._resident[view], self._on_device
            for start in range(0, len(batches), STEPS):
                yield *resident, batches[start : start + STEPS], first + start
            return
        for share in self._shares():
            rows = torch.from_numpy(share).to(self._device)
            yield self._resident[view].index_select(0, rows), self._on_device[rows], rows

    def _batch(self, rows: NDArray[np.int64]) -> Batch:
        features = torch.from_numpy(self._views[self._view()].gather(rows))
        positions = torch.from_numpy(rows)
        return features, self._labels[positions], positions

    def _view(self) -> int:
        return (self._epoch - self._first_epoch) % len(self._views)

    def _n_bytes(self) -> int:
        return len(self._split) * len(self._views) * self._views[0].n_bytes

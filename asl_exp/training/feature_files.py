"""One file of features: a split in one view, as it is or augmented once, computed and kept.

Its name is a digest of all that the numbers depend on. The random numbers of an augmented view
depend on the view alone, so that trials, seeds and heads share the file. All devices of a machine
compute it together, each some whole chunks, so that the numbers do not depend on how many there
are.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from asl_exp.config.errors import WorkerError, rebuilt
from asl_exp.data.augmentation import Augmentation
from asl_exp.data.cache_files import CacheFile, Rows
from asl_exp.data.decode_pool import progress
from asl_exp.data.letters import Split
from asl_exp.data.loader import BatchLoader
from asl_exp.model.classifier import LetterClassifier
from asl_exp.model.feature_cut import Cut
from asl_exp.training.ranks import gather, local_rank, local_world_size, rank, state_digest

_VERSION = 1  # of how features are computed; another one is another file
_CHUNK = 64  # images computed, and augmented, together; part of what the numbers depend on
_HALF = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


@dataclass(frozen=True)
class Source:
    """What features come from.

    Attributes:
        model: in eval mode, on ``device``.
        cut: where they are taken.
        precision: as in ``trainer.precision``.
        pixels: digest of the stored pixels.
        folder: where the files are kept.
        has_folder: no machine with lower ranks keeps them in the same folder.
    """

    model: LetterClassifier
    cut: Cut
    precision: str
    device: torch.device
    pixels: str
    folder: Path
    has_folder: bool = True

    def describe(self) -> dict[str, Any]:
        """Return all that the features of any image depend on."""
        return {
            "version": _VERSION,
            "weights": state_digest(self.model.backbone),
            "pooling": self.model.pooling.how,
            "mean": self.model.mean.flatten().tolist(),
            "std": self.model.std.flatten().tolist(),
            "cut": [self.cut.module, *self.cut.shape],
            "precision": self.precision,
            "pixels": self.pixels,
        }


@dataclass(frozen=True)
class FeatureFile:
    """The features of a split in one view.

    Attributes:
        about: what they depend on.
        augmentation: None for the images as they are.
        view: a number; another one has other random numbers.
    """

    source: Source
    about: Mapping[str, Any]
    split: Split
    augmentation: Augmentation | None = None
    view: int = 0

    @property
    def kept(self) -> CacheFile:
        """Where they are kept, whether computed or not."""
        name = hashlib.sha256(json.dumps(self._about(), sort_keys=True).encode()).hexdigest()[:32]
        folder, otherwise = self.source.folder, "go without with features=never"
        return CacheFile(folder, name, "f32", self.n_bytes, "stored features", otherwise)

    @property
    def n_bytes(self) -> int:
        """The size of the file."""
        return len(self.split) * self._row_bytes

    @property
    def _row_bytes(self) -> int:
        return 4 * int(np.prod(self.source.cut.shape))

    def _about(self) -> dict[str, Any]:
        changes = self.augmentation.config.model_dump() if self.augmentation else None
        return {
            **self.about,
            "rows": hashlib.sha256(self.split.rows.tobytes()).hexdigest()[:16],
            "images": len(self.split),
            "augmentation": changes,
            "view": self.view,
        }

    def open(self, *, limit_gb: float, keep: Iterable[str]) -> Rows:
        """Open the file; where it is missing, all devices compute it first.

        There are three exchanges of all ranks: what is to be filled, whether everybody could, and
        whether the file is in place. An error of one is an error of all. Where machines share the
        folder, one of them computes: two would wait for each other, in an exchange and at the lock.

        Raises:
            NoRoomError: the limit or a disk has no room for it.
        """
        leads = local_rank() == 0 and self.source.has_folder
        error = self._lead(limit_gb, keep) if leads else self._follow()
        if (first := _first_of_all(error)) is not None:
            raise first
        return Rows(self.kept.bytes_file, self.source.cut.shape, np.float32)

    def _lead(self, limit_gb: float, keep: Iterable[str]) -> Exception | None:
        """Hold the lock and the file while all fill it."""
        asked = False

        def fill(part: Path) -> Mapping[str, Any]:
            nonlocal asked
            asked = True
            gather(part.name)
            if (first := _first_of_all(_error_of(lambda: self.fill(part)))) is not None:
                raise first
            return self._about()

        error = _error_of(lambda: self.kept.open(fill, limit_gb=limit_gb, keep=keep))
        if not asked:
            gather(None)
            _first_of_all(None)
        return error

    def _follow(self) -> Exception | None:
        name = gather(None)[rank() - local_rank()]
        part = self.source.folder / Path(str(name)).name  # in that folder, whoever sent the name
        _first_of_all(_error_of(lambda: self.fill(part)) if name else None)
        return None

    @torch.no_grad()
    def fill(self, part: Path) -> None:
        """Compute this device's chunks and write them into their places."""
        mine, places = self._share()
        what = (
            f"storing features, view {self.view + 1}" if self.augmentation else "storing features"
        )
        with progress(what, len(mine)) as advance, part.open("r+b") as file:
            for images, labels, rows in BatchLoader(mine, _CHUNK, shuffle=False, seed=0):
                first = int(places[rows[0]])
                features = self._features(images.to(self.source.device), labels, first)
                file.seek(first * self._row_bytes)
                file.write(features.data)
                advance(int(rows[-1]) + 1)

    def _features(self, images: torch.Tensor, labels: torch.Tensor, first: int) -> NDArray[Any]:
        inputs, device = images.float() / 255.0, self.source.device
        if self.augmentation:
            drawn = np.random.SeedSequence((self.view, first)).generate_state(1, np.uint64)[0]
            inputs, _ = self.augmentation(inputs, labels.to(device), seed=int(drawn >> 1))
        half = _HALF.get(self.source.precision)
        with torch.autocast(device.type, half, enabled=half is not None):
            features = self.source.cut.below(self.source.model, inputs)
        return features.float().contiguous().cpu().numpy()

    def _share(self) -> tuple[Split, NDArray[np.int64]]:
        """Return this device's chunks as a split of their own, and where they are in the whole."""
        n_images, split = len(self.split), self.split
        starts = range(local_rank() * _CHUNK, n_images, local_world_size() * _CHUNK)
        chunks = [np.arange(start, min(start + _CHUNK, n_images)) for start in starts]
        places = np.concatenate([np.arange(0), *chunks])
        labels, rows = split.labels[places], split.rows[places]
        return Split(split.name, labels, split.table, split.pixels, rows), places


def _error_of(work: Callable[[], object]) -> Exception | None:
    try:
        work()
    except Exception as error:
        return error
    return None


def _first_of_all(own: Exception | None) -> Exception | None:
    """Return the error of the first rank that has one; ``own`` is this rank's."""
    number, says = (own.errno, own.strerror) if isinstance(own, OSError) else (None, None)
    told: dict[str, Any] | None = None
    if own is not None:
        told = {"kind": type(own).__name__, "message": says or str(own), "number": number}
    for sender, error in enumerate(gather(told)):
        if error is None:
            continue
        if own is not None and sender == rank():
            return own
        kind, message = str(error["kind"]), str(error["message"])
        if error["number"] is not None:
            return OSError(int(error["number"]), message)
        return rebuilt(kind, message) or WorkerError(f"rank {sender}: {kind}: {message}")
    return None

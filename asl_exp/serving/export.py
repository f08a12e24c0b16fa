"""Writes a kept model as an ONNX file, and says what the file is worth beside the network.

The file is compared with the network on images of the run's test set before it gets its name. Where
the run's images are not on this machine, drawn hands take their place for the comparison; accuracy
and int8 need the run's own.
"""

import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.table import Table
from torch import Tensor, nn

from asl_exp.compat.torch import without_export_remarks
from asl_exp.config import readable
from asl_exp.config.console import Console
from asl_exp.config.errors import RunError, UserError, first_line, require_extra
from asl_exp.data.decode import Pixels, read_image
from asl_exp.data.letters import Split
from asl_exp.evaluation.inference import probabilities
from asl_exp.evaluation.intervals import known_groups, mean_interval
from asl_exp.evaluation.scores import Floats
from asl_exp.model.classifier import LetterClassifier
from asl_exp.model.kept import KeptModel
from asl_exp.model.onnx_network import (
    IMAGES,
    JOINTS,
    KEY,
    SCORES,
    OnnxNetwork,
    PhotoInput,
    described,
)
from asl_exp.runs.writing import replaced, require_writable
from asl_exp.serving.evaluate import Member, open_member
from asl_exp.serving.int8 import write_int8
from asl_exp.training.shared_inputs import letters_for

_COMPARED: Final = 64
"""Images on which the file and the network are compared."""

_CALIBRATED: Final = 256
BATCH: Final = "batch"
"""Name of the axis along which a file takes any number of images."""

_TOGETHER: Final = 16
"""Images of a batch whose time is taken."""

_LARGEST: Final = 2_000_000_000
"""Bytes of weights; an ONNX file is one protobuf message, which ends at 2 GiB."""

_TIMED_S: Final = 1.0
_SIDES: Final = ((1.0, 1.0), (1.4, 1.1), (0.8, 1.3))
"""Of the images that a file with preprocessing is compared on, relative to the stored squares."""


@dataclass(frozen=True)
class Wish:
    """What is asked for.

    Attributes:
        output: the file; None: model.onnx in the folder of the model.
        with_preprocessing: resize and normalise inside.
        int8: a second file with whole numbers of 8 bits.
        tolerance: largest difference of a probability.
    """

    output: Path | None = None
    with_preprocessing: bool = False
    int8: bool = False
    tolerance: float = 1e-3


@dataclass(frozen=True)
class Measured:
    """What one form of the network is worth.

    Attributes:
        name: PyTorch, ONNX or ONNX int8.
        file: None for PyTorch.
        megabytes: of the file; of PyTorch's weights.
        images_per_second: on this machine's CPU, batches of 16.
        difference: largest of a probability, to PyTorch; None for PyTorch itself.
        right: `(N,)` whether each test image is recognised; None where the run's images are not
            here.
    """

    name: str
    file: Path | None
    megabytes: float
    images_per_second: float
    difference: float | None
    right: Floats | None


@dataclass(frozen=True)
class Exported:
    """The files, what was measured, and the groups of the test images; notes say on what."""

    rows: tuple[Measured, ...]
    groups: Sequence[str] | None
    notes: tuple[str, ...]


def export(run: str, wish: Wish, runs_dir: Path = Path("runs")) -> Exported:
    """Write a kept model as ONNX.

    Args:
        run: run folder, MLflow run id, model folder or checkpoint.
        runs_dir: where MLflow run ids are known.

    Raises:
        UserError: no kept model there, or what is asked for does not go together.
        RunError: the file does not answer as the network does; it is not kept.
    """
    require_extra("export", "onnx", "onnxruntime", "onnxscript")
    member = open_member(run, runs_dir, None)
    kept = member.kept
    if not isinstance(kept.model, LetterClassifier):
        raise UserError(f"{run}: is exported already")
    if (size := _n_bytes(kept.model)) > _LARGEST:
        raise UserError(
            f"{run}: its network has {size / 1e9:.1f} GB of weights, and an ONNX file holds "
            f"{_LARGEST / 1e9:.0f} GB; smaller layers of head.hidden, or head.pooling=avg instead "
            "of flatten, make one that can be exported"
        )
    if wish.with_preprocessing and not kept.model.sees_pixels:
        raise UserError(
            "--with-preprocessing: hand=joints sees no images, so there is nothing to resize; "
            "leave it out"
        )
    file = wish.output or _beside(member, run)
    require_writable(file)
    samples = _samples(member)
    if wish.int8 and samples.train is None:
        raise UserError(
            f"--int8: is calibrated on the run's training images, which cannot be read: "
            f"{samples.reason}; leave --int8 out, or put the images back"
        )
    rows, notes = [_of_torch(member, samples)], []
    with replaced(file) as part:
        _write(kept, part, inside=wish.with_preprocessing)
        network = OnnxNetwork(part)
        difference = _difference(kept, network, samples.compared)
        if wish.with_preprocessing:
            same, read = _resized(kept, network, samples.compared)
            difference = max(difference, same)
            notes.append(
                f"resizing inside: a probability differs by up to {read:.1e} from that of photos "
                "that Pillow resized as in training"
            )
        if not difference <= wish.tolerance:
            raise RunError(
                f"a probability of the exported network differs by {difference:.2g} from "
                f"PyTorch's, more than the tolerance of {wish.tolerance:g}; no file was written; "
                "a larger --tolerance takes it"
            )
        rows.append(_measured("ONNX", (file, part), network, difference, samples))
    if wish.int8:
        rows.append(_int8(file, kept, samples))
    return Exported(tuple(rows), samples.groups, (*notes, *_notes(samples, rows)))


@dataclass(frozen=True)
class _Samples:
    """Images that the network is shown.

    Attributes:
        compared: of the test set, else drawn hands.
        test, train: the run's own; None where they cannot be read.
        reason: why they cannot.
    """

    compared: Split
    test: Split | None
    train: Split | None
    reason: str = ""

    @property
    def groups(self) -> Sequence[str] | None:
        """The groups of the test images, as far as they are known."""
        table = None if self.test is None else self.test.table
        return None if table is None else known_groups(table)


def _samples(member: Member) -> _Samples:
    kept = member.kept
    try:
        splits = letters_for(kept, kept.config.data, member.hand).splits
    except UserError as error:
        hand = member.hand.model_copy(update={"detector": "exact", "model": None})
        drawn = kept.config.data.model_copy(
            update={
                "source": "synthetic", "root": None, "manifest": None, "sources": [],
                "external": [], "joints": [], "drawn_signers": 0, "classes": "A-I",
                "split": "group", "leave_out": [], "folds": None, "fold": None,
            }
        )  # fmt: skip
        reason = first_line(error)
        test = letters_for(kept, drawn, hand).splits["test"]
        return _Samples(_some(test, _COMPARED), None, None, reason)
    return _Samples(_some(splits["test"], _COMPARED), splits["test"], splits["train"])


def _some(split: Split, at_most: int) -> Split:
    """Return images from all over a split, those without an image left out."""
    rows = np.flatnonzero(split.rows >= 0) if split.sees_pixels else np.arange(len(split))
    chosen = np.linspace(0, len(rows) - 1, min(at_most, len(rows))).astype(np.int64)
    return split.take(rows[np.unique(chosen)])


def _beside(member: Member, run: str) -> Path:
    where = member.folder or Path(run)
    return (where if where.is_dir() else where.parent) / "model.onnx"


class _Graph(nn.Module):
    """The network with the inputs that its file has."""

    def __init__(self, network: LetterClassifier, photos: PhotoInput | None) -> None:
        super().__init__()
        self.network, self.photos = network, photos

    def forward(self, images: Tensor | None = None, joints: Tensor | None = None) -> Tensor:
        if self.photos is not None and images is not None:
            images = self.photos(images)
        scores: Tensor = self.network(images, joints)
        return scores


def _write(kept: KeptModel, file: Path, *, inside: bool) -> None:
    """Write the graph, with what it needs to be used in its metadata."""
    network, size = kept.model, kept.preprocessing.image_size
    photos = PhotoInput(kept.geometry) if inside else None
    given: dict[str, Tensor] = {}
    moving: dict[str, Any] = {}
    if network.sees_pixels:
        given[IMAGES] = torch.zeros(2, 3, size, size)
        moving[IMAGES] = {0: BATCH}
    if photos is not None:
        given[IMAGES] = torch.zeros(2, size + 9, size + 5, 3, dtype=torch.uint8)
        moving[IMAGES] = {0: BATCH, 1: "height", 2: "width"}
    if network.joints is not None:
        given |= network.any_hands(2)
        moving[JOINTS] = {0: BATCH}
    with without_export_remarks(), torch.no_grad():
        program = torch.onnx.export(
            _Graph(network, photos).eval(),
            (),
            kwargs=given,
            dynamo=True,
            dynamic_shapes=moving,
            input_names=list(given),
            output_names=[SCORES],
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props[KEY] = described(kept)
    program.save(file, external_data=False)


def _difference(kept: KeptModel, network: OnnxNetwork, compared: Split) -> float:
    """Return the largest difference of a probability between the file and PyTorch."""
    cpu = torch.device("cpu")
    told = probabilities(kept.model, compared, batch_size=_TOGETHER, device=cpu)
    as_network = cast(LetterClassifier, network)
    given = probabilities(as_network, compared, batch_size=_TOGETHER, device=cpu)
    return float(np.abs(told - given).max())


def _resized(kept: KeptModel, network: OnnxNetwork, compared: Split) -> tuple[float, float]:
    """Return the largest differences of a probability where the file resizes photos itself.

    The first is to the same resizing in PyTorch, the second to photos as training reads them.
    """
    graph, same, read = _Graph(kept.model, PhotoInput(kept.geometry)).eval(), 0.0, 0.0
    rows = np.arange(min(len(compared), _TOGETHER))
    for row, square in zip(rows, compared.gather(rows), strict=True):
        photo, pixels = _as_photo(square, _SIDES[row % len(_SIDES)], kept)
        joints = None
        if kept.model.joints is not None and compared.joints is not None:
            joints = torch.from_numpy(compared.joints[[row]])
        images = torch.from_numpy(photo[None])
        beside = {} if joints is None else {JOINTS: joints.numpy()}
        given = _softmax(torch.from_numpy(network.raw({IMAGES: photo[None], **beside})))
        with torch.inference_mode():
            again = _softmax(graph(images, joints))
            inputs = torch.from_numpy(pixels.copy())[None].permute(0, 3, 1, 2).float() / 255.0
            told = _softmax(kept.model(inputs, joints))
        same = max(same, float(np.abs(again - given).max()))
        read = max(read, float(np.abs(told - given).max()))
    return same, read


def _softmax(scores: Tensor) -> NDArray[np.float32]:
    return scores.softmax(1).numpy()


def _as_photo(square: Pixels, sides: tuple[float, float], kept: KeptModel) -> tuple[Pixels, Pixels]:
    """Return a stored square as a photo of other sides, and that photo as training reads it."""
    high, wide = (max(1, round(len(square) * side)) for side in sides)
    photo = Image.fromarray(square).resize((wide, high), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    photo.save(file, "PNG")
    read = read_image(file.getvalue(), kept.geometry, kept.config.data.max_megapixels)
    return np.array(photo), read


def _of_torch(member: Member, samples: _Samples) -> Measured:
    model = member.kept.model
    size = _n_bytes(model) / 1e6
    return Measured("PyTorch", None, size, _speed(model, samples), None, _right(model, samples))


def _n_bytes(network: nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())


def _measured(
    name: str, files: tuple[Path, Path], network: OnnxNetwork, difference: float, samples: _Samples
) -> Measured:
    """Measure a file; the second path is where it lies now."""
    file, now = files
    speed, right = _speed(network, samples), _right(network, samples)
    return Measured(name, file, now.stat().st_size / 1e6, speed, difference, right)


def _int8(file: Path, kept: KeptModel, samples: _Samples) -> Measured:
    assert samples.train is not None
    small = file.with_suffix(".int8.onnx")
    network = OnnxNetwork(file)
    with replaced(small) as part:
        write_int8(file, part, _batches(network, _some(samples.train, _CALIBRATED)))
        quantised = OnnxNetwork(part)
        difference = _difference(kept, quantised, samples.compared)
        return _measured("ONNX int8", (small, part), quantised, difference, samples)


def _batches(network: OnnxNetwork, split: Split) -> Iterator[dict[str, Any]]:
    """Yield a split's images as the file takes them."""
    for start in range(0, len(split), _TOGETHER):
        rows = np.arange(start, min(start + _TOGETHER, len(split)))
        yield network.arrays(*_inputs(network, split, rows))


def _inputs(network: nn.Module, split: Split, rows: Any) -> tuple[Tensor, Tensor | None]:
    """Return images and joints of some rows, as the network is called."""
    images = torch.empty(len(rows), 0)
    if split.sees_pixels:
        images = torch.from_numpy(split.gather(rows)).permute(0, 3, 1, 2).float() / 255.0
    joints = None
    if network.joints is not None and split.joints is not None:
        joints = torch.from_numpy(split.joints[rows])
    return images, joints


def _speed(network: nn.Module, samples: _Samples) -> float:
    """Return images a second of the network alone, the median of batches."""
    rows = np.arange(len(samples.compared))[:_TOGETHER]
    images, joints = _inputs(network, samples.compared, rows)
    seconds: list[float] = []
    began = time.perf_counter()
    with torch.inference_mode():
        network(images, joints)
        while time.perf_counter() - began < _TIMED_S or len(seconds) < 3:
            start = time.perf_counter()
            network(images, joints)
            seconds.append(time.perf_counter() - start)
    return len(rows) / float(np.median(seconds))


def _right(network: Any, samples: _Samples) -> Floats | None:
    if samples.test is None:
        return None
    cpu = torch.device("cpu")
    answers = probabilities(network, samples.test, batch_size=_TOGETHER, device=cpu)
    right: Floats = (answers.argmax(1) == samples.test.labels).astype(np.float64)
    if samples.test.rejected is not None:
        right[samples.test.rejected] = 0
    return right


def _notes(samples: _Samples, rows: list[Measured]) -> Iterator[str]:
    n = len(samples.compared)
    if samples.test is None:
        yield f"compared on {n} drawn hands: the run's images cannot be read ({samples.reason})"
    else:
        yield f"compared on {n} images of the test set; accuracy on all {len(samples.test):,}"
    for row in rows:
        if "int8" in row.name and row.right is not None and rows[0].right is not None:
            lost = rows[0].right - row.right
            cost = f"{100 * lost.mean():.1f} points of accuracy on the test set"
            spread = readable.points(mean_interval(lost, samples.groups))
            yield f"int8 costs {cost} ({spread if lost.any() else 'not one answer changed'})"
    yield from (f"file: {row.file}" for row in rows if row.file)


def show(exported: Exported) -> None:
    """Print what was measured, and where the files are."""
    console, table = Console(), Table()
    table.add_column("", style="bold")
    for column in ("MB", "images/s", "largest difference", "test/accuracy", "95 %"):
        table.add_column(column, justify="right")
    for row in exported.rows:
        difference = "-" if row.difference is None else f"{row.difference:.1e}"
        told = ["-", "-"]
        if row.right is not None:
            bounds = mean_interval(row.right, exported.groups, share=True)
            told = [readable.score(row.right.mean()), readable.interval(bounds)]
        table.add_row(
            row.name, f"{row.megabytes:.2f}", f"{row.images_per_second:,.0f}", difference, *told
        )
    console.print(table)
    for note in exported.notes:
        console.say(note)

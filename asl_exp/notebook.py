"""What the commands do, for notebooks: ``import asl_exp``, then train, load, evaluate, compare.

Plain arguments in, plain objects out. The checks and messages are those of the command line; what
is wrong is raised (``UserError``, ``ConfigError``, ``RunError``), and nothing ends the process.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Union

from asl_exp.config import readable
from asl_exp.config.errors import ConfigError, UserError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from PIL.Image import Image as PilImage

    from asl_exp.config.schema import Config
    from asl_exp.model.recognizer import Recognizer
    from asl_exp.runs.result import Result
    from asl_exp.serving.inputs import Shown

    Picture = str | Path | bytes | np.ndarray[Any, Any] | PilImage
    """A file, a folder or a pattern; the bytes of a file; pixels (H, W, 3) uint8; Pillow's."""

RunLike = Union[str, Path, "TrainedRun"]


@dataclass(frozen=True)
class TrainedRun:
    """A run that is done."""

    folder: Path
    config: "Config" = field(repr=False)
    result: "Result" = field(repr=False)

    @property
    def scores(self) -> "pd.DataFrame":
        """A row for each set, with the kept checkpoint's scores and the ends of their intervals."""
        return _scores(self.result.metrics, self.result.intervals, self.result.cautions)

    @property
    def epochs(self) -> "pd.DataFrame":
        """The metrics of every epoch."""
        import pandas as pd

        return pd.read_csv(self.folder / "epochs.csv")

    def load(self) -> "Model":
        """Return its kept model."""
        return load(self.folder)

    def _repr_html_(self) -> str:
        told = f"{self.result.name} ({self.result.status}): {self.folder}"
        return _page(told, self.scores)


@dataclass(frozen=True)
class Model:
    """A kept model, which is shown images."""

    recognizer: "Recognizer" = field(repr=False)
    where: str

    @property
    def classes(self) -> tuple[str, ...]:
        """What it knows, in the order of its outputs."""
        return self.recognizer.kept.classes

    def predict(self, images: "Picture | Iterable[Picture]") -> "pd.DataFrame":
        """Return a row for each image: its name, letter, probability and probability/<class>.

        Raises:
            UserError: an image cannot be read; all such are named.
        """
        import pandas as pd

        from asl_exp.serving.predict import answers

        shown = list(_pictures(images))
        if not shown:
            raise UserError("give images to predict: files, folders, patterns, or pixels")
        faults: list[str] = []
        found = list(answers(self.recognizer, shown, faults))
        if faults:
            raise UserError("\n  ".join([f"{len(faults)} images could not be read:", *faults]))
        return pd.DataFrame([{"image": answer.name, **answer.row} for answer in found])

    def _repr_html_(self) -> str:
        import pandas as pd

        kept = self.recognizer.kept
        facts = {
            "classes": ", ".join(kept.classes),
            "backbone": kept.config.backbone.name,
            "hand": kept.config.hand.mode,
            "image size": str(kept.preprocessing.image_size),
            "kept": f"phase {kept.phase}, epoch {kept.epoch + 1}",
        }
        return _page(f"model of {self.where}", pd.DataFrame({"": facts}))


@dataclass(frozen=True)
class Scores:
    """What kept models are worth on data.

    Attributes:
        table: a row for each set.
        folder: where confusion matrices, curves and predictions are.
        left_out: set to label to images whose label the model does not know.
    """

    table: "pd.DataFrame"
    folder: Path
    left_out: dict[str, dict[str, int]]

    def _repr_html_(self) -> str:
        return _page(f"files: {self.folder}", self.table)


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes:
        table: a row for each run and set, with its scores.
        pairs: a row for every two runs and set: the difference, its interval, and p after Holm.
        cautions: what must stand beside the scores.
    """

    table: "pd.DataFrame"
    pairs: "pd.DataFrame"
    cautions: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        return _page("; ".join(self.cautions), self.table) + _page("differences", self.pairs)


def train(*overrides: str) -> TrainedRun:
    """Run one experiment, as ``python -m asl_exp`` does; progress is printed.

    Args:
        overrides: ``"backbone=resnet50"``, ``"data.root=photos"``, one each.

    Raises:
        ConfigError: with every fault, before anything is loaded.
        UserError: data or weights cannot be used.
        RunError: training broke down.
    """
    from asl_exp.__main__ import checked_line, experiment, finish_delivery
    from asl_exp.config.command_line import CommandLine, parse_command_line

    _require_texts(overrides)
    line = parse_command_line(overrides)
    if line != CommandLine(overrides=line.overrides):
        raise ConfigError(["options (--multirun, --cfg, ...) belong to the command line"])
    checked = checked_line(line)
    if checked is None:
        raise ConfigError(["sweep: a study is started on the command line, with --multirun"])
    (config,) = checked.jobs
    from asl_exp.config.names import network_word

    word = network_word(config.hand.mode, config.backbone.name)
    folder = Path(config.runs_dir) / f"{datetime.now():%Y-%m-%d_%H-%M-%S_%f}_{word}"
    try:
        experiment(config, folder)
    finally:
        finish_delivery(None)
    return read(folder if not isinstance(config.resume, str) else config.resume)


def read(run: RunLike) -> TrainedRun:
    """Return a run from its folder or MLflow run id.

    Raises:
        UserError: there is none.
    """
    if isinstance(run, TrainedRun):
        return run
    from asl_exp.runs.result import Result
    from asl_exp.runs.run_folder import read_config
    from asl_exp.tracking.store import folder_of

    folder = folder_of(str(run), Path("runs"))
    result = Result.read(folder)
    if result is None:
        raise UserError(f"{folder}: no run has begun there (it has no result.json)")
    return TrainedRun(folder, read_config(folder), result)


def load(run: RunLike, hand_model: str | Path | None = None) -> Model:
    """Return the kept model of a run folder, model folder, checkpoint, .onnx file or MLflow run id.

    Args:
        hand_model: file of the hand detector, where the model looks for hands.

    Raises:
        UserError: no kept model there.
    """
    from asl_exp.model.recognizer import Recognizer
    from asl_exp.tracking.store import folder_of

    (where,) = _places(run if isinstance(run, str | Path | TrainedRun) else [run])
    return Model(Recognizer.load(folder_of(where, Path("runs")), _detector(hand_model)), where)


def evaluate(
    run: "RunLike | Sequence[RunLike]",
    *overrides: str,
    renamed: Mapping[str, str] | None = None,
    soup: bool = False,
    hand_model: str | Path | None = None,
) -> Scores:
    """Score a kept model, or several together, as ``python -m asl_exp.evaluate`` does.

    Args:
        run: one, or a list of several, which answer together.
        overrides: of the group data, such as ``"data=folder", "data.root=photos"``.
        renamed: label of the data to the class that it means.
        soup: average weights, not answers.

    Raises:
        UserError: no kept model there, or unusable data.
    """
    from asl_exp.serving import evaluate as scoring

    _require_texts(overrides)
    if not _are_texts({} if renamed is None else renamed):
        raise UserError(f"renamed: got {renamed!r}; give a label of the data: the class it means")
    detector = _detector(hand_model)
    scored = scoring.evaluate(_places(run), overrides, renamed, soup=soup, hand_model=detector)
    metrics: dict[str, float] = {}
    intervals: dict[str, list[float]] = {}
    for name, one in scored.sets.items():
        metrics |= {f"{name}/{key}": value for key, value in one.scores.items()}
        intervals |= {f"{name}/{key}": list(ends) for key, ends in one.intervals.of.items()}
    cautions = {name: one.caution for name, one in scored.sets.items() if one.caution}
    return Scores(_scores(metrics, intervals, cautions), scored.folder, scored.left_out)


def compare(runs: "RunLike | Sequence[RunLike]", runs_dir: str | Path = "runs") -> Comparison:
    """Compare finished runs, as ``python -m asl_exp.report`` does.

    Args:
        runs: run folders, folders of runs, or MLflow run ids.
        runs_dir: where ids are known.

    Raises:
        UserError: one of them means no finished run.
    """
    import pandas as pd

    from asl_exp.evaluation import comparison, differences
    from asl_exp.evaluation.comparison import find_folders
    from asl_exp.runs.result import spelled_cautions

    if not isinstance(runs_dir, str | Path):
        raise UserError(f"runs_dir: got {runs_dir!r}; give a folder")
    folders = find_folders(_places(runs), Path(runs_dir))
    compared = comparison.read_runs(folders)
    rows = [
        {"run": one.label, "set": name, **scored.values}
        for one in compared
        for name, scored in one.sets.items()
    ]
    pairs = [
        {
            "set": pair.where, "first": pair.first, "second": pair.second,
            "difference": pair.found.value,
            "low": pair.found.interval[0] if pair.found.interval else None,
            "high": pair.found.interval[1] if pair.found.interval else None,
            "p": pair.p, "images": pair.found.n_images,
        }
        for pair in differences.pairs(comparison.configurations(compared))
    ]  # fmt: skip
    cautions = (
        f"{one.label}: {spelled_cautions(one.result.cautions)}"
        for one in compared
        if one.result.cautions
    )
    return Comparison(pd.DataFrame(rows), pd.DataFrame(pairs), tuple(cautions))


def _places(runs: "RunLike | Sequence[RunLike]") -> list[str]:
    """Return where one run or several are, at least one."""
    given: Any = [runs] if isinstance(runs, str | Path | TrainedRun) else runs
    found = list(given) if hasattr(given, "__iter__") else []
    if not found or not all(isinstance(one, str | Path | TrainedRun) for one in found):
        raise UserError(
            f"got {runs!r}: give a run, or a list of runs: folders, MLflow run ids, or what train "
            "and read returned"
        )
    return [_where(one) for one in found]


def _require_texts(overrides: Sequence[object]) -> None:
    if wrong := [one for one in overrides if not isinstance(one, str)]:
        raise ConfigError([f"{one!r}: give overrides as text, such as 'seed=1'" for one in wrong])


def _are_texts(renamed: object) -> bool:
    if not isinstance(renamed, Mapping):
        return False
    return all(isinstance(one, str) for pair in renamed.items() for one in pair)


def _detector(given: object) -> Path | None:
    """Return the file of a hand detector, if one is given."""
    if given is None or isinstance(given, str | Path):
        return None if given is None else Path(given)
    raise UserError(f"hand_model: got {given!r}; give the detector's file, or None")


def _where(run: RunLike) -> str:
    return str(run.folder if isinstance(run, TrainedRun) else run)


def _scores(
    metrics: Mapping[str, float],
    intervals: Mapping[str, Sequence[float]],
    cautions: Mapping[str, str],
) -> "pd.DataFrame":
    """Return a row for each set out of ``set/score`` to value."""
    import pandas as pd

    rows: dict[str, dict[str, Any]] = {}
    for key, value in metrics.items():
        name, _, score = key.rpartition("/")
        if name and name not in ("train", "external"):
            rows.setdefault(name, {})[score] = value
    for name, row in rows.items():
        if ends := intervals.get(f"{name}/accuracy"):
            row["low"], row["high"] = ends
        row["caution"] = cautions.get(name, "")
    return pd.DataFrame.from_dict(rows, orient="index")


def _pictures(images: Any) -> "Iterator[Shown]":
    """Yield what can be looked at, with a name: files of folders and patterns one by one."""
    from asl_exp.serving.inputs import Shown, inputs

    if isinstance(images, str | Path):
        yield from inputs([str(images)]).images()
    elif isinstance(images, bytes):
        yield Shown("bytes", images)
    elif hasattr(images, "getexif"):  # Pillow's
        yield Shown(str(getattr(images, "filename", "") or "picture"), _as_png(images))
    elif hasattr(images, "__array__"):
        array = _pixels(images)
        several = array if array.ndim == 4 else array[None]
        for number, pixels in enumerate(several):
            yield Shown(f"pixels {number}", _as_png(pixels))
    elif hasattr(images, "__iter__"):
        for one in images:
            yield from _pictures(one)
    else:
        raise UserError(f"got {images!r}: give files, folders, patterns, bytes or pixels")


def _pixels(given: Any) -> "np.ndarray[Any, Any]":
    import numpy as np

    array = np.asarray(given)
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or array.shape[-1] != 3:
        raise UserError(
            f"pixels of shape {array.shape} and type {array.dtype}: give (H, W, 3) or (N, H, W, 3) "
            "of type uint8, RGB"
        )
    return array


_OF_PNG: Final = ("1", "L", "LA", "I;16", "RGB", "RGBA")
"""Modes of Pillow that a PNG keeps, so that it is read as a file of that picture would be."""


def _as_png(given: Any) -> bytes:
    import io

    from PIL import Image

    picture = given if isinstance(given, Image.Image) else Image.fromarray(given)
    colours = "RGBA" if picture.has_transparency_data else "RGB"
    kept = picture if picture.mode in _OF_PNG else picture.convert(colours)
    file = io.BytesIO()
    kept.save(file, "PNG", compress_level=1, exif=picture.getexif())
    return file.getvalue()


def _page(told: str, table: "pd.DataFrame") -> str:
    return f"<p>{escape(told)}</p>{table.to_html(float_format=readable.score, na_rep='')}"

"""Which models there are to choose from, and what each is known to be worth.

They are the runs of a folder, those that its MLflow store knows and whose folder went elsewhere,
and further folders by name. The best comes first, and best is how well a model reads people it has
never seen. Those that are in memory are shared by all who look at the app.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from urllib.parse import unquote, urlparse

import streamlit as st

from asl_exp.config import names, readable
from asl_exp.config.errors import UserError
from asl_exp.config.names import Artifact
from asl_exp.model.recognizer import Recognizer, find_checkpoint
from asl_exp.runs.result import Result
from asl_exp.runs.run_folder import run_folders
from asl_exp.tracking.store import every_run, open_store
from asl_exp.tracking.store_file import DATABASE


@dataclass(frozen=True)
class Choice:
    """A kept model.

    Attributes:
        path: what a Recognizer is loaded from.
        evaluation: the folder of its scores, whether it is there or not.
        metrics: of the kept checkpoint, under the metric keys; empty where there is no run.
        cautions: split or external set to what must stand beside its score.
        intervals: metric key to low and high, as far as they are known.
    """

    name: str
    path: Path
    evaluation: Path
    metrics: dict[str, float] = field(default_factory=dict)
    cautions: dict[str, str] = field(default_factory=dict)
    intervals: dict[str, list[float]] = field(default_factory=dict)

    @property
    def external(self) -> float | None:
        """Accuracy on people and rooms never seen, the mean over all external sets."""
        means = names.external_means(self.metrics)
        return means.get(names.score_key(names.EXTERNAL, "accuracy"))

    @property
    def test(self) -> float | None:
        """Accuracy on the run's own test split."""
        return self.metrics.get(names.score_key("test", "accuracy"))

    def interval(self, where: str) -> list[float] | None:
        """Return the interval of the accuracy on a set, on "external" that of their mean."""
        return self.intervals.get(names.score_key(where, "accuracy"))

    @property
    def sets(self) -> list[str]:
        """Names of the sets that it was scored on, those of other people last."""
        found = [file.parent for file in self.evaluation.glob("**/predictions.parquet")]
        named = sorted(folder.relative_to(self.evaluation).as_posix() for folder in found)
        return sorted(named, key=lambda name: (name != "test", name))

    def told(self) -> str:
        """Return both scores, which a person chooses by, and the name."""
        scores = []
        if self.external is not None:
            scores.append(f"{readable.percent(self.external)} other people")
        if self.test is not None:
            scores.append(f"{readable.percent(self.test)} own test")
        return f"{' · '.join(scores) or 'not scored'} · {self.name}"


def all_choices(runs_dir: Path, more: Sequence[Path] = ()) -> list[Choice]:
    """Return every kept model, the best on other people first; without such a score, by its test.

    Args:
        runs_dir: folder of runs, with its MLflow store if there is one; need not exist.
        more: further run folders, model folders or checkpoints.

    Raises:
        UserError: one of `more` holds no kept model.
    """
    for path in more:
        find_checkpoint(path)
    given = [choice for path in more if (choice := _choice(path)) is not None]
    found = list(_in_folder(runs_dir)) if runs_dir.is_dir() else []
    found += _in_store(runs_dir, {choice.path.resolve() for choice in found})
    known = {choice.path.resolve(): choice for choice in (*found, *given)}
    return sorted(_told_apart(list(known.values()), runs_dir), key=_worth, reverse=True)


def _told_apart(choices: Sequence[Choice], runs_dir: Path) -> Iterator[Choice]:
    """Yield the models; where several runs have one name, their folders stand before it."""
    counts = Counter(choice.name for choice in choices)
    for choice in choices:
        path = choice.path
        place = path.relative_to(runs_dir) if path.is_relative_to(runs_dir) else path
        apart = counts[choice.name] > 1 and str(place) != choice.name
        yield replace(choice, name=f"{place}: {choice.name}") if apart else choice


def _worth(choice: Choice) -> tuple[float, float, str]:
    external, test = choice.external, choice.test
    return (-1.0 if external is None else external, -1.0 if test is None else test, choice.name)


def _in_folder(runs_dir: Path) -> Iterator[Choice]:
    below = [folder for folder in run_folders(runs_dir) if folder.is_relative_to(runs_dir)]
    for folder in below:
        if (choice := _choice(folder)) is not None:
            yield choice


def _choice(path: Path) -> Choice | None:
    """Return what a path holds; None where there is no kept model, or its record is damaged."""
    try:
        find_checkpoint(path)
        folder = path if (path / Artifact.RESULT).is_file() else path.parent
        result = Result.read(folder)
    except UserError:
        return None
    evaluation = folder / Artifact.EVALUATION
    if result is None:
        return Choice(path.name, path, evaluation)
    return Choice(result.name, path, evaluation, result.metrics, result.cautions, result.intervals)


def _has_model(path: Path) -> bool:
    try:
        return find_checkpoint(path).is_file()
    except UserError:
        return False


def _in_store(runs_dir: Path, known: Iterable[Path]) -> list[Choice]:
    """Return the runs of the MLflow store whose folder is not among those below the folder."""
    if not (runs_dir / DATABASE).is_file():
        return []
    seen, found = set(known), []
    with suppress(UserError):  # a store that cannot be read hides no folder
        for run in every_run(open_store(runs_dir)):
            folder = Path(run.data.tags.get(names.Tag.RUN_FOLDER, "."))
            artifacts = Path(unquote(urlparse(run.info.artifact_uri or "").path))
            model = artifacts / Artifact.MODEL
            if folder.resolve() in seen:
                continue
            if (folder / Artifact.RESULT).is_file() and (choice := _choice(folder)):
                found.append(choice)
            elif _has_model(model):
                metrics = dict(run.data.metrics)
                name, scores = str(run.info.run_name), artifacts / Artifact.EVALUATION
                found.append(Choice(name, model, scores, metrics))
    return found


_AT_ONCE = 4


@dataclass(frozen=True)
class Loaded:
    """A model and its lock.

    Attributes:
        lock: held while it works: the hand detector does one picture at a time.
    """

    recognizer: Recognizer
    lock: Lock = field(default_factory=Lock)


def loaded(choice: Choice) -> Loaded:
    """Return a model; the same one until its file changes.

    Raises:
        UserError: it cannot be read, or its hand detector cannot be had.
    """
    return _load(choice.path, find_checkpoint(choice.path).stat().st_mtime_ns)


@st.cache_resource(max_entries=_AT_ONCE, show_spinner="Loading the model")
def _load(path: Path, changed_ns: int) -> Loaded:
    return Loaded(Recognizer.load(path))

"""Which folder a run writes to: its own new one, or that of the run that it resumes.

A run is resumed with its own configuration, or with more epochs of the last phase that it trained
and of those after it, where that computes what a run with so many epochs from the start would.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from filelock import FileLock, Timeout

from asl_exp.config.errors import UserError
from asl_exp.config.names import Artifact
from asl_exp.config.schema import Config
from asl_exp.config.signature import compared_settings, signature
from asl_exp.runs.result import FOLDS_FILE, Result
from asl_exp.runs.run_folder import LOCK, held, read_config, resumed_run
from asl_exp.training.features import n_views
from asl_exp.training.rendezvous import is_first
from asl_exp.training.state import FOLDER, find_state
from asl_exp.training.terminal import say

_FEW: Final = 5
"""Differences between two configurations that may be a slip; more are another experiment."""


@contextmanager
def claim_folder(config: Config, new_folder: Path) -> Iterator[Path]:
    """Choose the run folder and hold its lock, so that no other process resumes the run as well.

    Where several machines work on one run, the first has its folder; the others get an empty one.

    Raises:
        UserError: ``resume`` names no run, one still going, or one of another configuration; or the
            new folder has a run already.
    """
    if not is_first(config.trainer):
        with TemporaryDirectory() as nowhere:
            yield Path(nowhere)
        return
    folder = _chosen(config, new_folder)
    folder.mkdir(parents=True, exist_ok=True)
    if folder != new_folder:
        with suppress(OSError):
            new_folder.rmdir()  # Hydra made it; only if nothing is in it
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{folder}: another process is running this experiment") from None
    try:
        yield folder
    finally:
        lock.release()


def _chosen(config: Config, new_folder: Path) -> Path:
    if isinstance(config.resume, str):
        return _named(config, Path(config.resume))
    unfinished = _newest(config, same=True)
    if config.resume and unfinished is not None:
        return unfinished
    require_unused(new_folder)
    if config.resume:
        told = "resume: no unfinished run of this configuration; a new one begins"
        say("\n".join([told, *_other(config)]))
    elif unfinished is not None:
        say(f"an unfinished run has this configuration: {unfinished}; resume=true goes on with it")
    return new_folder


def require_unused(folder: Path) -> None:
    """Refuse a folder that holds a run: it would go on, or be mixed, with another one's files.

    Raises:
        UserError: there is a run, or the folds of one.
    """
    if any((folder / file).exists() for file in (Artifact.RESULT, FOLDS_FILE)):
        raise UserError(
            f"{folder}: holds a run already; give another folder, or remove this one (an "
            f"unfinished run goes on by resume={folder})"
        )


def _named(config: Config, folder: Path) -> Path:
    result = resumed_run(str(folder))
    if result.signature != signature(result.resolved(config)):
        if longer := _longer_phases(config, folder, result):
            _require_extendable(config, folder, longer)
            return folder
        differences = _differences(config, folder, result)
        finished = [_go_on_from(folder)] if result.status == "FINISHED" else []
        told = [f"resume: '{folder}' has another configuration:", *differences, *finished]
        raise UserError("\n".join(told))
    if result.status == "FINISHED":
        raise UserError(
            f"resume: '{folder}' is finished; there is nothing to go on with; {_go_on_from(folder)}"
        )
    return folder


def _go_on_from(folder: Path) -> str:
    return (
        "more epochs of its last phase go on with it (schedule.PHASE.epochs=N beside the settings "
        f"that it had); whatever else is a new run, from its weights with backbone.weights={folder}"
    )


def _longer_phases(config: Config, folder: Path, result: Result) -> list[str]:
    """Return the phases that are given more epochs than a run had; [] if more has changed."""
    try:
        saved = read_config(folder)
    except UserError:
        return []
    then = compared_settings(result.resolved(saved))
    now = compared_settings(result.resolved(config))
    changed = {key for key in then.keys() | now.keys() if then.get(key) != now.get(key)}
    longer = [
        name
        for name, phase in config.schedule.items()
        if name in saved.schedule and phase.epochs > saved.schedule[name].epochs
    ]
    return longer if changed == {f"schedule.{name}.epochs" for name in longer} else []


def _require_extendable(config: Config, folder: Path, longer: list[str]) -> None:
    """Refuse more epochs where they would not give what a run with so many from the start does.

    Raises:
        UserError: with the reason and another way.
    """
    saved = read_config(folder).schedule
    last = [name for name, phase in saved.items() if phase.epochs][-1]
    names, key = list(config.schedule), f"resume: schedule.{last}.epochs"
    new_run = f"a new run goes on from its weights with backbone.weights={folder}"
    if earlier := [name for name in longer if names.index(name) < names.index(last)]:
        raise UserError(
            f"resume: schedule.{earlier[0]}.epochs: phase {last} started from what {earlier[0]} "
            f"came to in {saved[earlier[0]].epochs} epochs; only {last} can be made longer"
        )
    if last in longer and config.lr.shape == "cosine":
        raise UserError(
            f"{key}: with lr.shape=cosine the rate of every epoch depends on their number, so "
            f"{config.schedule[last].epochs} epochs are another run than {saved[last].epochs}; "
            f"with constant and plateau a run can be made longer; {new_run}"
        )
    state = find_state(folder)
    if state is None:
        raise UserError(
            f"{key}: '{folder}' has no state to go on from (a phase that its patience ended keeps "
            f"none, nor did earlier versions, nor do trials of a study); {new_run}"
        )
    if last in longer and state.phase == last and state.phase_done and state.stopped:
        raise UserError(
            f"{key}: its patience ended the phase, and would have with more epochs; {new_run}"
        )
    views = [n_views(one[last], config.augmentation) for one in (saved, config.schedule)]
    if last in longer and resumed_run(str(folder)).stored_views.get(last) and len(set(views)) > 1:
        raise UserError(
            f"{key}: it trained on {views[0]} stored views of each image, and one of "
            f"{config.schedule[last].epochs} epochs does on {views[1]}; {new_run}"
        )


def _differences(config: Config, folder: Path, result: Result) -> Iterator[str]:
    """Yield a line for each setting that differs between a run and this configuration."""
    try:
        saved = read_config(folder)
    except UserError as error:
        yield f"  which one cannot be told: {error}"
        return
    then = compared_settings(result.resolved(saved))
    now = compared_settings(result.resolved(config))
    for key in sorted(then.keys() | now.keys()):
        if then.get(key) != now.get(key):
            yield f"  {key}: the run has {then.get(key)}, given is {now.get(key)}"


def _other(config: Config) -> Iterator[str]:
    """Yield lines on the newest unfinished run of another configuration, if few settings differ."""
    folder = _newest(config, same=False)
    result = Result.read(folder) if folder else None
    if folder is None or result is None:
        return
    differences = list(_differences(config, folder, result))
    if len(differences) <= _FEW:
        yield f"  the newest unfinished one is {folder}; what differs:"
        yield from (f"  {line}" for line in differences)


def _newest(config: Config, *, same: bool) -> Path | None:
    """Return the newest run that has a state and nobody works on, of this configuration or not."""
    runs_dir, found = Path(config.runs_dir), []
    for state in [*runs_dir.glob(f"*/{FOLDER}"), *runs_dir.glob(f"*/*/{FOLDER}")]:  # grids nest
        folder, result = state.parent, None
        with suppress(UserError):  # another run's damaged file is not in the way of this one
            result = Result.read(folder)
        if (
            result is not None
            and (result.signature == signature(result.resolved(config))) is same
            and result.status != "FINISHED"
        ):
            with held(folder) as free:
                found += [folder] if free else []
    return max(found, key=lambda folder: (folder / Artifact.RESULT).stat().st_mtime, default=None)

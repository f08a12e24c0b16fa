"""Which folder a run writes to: its own new one, or that of the run that it resumes."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock, Timeout

from asl_exp.config.errors import UserError
from asl_exp.config.names import Artifact
from asl_exp.config.schema import Config
from asl_exp.config.signature import compared_settings, signature
from asl_exp.runs.lock import LOCK, held
from asl_exp.runs.result import Result
from asl_exp.runs.run_folder import read_config, resumed_run
from asl_exp.training.rendezvous import is_first
from asl_exp.training.state import FOLDER
from asl_exp.training.terminal import say


@contextmanager
def claim_folder(config: Config, new_folder: Path) -> Iterator[Path]:
    """Choose the run folder and hold its lock, so that no other process resumes the run as well.

    Where several machines work on one run, the first has its folder; the others get an empty one.

    Raises:
        UserError: ``resume`` names no run, one still going, or one of another configuration.
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
    unfinished = _unfinished(config)
    if config.resume:
        if unfinished is None:
            say("resume: no unfinished run of this configuration; a new one begins")
        return unfinished or new_folder
    if unfinished is not None:
        say(f"an unfinished run has this configuration: {unfinished}; resume=true goes on with it")
    return new_folder


def _named(config: Config, folder: Path) -> Path:
    result = resumed_run(str(folder))
    if result.signature != signature(result.resolved(config)):
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
        "a finished run has no state of its optimizer left; a new run goes on from its weights "
        f"with backbone.weights={folder}"
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


def _unfinished(config: Config) -> Path | None:
    """Return the newest run of this configuration that has a state and nobody works on."""
    runs_dir, found = Path(config.runs_dir), []
    for state in [*runs_dir.glob(f"*/{FOLDER}"), *runs_dir.glob(f"*/*/{FOLDER}")]:  # grids nest
        folder, result = state.parent, None
        with suppress(UserError):  # another run's damaged file is not in the way of this one
            result = Result.read(folder)
        if (
            result is not None
            and result.signature == signature(result.resolved(config))
            and result.status != "FINISHED"
        ):
            with held(folder) as free:
                found += [folder] if free else []
    return max(found, key=lambda folder: (folder / Artifact.RESULT).stat().st_mtime, default=None)

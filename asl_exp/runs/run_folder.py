"""What a run's folder holds beside result.json: saved configuration, kept checkpoints, the lock.

A folder is locked as long as a process works on its run. Also finds the run folders around a path.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from asl_exp.config.errors import UserError
from asl_exp.config.names import Artifact
from asl_exp.config.saved import read_saved
from asl_exp.config.schema import Config
from asl_exp.runs.result import Result
from asl_exp.runs.writing import replaced

CONFIG_FILE: Final = f"{Artifact.CONFIG}/resolved.yaml"


def write_config(config: Config, run_folder: Path) -> None:
    """Save the resolved configuration of a run."""
    from omegaconf import OmegaConf  # a model folder is read without it

    file = run_folder / CONFIG_FILE
    file.parent.mkdir(exist_ok=True)
    with replaced(file) as part:
        OmegaConf.save(OmegaConf.create(config.model_dump()), part)


def read_config(run_folder: Path) -> Config:
    """Return the configuration of a run from its folder.

    Raises:
        UserError: it is missing, damaged, or of another version of asl_exp.
    """
    from asl_exp.config.yaml_file import read_yaml

    file = run_folder / CONFIG_FILE
    try:
        return read_saved(read_yaml(file))
    except UserError as error:
        if not file.exists():
            raise UserError(
                f"{run_folder}: no configuration of a run (it has no {CONFIG_FILE})"
            ) from None
        raise UserError(
            f"{file}: {error}; it is damaged, or of another version of asl_exp; the run's MLflow "
            "artifacts have a copy"
        ) from None


def checkpoints_on_disk(run_folder: Path, phases: Iterable[str] = ()) -> dict[str, str]:
    """Return phase to path within the folder of every kept checkpoint, in the phases' order.

    Args:
        phases: in their order; where none are given, those of the saved configuration, or, where
            that cannot be read, whatever there is, the oldest first.
    """
    folder = run_folder / Artifact.CHECKPOINTS
    there = {file.stem: file for file in folder.glob("[!.]*.ckpt")}
    in_order = list(phases) or _saved_phases(run_folder)
    if not in_order:
        in_order = sorted(there, key=lambda name: there[name].stat().st_mtime)
    return {p: f"{Artifact.CHECKPOINTS}/{p}.ckpt" for p in in_order if p in there}


def kept_checkpoint(run_folder: Path) -> Path | None:
    """Return the checkpoint that a run offers, its last phase's; None where it has none.

    Raises:
        UserError: result.json cannot be read.
    """
    result = Result.read(run_folder)
    if result is None or not result.checkpoints:
        return None
    names = list(result.checkpoints)
    in_order = [phase for phase in _saved_phases(run_folder) if phase in names]
    name = result.checkpoints[(in_order or names)[-1]]
    kept = run_folder / name
    if "\0" in name or not kept.resolve().is_relative_to(run_folder.resolve()):
        raise UserError(f"{run_folder / Artifact.RESULT}: names a checkpoint outside the folder")
    return kept


def run_folders(path: Path) -> list[Path]:
    """Return the nearest run folder at or above a path, else those up to two levels below it."""
    around = (path, *path.resolve().parents)
    above = [folder for folder in around if (folder / Artifact.RESULT).is_file()][:1]
    below = (*path.glob(f"*/{Artifact.RESULT}"), *path.glob(f"*/*/{Artifact.RESULT}"))
    return above or [file.parent for file in sorted(below)]  # grids and studies nest


def resumed_run(given: str) -> Result:
    """Return what came of the run that ``resume=FOLDER`` names.

    Raises:
        UserError: there is none.
    """
    result = Result.read(Path(given))
    if result is None:
        raise UserError(
            f"resume: '{given}' is no run folder (it has no {Artifact.RESULT}); resume=true "
            "goes on with the newest unfinished run of the same settings"
        )
    return result


def _saved_phases(run_folder: Path) -> list[str]:
    """Return the phases in their order; none where the configuration cannot be read."""
    try:
        return list(read_config(run_folder).schedule)
    except UserError:
        return []


LOCK: Final = ".lock"


def held(run_folder: Path) -> AbstractContextManager[bool]:
    """Hold a run's folder; False where a living process has it, or it cannot be locked."""
    return locked(run_folder / LOCK)


@contextmanager
def locked(file: Path) -> Iterator[bool]:
    """Hold a lock that the system frees when its process dies; False where that cannot be had."""
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        yield False
        return
    try:
        yield True
    finally:
        lock.release()

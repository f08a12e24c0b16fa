"""Which finished runs a command line means: folders, ids, studies and experiments."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from asl_exp.config.errors import UserError, nearest
from asl_exp.config.names import Tag
from asl_exp.runs.result import Result
from asl_exp.runs.run_folder import run_folders
from asl_exp.tracking.store import every_run, folder_of, open_store
from asl_exp.tracking.store_file import DATABASE


def find_folders(given: Sequence[str], runs_dir: Path, experiment: str | None = None) -> list[Path]:
    """Return the run folders that are meant; of a folder of runs, a study or an experiment, those
    of all finished runs.

    Args:
        given: run folders, folders of runs, MLflow run ids, or names of studies.
        runs_dir: where ids, studies and experiments are known.
        experiment: an MLflow experiment whose runs are meant as well.

    Raises:
        UserError: one of them means none.
    """
    found = [folder for name in given for folder in _meant(name, runs_dir)]
    if experiment is not None:
        found += _of_experiment(experiment, runs_dir)
    return found


def _meant(name: str, runs_dir: Path) -> list[Path]:
    where = Path(name)
    if not where.exists():
        where = _study(name, runs_dir) or folder_of(name, runs_dir)
    folders = run_folders(where)
    if len(folders) > 1:
        folders = list(_finished(folders))
    if not folders:
        raise UserError(f"{name}: no finished run in it")
    return folders


def _finished(folders: Sequence[Path]) -> Iterator[Path]:
    for folder in folders:
        if (result := Result.read(folder)) and result.status == "FINISHED":
            yield folder


def _study(name: str, runs_dir: Path) -> Path | None:
    """Return the folder of the last study of that name; None where none is known."""
    if not (runs_dir / DATABASE).is_file() or "'" in name:
        return None
    runs = every_run(open_store(runs_dir), f"tags.{Tag.STUDY} = '{name}' and tags.{Tag.ROLE} != ''")
    folders = [run.data.tags.get(Tag.RUN_FOLDER) for run in runs]
    return next((Path(folder) for folder in reversed(folders) if folder), None)


def _of_experiment(name: str, runs_dir: Path) -> list[Path]:
    if not (runs_dir / DATABASE).is_file():
        raise UserError(f"--experiment {name}: no store of runs in {runs_dir}; give --runs-dir")
    client = open_store(runs_dir)
    known = {one.name: one.experiment_id for one in client.search_experiments()}
    if name not in known:
        raise UserError(
            f"--experiment {name}: no such experiment in {runs_dir}{nearest(name, known)}; it has "
            f"{', '.join(sorted(known))}"
        )
    runs = [run for run in every_run(client) if run.info.experiment_id == known[name]]
    folders = [Path(folder) for run in runs if (folder := run.data.tags.get(Tag.RUN_FOLDER))]
    finished = list(_finished(list(dict.fromkeys(folders))))
    if not finished:
        raise UserError(f"--experiment {name}: no finished run in it")
    return finished

"""Which of Hydra's own keys the command line may change: where runs go and what starts their jobs.

The others change how the program works (what code runs, where files are read, whether it is a grid)
and have an option of asl_exp's in their place, or end in Hydra's own words.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from hydra.core.override_parser.types import Override

from asl_exp.config.errors import nearest

_FOLDERS: Final = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
_ALLOWED: Final = (*_FOLDERS, "hydra/launcher", "hydra.launcher.KEY", "hydra.job.name")
_INSTEAD: Final = {
    "hydra.mode": "write --multirun for a grid, and nothing for one run",
    "hydra.searchpath": "write --config-dir FOLDER",
    "hydra.sweeper": "list values with commas for a grid, or choose a study by sweep=NAME",
    "hydra/sweeper": "list values with commas for a grid, or choose a study by sweep=NAME",
    "hydra.job.chdir": "commands stay in the folder where they are typed",
    "hydra.help": "--help lists every group and choice",
}
_EXTRAS: Final = {
    "joblib": "joblib", "ray": "ray", "ray_aws": "ray", "submitit_local": "slurm",
    "submitit_slurm": "slurm",
}  # fmt: skip


def is_hydras(key: str) -> bool:
    """Return whether a key is one of Hydra's own."""
    return key.split("@")[0].partition(".")[0].partition("/")[0] == "hydra"


def hydra_fault(override: Override, launchers: Sequence[str]) -> str | None:
    """Return why an override of Hydra's is not taken, or None.

    Args:
        override: of a key that `is_hydras`.
        launchers: those that are installed.
    """
    key, value = override.key_or_group, override.value()
    if override.is_delete():
        return f"~{key}: keys cannot be deleted"
    if override.is_sweep_override():
        return f"{key}: has one value for all jobs; got several ({override.input_line})"
    if key == "hydra/launcher":
        return None if value in launchers else _no_launcher(str(value), launchers)
    if key.startswith("hydra.launcher.") and "_target_" not in str(override.input_line):
        return None
    if key in _FOLDERS and not (isinstance(value, str) and value.strip()):
        return f"{key}: got '{'' if value is None else value}'; give a folder"
    if key in _FOLDERS[:2] and Path(str(value)).resolve() in (Path.cwd(), *Path.cwd().parents):
        return (
            f"{key}: '{value}' is the folder where the command is typed, or above it, and a run's "
            "files would lie among others; give a folder of its own"
        )
    if key in (*_FOLDERS, "hydra.job.name", "hydra.verbose"):
        return None
    for name, why in _INSTEAD.items():
        if key == name or key.startswith((f"{name}.", f"{name}/")):
            return f"{key}: is not changed here; {why}"
    return f"{key}: is not changed here; of Hydra's own keys these are: {', '.join(_ALLOWED)}"


def _no_launcher(given: str, launchers: Sequence[str]) -> str:
    extra = _EXTRAS.get(given)
    hint = f"; it needs the extra '{extra}': pip install 'asl-exp[{extra}]'" if extra else ""
    hint = hint or nearest(given, launchers)
    return f"hydra/launcher={given}: no such launcher{hint}; there are {', '.join(launchers)}"

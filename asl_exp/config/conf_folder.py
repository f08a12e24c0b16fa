"""Where files are: the YAML files, a user's home; and the help text, which needs nothing else."""

import os
from collections.abc import Callable
from pathlib import Path


def conf_dir() -> Path:
    """Return the folder of the YAML files: beside the package in a clone, inside it in a wheel."""
    package = Path(__file__).resolve().parent.parent
    beside = package.parent / "conf"
    return beside if (beside / "config.yaml").is_file() else package / "conf"


def home_expanded(given: str | Path) -> Path:
    """Return a path with ``~`` expanded; a name of no user stays as it is."""
    return Path(os.path.expanduser(given))  # noqa: PTH111 - Path's raises where there is no such user


def exists_at(given: str, kind: Callable[[Path], bool] = Path.exists) -> bool:
    """Tell whether a path leads to something; one that no system can have does not."""
    try:
        return kind(home_expanded(given))
    except (OSError, ValueError):  # too long, not to be looked at
        return False


def is_file_at(given: str) -> bool:
    """Tell whether a path leads to a file."""
    return exists_at(given, Path.is_file)


def is_folder_at(given: str) -> bool:
    """Tell whether a path leads to a folder."""
    return exists_at(given, Path.is_dir)


def help_text() -> str:
    """Return what ``--help`` says, as Hydra would after composing everything."""
    import yaml
    from omegaconf import OmegaConf

    file = conf_dir() / "hydra" / "help" / "asl_exp.yaml"
    content = {"hydra": {"help": yaml.safe_load(file.read_text(encoding="utf-8"))}}
    return str(OmegaConf.create(content).hydra.help.template)

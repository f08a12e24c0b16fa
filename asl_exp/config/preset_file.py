"""``experiment=path/to/best.yaml``: a preset that lies outside conf/.

Hydra finds presets in its folders alone. A file is therefore put into Hydra's store of
configurations under the very name that the user typed, so that the command line stays as it is:
in the record of the run, and in processes that a launcher starts.
"""

from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from asl_exp.config.errors import nearest

_ENDINGS = (".yaml", ".yml")
_GROUP = "experiment"


def is_file(option: object) -> bool:
    """Return whether a choice of ``experiment=`` is meant as a file, not as a name."""
    return str(option).endswith(_ENDINGS)


def register_file(option: str, loader: ConfigLoader) -> str | None:
    """Give Hydra the file that ``experiment=`` names; return what is wrong with it, or None."""
    given = option.strip("'\"")
    path = Path(given).expanduser()
    if not path.is_file():
        hint = nearest(path.stem, loader.get_group_options(_GROUP))
        return f"{_GROUP}={given}: no such file{hint}; give a file, or one of conf/experiment"
    try:
        content = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException) as error:
        told = " ".join(str(error).split())
        return f"{_GROUP}={given}: cannot be read ({told})"
    if _hides(given, loader):
        return f"{_GROUP}={given}: conf/ has a file of that name; write {path.resolve()}"
    if fault := _shape_fault(content):
        return f"{_GROUP}={given}: {fault}"
    folder, _, name = given.rpartition("/")
    group = f"{_GROUP}/{folder}".replace("//", "/").rstrip("/")
    ConfigStore.instance().store(
        group=group, name=name, node=content, package="_global_", provider="file"
    )
    return None


def _hides(given: str, loader: ConfigLoader) -> bool:
    """Return whether Hydra would read a file of its own folders under this name."""
    folders = [source for source in loader.get_sources() if source.scheme() == "file"]
    return any(folder.is_config(f"{_GROUP}/{given}") for folder in folders)


def _shape_fault(content: Any) -> str | None:
    if not isinstance(content, dict) or not content:
        return "holds no keys; write group overrides and values as in conf/experiment/demo.yaml"
    defaults = content.get("defaults", [])
    if not isinstance(defaults, list):
        return "'defaults' must be a list, such as [override /head: dense]"
    if relative := [one for one in defaults if not _is_absolute(one)]:
        return (
            f"defaults: {relative[0]} is not found from a file outside conf/; write "
            "'override /group: choice'"
        )
    return None


def _is_absolute(entry: Any) -> bool:
    """Return whether an entry of a defaults list means the same from everywhere."""
    name = next(iter(entry)) if isinstance(entry, dict) and entry else entry
    return str(name) == "_self_" or str(name).split()[-1].startswith("/")

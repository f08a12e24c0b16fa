"""``experiment=path/to/best.yaml``: a preset that lies outside conf/.

Hydra finds presets in its folders alone. A file is therefore put into Hydra's store of
configurations under the very name that the user typed, so that the command line stays as it is:
in the record of the run, and in processes that a launcher starts.
"""

from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore

from asl_exp.config.conf_folder import exists_at, home_expanded
from asl_exp.config.errors import nearest
from asl_exp.config.yaml_file import YamlError, content_fault, read_yaml

_ENDINGS = (".yaml", ".yml")
_GROUP = "experiment"


def is_file(option: object) -> bool:
    """Return whether a choice of ``experiment=`` is meant as a file, not as a name."""
    return str(option).endswith(_ENDINGS)


def register_file(option: str, loader: ConfigLoader) -> str | None:
    """Give Hydra the file that ``experiment=`` names; return what is wrong with it, or None."""
    given = option.strip("'\"")
    path = home_expanded(given)
    if not exists_at(given):
        hint = nearest(path.stem, loader.get_group_options(_GROUP))
        return f"{_GROUP}={given}: no such file{hint}; give a file, or one of conf/experiment"
    if _hides(given, loader):
        return f"{_GROUP}={given}: conf/ has a file of that name; write {path.resolve()}"
    groups = set(loader.list_groups("")) - {"hydra"}
    try:
        content = read_yaml(path)
    except YamlError as error:
        return f"{_GROUP}={given}: {error}"
    if fault := content_fault(content or None, groups, outside=True):
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

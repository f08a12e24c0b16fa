"""Hydra's and OmegaConf's private parts; light, as every command line needs them."""

import pkgutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from typing import Any, Final

from hydra import compose, initialize_config_dir
from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins import basic_sweeper
from hydra._internal.hydra import Hydra
from hydra.core import config_store, plugins
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, OmegaConf, _utils, open_dict

from asl_exp.compat.hydra_plain import composed_plainly, yaml_loader
from asl_exp.compat.quick_start import Later


@contextmanager
def opened(config_dir: str, searchpath: Sequence[str] = ()) -> Iterator[None]:
    """Open Hydra on a folder, beside the one that a running command has open.

    Hydra has one global instance; the outer one is put aside and back.

    Args:
        searchpath: addresses of folders that come before it, as with ``--config-dir``.
    """
    hydra = GlobalHydra.instance()
    outer = hydra.hydra
    hydra.clear()
    try:
        with initialize_config_dir(config_dir, version_base="1.3"):
            loader = hydra.config_loader()
            assert isinstance(loader, ConfigLoaderImpl)
            for folder in searchpath:
                loader.config_search_path.prepend("command-line", folder)
            loader.repository.initialize_sources(loader.config_search_path)
            yield
    finally:
        hydra.hydra = outer


def keep_store_whole() -> None:
    """Keep Hydra from copying its store of nodes, the schema's, with each list of sources.

    Every composition and every question for a group's choices copied all of it; nothing changes
    it, for what is loaded from it is copied then. And what launchers store is made then.
    """
    vars(config_store)["OmegaConf"] = _Nodes
    ConfigStore.__deepcopy__ = lambda self, memo: self  # type: ignore[attr-defined]


def compose_no_more_than_needed() -> None:
    """Keep Hydra from what comes to nothing here.

    It loaded all launchers of grids, and read YAML without the parser in C. Before it runs a
    command it composed all of it for ``hydra.mode`` alone, which is no key of ours: ``--multirun``
    says it. And for each file it made a configuration of all choices so far, a fifth of a
    composition, though only a default such as ``data: ${model}`` reads it.
    """
    _utils.get_yaml_loader = yaml_loader
    vars(plugins)["pkgutil"] = _Walk(lambda name: not name.startswith(_LAUNCHERS))
    Hydra.get_mode = lambda *_, **__: None  # type: ignore[method-assign]
    defaults_list._create_interpolation_map = _choices_if_read  # type: ignore[assignment]


_choices: Final = defaults_list._create_interpolation_map


def _choices_if_read(overrides: Any, defaults: list[Any], self_added: bool) -> Any:
    read = any(default.is_interpolation() for default in defaults)
    return _choices(overrides, defaults, self_added) if read else None


_LAUNCHERS: Final = (
    "hydra_plugins.hydra_joblib_launcher",
    "hydra_plugins.hydra_ray_launcher",
    "hydra_plugins.hydra_submitit_launcher",
)


class _Walk:
    """Stands for pkgutil in Hydra's search for plugins, and passes over some."""

    def __init__(self, wanted: Callable[[str], bool]) -> None:
        self.wanted = wanted

    def walk_packages(self, *given: Any, **more: Any) -> Iterator[pkgutil.ModuleInfo]:
        found = pkgutil.walk_packages(*given, **more)
        return (module for module in found if self.wanted(module.name))


@cache
def load_launchers() -> None:
    """Load the launchers of grids, which Hydra passed over when it looked for plugins."""
    names, known = vars(plugins), Plugins.instance()
    passing_over = names["pkgutil"]
    names["pkgutil"] = _Walk(lambda name: name.startswith(_LAUNCHERS))
    try:
        for plugin in Plugins._scan_all_plugins([import_module("hydra_plugins")])[0]:
            known.register(plugin)
    finally:
        names["pkgutil"] = passing_over


class _Nodes(OmegaConf):
    structured = Later  # type: ignore[assignment]


def composed(
    name: str, overrides: Sequence[str], *, with_hydras: bool
) -> tuple[DictConfig, dict[str, str | None]]:
    """Return a composition without the group hydra, and the choices of all groups.

    Args:
        with_hydras: some are of the group hydra, so it is composed as well.
    """
    loader = GlobalHydra.instance().config_loader()
    if not with_hydras and isinstance(loader, ConfigLoaderImpl):
        with suppress(Exception):  # a fault, which Hydra says below in its own words
            config, choices = composed_plainly(loader, name, list(overrides))
            if choices.get("hydra/launcher") != "basic":  # by a file
                load_launchers()
            return config, choices
    config = compose(name, overrides=list(overrides), return_hydra_config=True)
    choices = dict(config.hydra.runtime.choices)
    with open_dict(config):
        del config["hydra"]
    return config, choices


def grid_sweeper(
    max_batch_size: int | None, params: dict[str, str] | None
) -> basic_sweeper.BasicSweeper:
    """Return Hydra's own sweeper of grids.

    Hydra loads its plugins' modules anew, so the class is looked up when it is needed.
    """
    return basic_sweeper.BasicSweeper(max_batch_size, params)


def as_written(element: Any) -> str:
    """Return an element of a choice as it stands on a command line, quotes included."""
    return Override._get_value_element_as_str(element)


def register_sweeper(sweeper: type[Sweeper]) -> None:
    """Give Hydra a plugin; it looks in folders, and finds none of an editable installation."""
    Plugins.instance().register(sweeper)


def has_engine(config: DictConfig) -> bool:
    """Return whether an engine starts the jobs of a command, in place of this process itself."""
    return not str(config.hydra.launcher._target_).endswith("BasicLauncher")


def returned(job: JobReturn) -> Any:
    """Return what a job returned or, where it failed, its error, which Hydra's own would raise."""
    return job._return_value

"""Hydra's private parts; light, as every command line needs them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from hydra import initialize_config_dir
from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins import basic_sweeper
from hydra._internal.hydra import Hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.sweeper import Sweeper

__all__ = [
    "as_written",
    "compose_no_more_than_needed",
    "grid_sweeper",
    "keep_store_whole",
    "opened",
    "register_sweeper",
    "returned",
]


@contextmanager
def opened(config_dir: str, searchpath: Sequence[str] = ()) -> Iterator[None]:
    """Open Hydra on a folder, beside the one that a running command has open.

    Hydra has one global instance; the outer one is put aside and back.

    Args:
        config_dir: the main folder.
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
    it, for what is loaded from it is copied then.
    """
    ConfigStore.__deepcopy__ = lambda self, memo: self  # type: ignore[attr-defined]


def compose_no_more_than_needed() -> None:
    """Keep Hydra from two things that come to nothing here.

    Before it runs a command it composed all of it for ``hydra.mode`` alone, which is no key of
    ours: ``--multirun`` says it. And for each file it made a configuration of all choices so far,
    a fifth of a composition, though only a default such as ``data: ${model}`` reads it.
    """
    Hydra.get_mode = lambda *_, **__: None  # type: ignore[method-assign]
    defaults_list._create_interpolation_map = _choices_if_read  # type: ignore[assignment]


_choices: Final = defaults_list._create_interpolation_map


def _choices_if_read(overrides: Any, defaults: list[Any], self_added: bool) -> Any:
    read = any(default.is_interpolation() for default in defaults)
    return _choices(overrides, defaults, self_added) if read else None


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


def returned(job: JobReturn) -> Any:
    """Return what a job returned or, where it failed, its error, which Hydra's own would raise."""
    return job._return_value

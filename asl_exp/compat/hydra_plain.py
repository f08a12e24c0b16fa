"""Composes as Hydra does, in plain dictionaries, which takes a third of the time.

Hydra's own code decides which files there are, which are chosen and in what order they come; but
it makes a node of OmegaConf of each value of each file, and copies and merges them. Here the files
are merged as they are read, and the whole is made into nodes once. Of the group hydra is read only
which options are chosen: it says how a command runs, not what. Where OmegaConf would do more than
put one value in another's place, this gives up, and Hydra composes.
"""

from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any, Final

import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository
from hydra._internal.defaults_list import create_defaults_list
from hydra.conf import HydraConf
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf, _utils

_HYDRAS: Final = "hydra/"


class UnplainError(Exception):
    """Only OmegaConf's nodes can say what these files come to."""


def composed_plainly(
    loader: ConfigLoaderImpl, name: str, overrides: list[str]
) -> tuple[DictConfig, dict[str, str | None]]:
    """Return a composition without the group hydra, and the choices of all groups.

    Args:
        overrides: none of the group hydra.

    Raises:
        Exception: of any kind, where there is a fault or something that is not plain.
    """
    parsed = OverridesParser.create().parse_overrides(overrides)
    files = _Files(loader.repository)
    listed = create_defaults_list(files, name, parsed, prepend_hydra=True, skip_missing=False)
    whole: dict[Any, Any] = {}
    for one in listed.defaults:
        if str(one.config_path).startswith(_HYDRAS):
            continue
        content, package = files.read(str(one.config_path))
        hydras = content.pop("hydra", {}) if one.primary else {}
        if "hydra" in content or "searchpath" in hydras:
            raise UnplainError
        package = package if one.package is None else one.package
        for part in reversed(package.split(".") if package else []):
            content = {part: content}
        _merge(whole, content)
    config = OmegaConf.create(whole)
    OmegaConf.set_struct(config, True)
    loader._apply_overrides_to_config(listed.config_overrides, config)
    return config, dict(listed.overrides.known_choices)


class _Files(CachingConfigRepository):
    """Gives Hydra what it asks of a file to list the defaults, without nodes of its values."""

    delegate: ConfigRepository

    def __init__(self, delegate: ConfigRepository) -> None:
        super().__init__(delegate)
        self._read_once = cache(self._read)

    def load_config(self, config_path: str) -> ConfigResult | None:
        if config_path not in self.cache:
            self.cache[config_path] = self._load(config_path)
        return self.cache[config_path]

    def _load(self, config_path: str) -> ConfigResult | None:
        if not config_path.startswith(_HYDRAS) and not self.config_exists(config_path):
            return None
        content, package = self.read(config_path, defaults=True)
        defaults = OmegaConf.create(content.pop("defaults", []))
        some = OmegaConf.create({"content": True} if content else {})
        found = ConfigResult("", "", some, header={"package": package})
        found.defaults_list = self.delegate._create_defaults_list(config_path, defaults)
        return found

    def read(
        self, config_path: str, *, defaults: bool = False
    ) -> tuple[dict[Any, Any], str | None]:
        """Return a file's content, and the package that its header names."""
        content, package = self._read_once(config_path)
        return {k: v for k, v in content.items() if defaults or k != "defaults"}, package

    def _read(self, config_path: str) -> tuple[dict[Any, Any], str | None]:
        if config_path.startswith(_HYDRAS):
            chosen = HydraConf().defaults if config_path == "hydra/config" else []
            return {"defaults": chosen}, None
        source: Any = self.delegate._find_object_source(config_path, ObjectType.CONFIG)
        name = source._normalize_file_name(config_path)
        if source.scheme() == "file":
            text = (Path(source.path) / name).read_text(encoding="utf-8")
            content = yaml.load(text, Loader=yaml_loader())
            return content or {}, source._get_header_dict(text[:512])["package"]
        if source.scheme() == "structured":
            stored = source.store._load(name)
            return stored.node.plain(), stored.package
        raise UnplainError


def _merge(into: dict[Any, Any], more: dict[Any, Any]) -> None:
    """Put values in place of others, and into groups of them.

    Raises:
        UnplainError: a group takes a value's place or the reverse, or a value is missing.
    """
    for key, value in more.items():
        there = into.setdefault(key, {}) if isinstance(value, dict) else into.get(key)
        if isinstance(there, dict) != isinstance(value, dict) or value == "???":
            raise UnplainError
        if isinstance(there, dict):
            _merge(there, value)
        else:
            into[key] = value


_in_python: Final = _utils.get_yaml_loader


@cache
def yaml_loader() -> Any:
    """Return OmegaConf's reader of YAML with the parser in C; a fault is said by its own."""
    in_python = _in_python()
    if not yaml.__with_libyaml__:
        return in_python
    from yaml.cyaml import CParser  # type: ignore[attr-defined]

    class Loader(CParser, in_python):  # type: ignore[misc, valid-type]
        def __init__(self, stream: Any) -> None:
            self.text = stream.read() if hasattr(stream, "read") else stream
            self.called = getattr(stream, "name", "<file>")
            CParser.__init__(self, self.text)
            yaml.constructor.SafeConstructor.__init__(self)
            yaml.resolver.Resolver.__init__(self)

        def get_single_data(self) -> Any:
            try:
                return super().get_single_data()
            except yaml.YAMLError:
                text = StringIO(self.text)
                text.name = self.called
                return in_python(text).get_single_data()

    return Loader

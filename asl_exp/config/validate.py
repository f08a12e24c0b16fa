"""Checks a composed configuration against the schema and says every fault in the user's keys."""

import re
from collections.abc import Container, Iterator
from typing import Any, Final

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError

from asl_exp.config.debug import shortened
from asl_exp.config.errors import nearest
from asl_exp.config.keys import model_at, nearest_key
from asl_exp.config.rules import contradictions
from asl_exp.config.schema import Config
from asl_exp.config.study_schema import Study, SweepConfig

_FOREIGN = ("sweep", "experiment", "hydra")  # handled by Hydra before a run begins
Path = tuple[str | int, ...]

_REFERENCE: Final = re.compile(r"\$\{([\w.]+)\}")
_UNSET: Final = re.compile(r"Environment variable ('[^']+') not found")
_LONGEST: Final = 120  # characters of a value that are shown

_WORDS = {
    "a valid string": "text (quote it)",
    "a valid integer": "a whole number",
    "a valid boolean": "true or false",
    "a valid dictionary or instance of PhaseConfig": (
        "a group of keys, those of a phase (--help schedule)"
    ),
    "a valid dictionary or instance of": "a group of keys, see",
    "match pattern '^[a-z][a-z0-9_]{0,50}$'": "be named by small letters, digits and _",
    "a valid ": "a ",
}
"""What pydantic says, and what a user understands."""

# Stand-ins for faulty fields that have no default, while the remaining rules are checked.
_HARMLESS = {"trainable": "all", "epochs": 1, "lr": 1.0, "monitor": "val/loss"}


def validate(composed: DictConfig) -> tuple[Config | None, list[str]]:
    """Return the typed configuration, or None, and every fault, fields before contradictions."""
    config, faults = typed(composed)
    clashes = contradictions(config) if config else []
    return (None if clashes or config is None else shortened(config)), [*faults, *clashes]


def typed(composed: DictConfig) -> tuple[Config | None, list[str]]:
    """Return the configuration with its types, or None and the faults of its fields."""
    raw = _plain(composed, resolve=False)
    try:
        values = _plain(composed, resolve=True)
    except (OmegaConfBaseException, RecursionError) as error:
        return None, [_unresolved(error, raw)]
    if faults := list(_groups_in_texts(raw, values)):
        return None, faults
    try:
        return Config.model_validate(values), []
    except ValidationError as error:
        return None, _field_faults(error, values, raw) + _further_faults(error, values)


def typed_sweep(composed: DictConfig) -> tuple[SweepConfig, list[str]]:
    """Return the group ``sweep`` with its types, defaults in place of faulty fields, and faults."""
    values = {"sweep": OmegaConf.to_container(composed.sweep, resolve=True)}
    try:
        return Study.model_validate(values).sweep, []
    except ValidationError as error:
        faults = _field_faults(error, values, {}, Study)
        for detail in error.errors(include_url=False):
            _forget(values, detail["loc"][:2])
        return Study.model_validate(values).sweep, faults


def _plain(composed: DictConfig, *, resolve: bool) -> dict[str, Any]:
    container = OmegaConf.to_container(composed, resolve=resolve)
    assert isinstance(container, dict)
    return {str(k): v for k, v in container.items() if k not in _FOREIGN}


def _field_faults(
    error: ValidationError,
    values: dict[str, Any],
    raw: dict[str, Any],
    root: type[BaseModel] = Config,
) -> list[str]:
    """Return one sentence for each faulty key; a key that refers to another is that one's fault."""
    grouped: dict[Path, list[Any]] = {}
    for detail in error.errors(include_url=False):
        grouped.setdefault(_known_path(detail["loc"], values), []).append(detail)
    faulty = {_dotted(path) for path in grouped}
    faults = []
    for path, details in grouped.items():
        named = [one for one in _references(_at(raw, path)) if one in faulty]
        if not named:
            faults.append(_sentence(path, details, values, root, _at(raw, path)))
    return faults


def without(faults: list[str], keys: Container[str]) -> list[str]:
    """Return the faults that are not of these keys: they have one already."""
    return [fault for fault in faults if fault.partition(":")[0] not in keys]


def _references(origin: Any) -> list[str]:
    """Return the keys that a value refers to, such as ``lr.transfer`` of ``${lr.transfer}``."""
    return _REFERENCE.findall(origin) if isinstance(origin, str) else []


def _groups_in_texts(raw: dict[str, Any], values: dict[str, Any]) -> Iterator[str]:
    """Yield a fault for each text that has a whole group written into it."""
    for key in flat_keys(raw):
        origin = _at(raw, tuple(key.split(".")))
        for name in _references(origin):
            inside = origin != f"${{{name}}}" and _at(values, tuple(name.split(".")))
            if isinstance(inside, dict):
                yield f"{key}: '{origin}' has a group in it; refer to a key, ${{{name}.KEY}}"


def _unresolved(error: Exception, raw: dict[str, Any]) -> str:
    """Say which key refers to nothing, or to itself."""
    key, known = getattr(error, "full_key", None), list(flat_keys(raw))
    if isinstance(error, RecursionError) or "recursi" in str(error).lower():
        circle = [one for one in known if _references(_at(raw, tuple(one.split("."))))]
        return f"{key or ' or '.join(circle) or 'a key'}: refers to itself; give a value"
    origin = _at(raw, tuple(str(key).split("."))) if key else None
    if "parent node" in str(error):
        return f"{key}: '{origin}' refers to the group that it is in; give a value"
    if unset := _UNSET.search(str(error)):
        return f"{key}: the environment has no variable {unset[1]} (from '{origin}')"
    if isinstance(origin, str) and "${hydra:" in origin:
        return f"{key}: '{origin}' is known to Hydra alone, and is no value of a key; write it out"
    for name in _references(origin):
        if name not in known:
            return f"{key}: '{origin}' refers to no key{nearest_key(name, known)}"
    return f"{key}: {str(error).splitlines()[0]}" + (f" (from '{origin}')" if origin else "")


def flat_keys(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the name of every key, groups and their keys."""
    for key, value in values.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from flat_keys(value, f"{prefix}{key}.")


_BRANCHES: Final = ("[key]", "bool", "int", "float", "str")
"""What pydantic adds to the key of a value that may be of several types."""


def _known_path(location: Path, values: dict[str, Any]) -> Path:
    """Cut what pydantic adds to a location (the branch of a union) off its end."""
    path: list[str | int] = []
    node: Any = values
    for index, part in enumerate(location):
        inside = (isinstance(node, dict) and part in node) or (
            isinstance(node, list) and isinstance(part, int) and part < len(node)
        )
        if not inside:
            last = index == len(location) - 1 and part not in _BRANCHES
            missing = isinstance(node, dict) and last
            return (*path, part) if missing else tuple(path)
        path.append(part)
        node = node[part]
    return tuple(path)


def _sentence(
    path: Path,
    details: list[Any],
    values: dict[str, Any],
    root: type[BaseModel],
    origin: Any = None,
) -> str:
    key = _dotted(path)
    kinds = {detail["type"] for detail in details}
    if kinds == {"extra_forbidden"}:
        parent = model_at(path[:-1], root)
        siblings = parent.model_fields if parent else ()
        return f"{key}: unknown key{nearest(str(path[-1]), siblings)}"
    if kinds == {"missing"}:
        return f"{key}: is missing"
    if kinds == {"model_type"} and path[0] != "schedule" and (model := model_at(path, root)):
        value, fields = _at(values, path), model.model_fields
        way = f"{key}.name={value}" if "name" in fields else f"{key}.KEY=VALUE"
        return f"{key}: is a group of keys; write {way}; it has {', '.join(fields)}"
    every = dict.fromkeys(_allowed(detail["msg"]) for detail in details)
    allowed = " or ".join(every).replace(" or be ", " or ")
    meaning = _description(path, root)
    value = _at(values, path)
    got = _short(value) + (f" (from {origin})" if _references(origin) else "")
    share = re.fullmatch(r"'([\d.]+)%'", got)
    hint = f"; write {key}={float(share[1]) / 100:g}" if share and "number" in allowed else ""
    if kinds == {"list_type"} and re.fullmatch(r"[\w./-]+", str(value)):
        hint = f"; write {key}=[{value}]"
    return f"{key}: got {got}; must {allowed}" + (f" ({meaning})" if meaning else "") + hint


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _allowed(message: str) -> str:
    for said, plain in _WORDS.items():
        message = message.replace(said, plain)
    return message.partition(" should ")[2] or message


def _further_faults(error: ValidationError, values: dict[str, Any]) -> list[str]:
    """Return contradictions among the right fields, with defaults in place of the others."""
    faulty = {_known_path(detail["loc"], values) for detail in error.errors(include_url=False)}
    for path in faulty:
        _forget(values, path)
    try:
        clashes = contradictions(Config.model_validate(values))
        return without(clashes, {_dotted(path) for path in faulty})
    except ValidationError:
        return []


def _forget(values: dict[str, Any], path: Path) -> None:
    keys = [part for part in path if isinstance(part, str)]
    parent = _at(values, tuple(keys[:-1]))
    if isinstance(parent, dict):
        parent.pop(keys[-1], None)
        if keys[0] == "schedule" and keys[-1] in _HARMLESS:
            parent[keys[-1]] = _HARMLESS[keys[-1]]


def _dotted(path: Path) -> str:
    return ".".join(str(part) for part in path)


def _at(values: Any, path: Path) -> Any:
    for part in path:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            return None
    return values


def _description(path: Path, root: type[BaseModel]) -> str | None:
    keys = tuple(part for part in path if isinstance(part, str))
    model = model_at(keys[:-1], root)
    field = model.model_fields.get(keys[-1]) if model and keys else None
    return field.description if field else None

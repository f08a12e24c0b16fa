"""Reads YAML that may come from a stranger: names, numbers and lists, and nothing that runs.

Hydra instantiates ``_target_`` and whatever stands under ``hydra:``, resolvers such as
``${oc.env:...}`` read the environment, tags make objects, and a few nested anchors fill the memory.
None of these is needed to say what an experiment is, so all are refused in a sentence.
"""

import re
import stat
from collections.abc import Iterable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any, Final

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from asl_exp.config.errors import UserError, nearest
from asl_exp.config.keys import GROUPS
from asl_exp.config.schema import Config

LARGEST_BYTES: Final = 1_000_000
"""A configuration with every key takes 6 kB."""

_DEEPEST: Final = 20
_PARSER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C it takes a tenth of the time
_REFERENCE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*)\}")
_PACKAGE: Final = re.compile(r"^\s*#\s*@package\s+(\S+)", re.MULTILINE)
_OPTION: Final = re.compile(r"[A-Za-z0-9_][\w.-]*")
_ENTRY: Final = re.compile(r"(?:/?\w+/)?[A-Za-z0-9_][\w.-]*(?:@(?:sweep|_global_))?")


class YamlError(UserError):
    """A YAML file cannot be read, or holds what asl_exp does not take from a file."""


class UnreadableYamlError(YamlError):
    """It is no YAML at all."""


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds, as plain values; references between keys stay as they are.

    Raises:
        YamlError: with the reason alone; the caller knows what names the file.
    """
    text = _text(path)
    _check_structure(text)
    try:
        content = OmegaConf.to_container(OmegaConf.load(StringIO(text)))
    except (OSError, ValueError, RecursionError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise UnreadableYamlError(f"cannot be read ({' '.join(str(error).split())})") from None
    for reason in _forbidden(content, ""):
        raise YamlError(reason)
    return content


def own_folder_faults(folder: Path) -> list[str]:
    """Return the faults of a folder of the user's own files, as ``--config-dir`` takes it."""
    faults = []
    for path in sorted(p for e in ("*.yaml", "*.yml") for p in folder.rglob(e)):
        inside = path.relative_to(folder)
        try:
            if len(inside.parts) == 1 and inside.stem == "config":
                raise YamlError("would stand for asl_exp's own; give it another name")
            if inside.parts[0] == "hydra":
                raise YamlError(
                    "files cannot change Hydra; give its keys on the command line, such as "
                    "hydra.launcher.n_jobs=2"
                )
            content = read_yaml(path)
            if reason := package_fault(path) or (
                content_fault(content, GROUPS, outside=False) if content else None
            ):
                raise YamlError(reason)
        except UnreadableYamlError:
            continue  # said where it is chosen
        except YamlError as error:
            faults.append(f"--config-dir: {path}: {error}")
    return faults


def package_fault(path: Path) -> str | None:
    """Return a fault where a header puts the file's keys somewhere else."""
    for package in _PACKAGE.findall(_text(path)):
        if package not in ("_global_", "_group_"):
            return f"'# @package {package}': only _global_ is allowed"
    return None


def content_fault(content: Any, groups: Iterable[str], *, outside: bool) -> str | None:
    """Return what a file has beside keys of asl_exp and choices of groups.

    Args:
        outside: it is a preset that lies outside conf/, whose keys are those of an experiment.
    """
    if not isinstance(content, dict):
        return "holds no keys; write group overrides and values as in conf/experiment/demo.yaml"
    if "hydra" in content:
        return "hydra: a file cannot change Hydra; its keys belong on the command line"
    defaults = content.get("defaults", [])
    if not isinstance(defaults, list):
        return "'defaults' must be a list, such as [override /head: dense]"
    for entry in defaults:
        if reason := _default_fault(entry, set(groups), outside=outside):
            return f"defaults: {reason}"
    if outside:
        known = [*Config.model_fields, "defaults"]
        for key in content:
            if str(key) not in known:
                return f"{key}: unknown key{nearest(str(key), known)}; allowed: {', '.join(known)}"
    return None


def _text(path: Path) -> str:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise YamlError("is no plain file")
        if status.st_size > LARGEST_BYTES:
            raise YamlError(
                f"has {status.st_size:,} bytes; a configuration has at most {LARGEST_BYTES:,}"
            )
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UnreadableYamlError("cannot be read (it is no text in UTF-8)") from None
    except OSError as error:
        raise UnreadableYamlError(
            f"cannot be read ({(error.strerror or str(error)).lower()})"
        ) from None


def _check_structure(text: str) -> None:
    """Look at the events of the parser, before any value is made of them."""
    depth = 0
    try:
        for event in yaml.parse(text, Loader=_PARSER):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise YamlError(_at(event, "anchors (&name, *name) are not read; write it out"))
            if getattr(event, "tag", None):
                tag = getattr(event, "tag", "")
                raise YamlError(_at(event, f"the tag {tag} is not read; write plain values"))
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                raise YamlError(_at(event, f"is nested deeper than {_DEEPEST} levels"))
    except (yaml.YAMLError, RecursionError) as error:
        raise UnreadableYamlError(f"cannot be read ({' '.join(str(error).split())})") from None


def _at(event: Any, reason: str) -> str:
    return f"line {event.start_mark.line + 1}: {reason}"


def _forbidden(content: Any, key: str) -> Iterator[str]:
    """Yield what no file may hold, wherever in it."""
    if isinstance(content, dict):
        for name, value in content.items():
            inner = f"{key}.{name}" if key else str(name)
            if str(name).startswith("_") and str(name).endswith("_"):
                yield f"{inner}: is no key of asl_exp; a file cannot say what code is run"
            yield from _forbidden(value, inner)
    elif isinstance(content, list):
        for value in content:
            yield from _forbidden(value, key)
    elif isinstance(content, str):
        yield from _text_faults(content, key)


def _text_faults(text: str, key: str) -> Iterator[str]:
    if text == "???":
        yield f"{key}: has no value (???)"
    references = _REFERENCE.findall(text)
    if text.count("${") != len(references):
        yield (
            f"{key}: '{text}' is not read from a file; allowed is the name of another key, such as "
            "${lr.transfer}"
        )
    for reference in references:
        if reference.partition(".")[0] not in Config.model_fields:
            known = list(Config.model_fields)
            yield (
                f"{key}: ${{{reference}}} is no key of an experiment"
                f"{nearest(reference.partition('.')[0], known)}"
            )


_STUDY: Final = {"override /hydra/sweeper": "asl_exp"}
"""How a file of the group sweep says that it is a study; nothing else of hydra is taken."""


def _default_fault(entry: Any, groups: set[str], *, outside: bool) -> str | None:
    """Return what is wrong with one line of a defaults list."""
    if entry in ("_self_", _STUDY):
        return None
    if isinstance(entry, str) and not outside and _ENTRY.fullmatch(entry):
        return None
    if not isinstance(entry, dict) or len(entry) != 1:
        if outside:
            return (
                f"{entry} is not found from a file outside conf/; write 'override /group: choice'"
            )
        return f"{entry}; write 'override /group: choice'"
    ((name, option),) = entry.items()
    words = str(name).split()
    group = words[-1].lstrip("/") if words else ""
    if outside and (not words or not words[-1].startswith("/")):
        return f"{entry} is not found from a file outside conf/; write 'override /group: choice'"
    if group not in groups or (len(words) > 1 and words[:-1] != ["override"]):
        return (
            f"'{name}': is no group{nearest(group, groups)}; allowed: {', '.join(sorted(groups))}"
        )
    if option is not None and not _OPTION.fullmatch(str(option)):
        return f"{name}: {option} is no choice; give one name"
    return None

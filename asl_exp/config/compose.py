"""From overrides to a checked configuration: finds every fault before anything is loaded.

Hydra stops at the first fault and speaks of its own internals. Here the overrides are applied one
by one, so that all faults are reported together and in the user's own keys. What the values may
be is in schema.py, what may not go together in rules.py.
"""

import re
import tempfile
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import islice, product
from math import prod
from pathlib import Path
from typing import Any, Final, NamedTuple

from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python
from yaml import YAMLError

from asl_exp.compat import hydra as compat
from asl_exp.config import schema
from asl_exp.config.conf_folder import conf_dir, exists_at, is_file_at
from asl_exp.config.errors import ConfigError, nearest
from asl_exp.config.keys import GROUPS, model_at, nearest_key, takes_fractions, value_kind
from asl_exp.config.machine_checks import known_backbones, preflight
from asl_exp.config.names import network_word
from asl_exp.config.overrides import (
    comma_hint,
    expanded,
    grid_fault,
    grid_values,
    hydra_fault,
    is_glob,
    is_hydras,
    is_range,
    parse,
    text_hint,
)
from asl_exp.config.preset_file import is_file, register_file
from asl_exp.config.study_schema import SweepConfig
from asl_exp.config.validate import flat_keys, validate, without
from asl_exp.config.yaml_file import own_folder_faults

_MOST_JOBS: Final = 64
"""Of a grid are all checked: a millisecond each, a tenth of a second where groups differ."""

_NO_KEY: Final = re.compile(r"Could not override '([^']+)'")
_DECIMAL_COMMA: Final = re.compile(r"[-+]?\d+,\d+")

_SWEEPER = "hydra_plugins.asl_exp_sweeper.StudySweeper"
_GRID_SWEEPER = "hydra_plugins.asl_exp_sweeper.GridSweeper"
"""Hydra takes sweepers from that namespace alone; it imports this one only for a study."""


class Composition(NamedTuple):
    """What overrides came to.

    Attributes:
        config: the composition with every applicable override.
        choices: group to the option chosen.
        swept: the overrides with several values.
    """

    config: DictConfig
    choices: dict[str, str | None]
    swept: list[Override]
    faults: list[str]


class Checked(NamedTuple):
    """A command line without a fault.

    Attributes:
        config: the composition; of a grid, without the values that differ from job to job.
        jobs: the experiments of a grid, one for a plain run; where a grid has very many, those
            that differ in one value.
    """

    config: DictConfig
    jobs: list[schema.Config]


@cache
def register_bases() -> None:
    """Give Hydra the schema's defaults as the option ``base`` of every group, and our sweeper.

    It takes new keys without a plus only where a node says so.
    """
    OmegaConf.register_new_resolver("network", network_word, replace=True)  # of folders' names
    compat.keep_store_whole()
    compat.compose_no_more_than_needed()
    store = ConfigStore.instance()
    for group in GROUPS:
        model = SweepConfig if group == "sweep" else model_at((group,))
        if model is None:  # its files say all
            continue
        node: Any = _defaults(model)
        if group == "backbone":
            node = OmegaConf.create(node)
            OmegaConf.set_struct(node.options, False)
        store.store(group=group, name="base", node=node)
    store.store(group="hydra/sweeper", name="asl_exp", node={"_target_": _SWEEPER})
    grid = {"_target_": _GRID_SWEEPER, "max_batch_size": None, "params": None}
    store.store(group="hydra/sweeper", name="asl_exp_grid", node=grid)


def _defaults(model: type[BaseModel]) -> dict[str, Any]:
    """Return a group's defaults without making its validator, which takes as long as importing it.

    A whole configuration has a validator of its own.
    """
    return {name: _default(field) for name, field in model.model_fields.items()}


def _default(field: FieldInfo) -> Any:
    if isinstance(field.annotation, type) and issubclass(field.annotation, schema.Group):
        return _defaults(field.annotation)
    make: Any = field.default_factory
    return to_jsonable_python(field.default if make is None else make())


def compose_config(overrides: Sequence[str], searchpath: Sequence[str] = ()) -> schema.Config:
    """Compose and check one experiment.

    Raises:
        ConfigError: with every fault found.
    """
    with hydra_opened(searchpath):
        composed = compose_parts(overrides)
    config, more = validate(composed.config)
    if config is None or composed.faults:
        more = _not_said(more, composed.faults)
        faults = text_hint([*composed.faults, *more], parse(overrides).overrides)
        raise ConfigError(list(dict.fromkeys(faults)))
    return config


def check_experiments(
    overrides: Sequence[str], *, multirun: bool, searchpath: Sequence[str] = ()
) -> Checked:
    """Return what a command line that asks for no study comes to.

    Raises:
        ConfigError: with every fault of it; with multirun, of each grid value.
    """
    configs: list[schema.Config] = []
    with hydra_opened(searchpath):
        composed, _, swept, faults = compose_parts(overrides, multirun=multirun)
        several = [one for one in swept if one.is_discrete_sweep()]
        too_many = grid_fault([*several, *_group_sweeps(overrides)])
        faults += [too_many] if too_many and multirun else []
        jobs = () if too_many else _jobs(composed, several, overrides)
        for job in islice(jobs, None if multirun else 1):
            config, more = validate(job)
            configs += [config] if config else []
            faults += _not_said(preflight(config) if config else more, faults)
    if not faults:
        faults += folder_faults(composed, overrides)
    if faults:
        raise ConfigError(list(dict.fromkeys(text_hint(faults, parse(overrides).overrides))))
    return Checked(composed, configs)


def _not_said(more: list[str], faults: Sequence[str]) -> list[str]:
    """Return further faults without those that only follow from a value that was not taken."""
    said = ("must be quoted", "cannot be read", "a pattern", "by a study")
    not_taken = (fault for fault in faults if any(words in fault for words in said))
    told = {fault.partition(":")[0].partition("=")[0] for fault in not_taken}
    several = {f.partition(":")[0] for f in faults if "got several values" in f}
    return [
        fault
        for fault in without(more, told)
        if ": got" in fault or fault.partition(":")[0] not in several
    ]


def asks_for_study(overrides: Sequence[str]) -> bool:
    """Return whether a command line chooses a sweep."""
    return any(o.key_or_group == "sweep" and o.value() for o in parse(overrides).overrides)


def folder_faults(composed: DictConfig, overrides: Sequence[str]) -> list[str]:
    """Return a fault for each folder of runs that cannot be made or written."""
    folders = {"runs_dir": str(composed.runs_dir), **_own_folders(overrides)}
    return [fault for key, folder in folders.items() for fault in _unwritable(key, folder)]


@contextmanager
def hydra_opened(searchpath: Sequence[str] = ()) -> Iterator[None]:
    """Open Hydra; the folders of ``searchpath`` come before conf/, as with ``--config-dir``."""
    register_bases()
    own = [Path(folder.removeprefix("file://")) for folder in searchpath]
    if faults := [fault for folder in own for fault in own_folder_faults(folder)]:
        raise ConfigError(faults)
    with compat.opened(str(conf_dir()), searchpath):
        yield


def compose_parts(overrides: Sequence[str], *, multirun: bool = False) -> Composition:
    """Compose what can be composed, in an opened Hydra, and collect the faults."""
    parsed, faults = parse(overrides)
    hydras = any(is_hydras(override.key_or_group) for override in parsed)
    if hydras:
        compat.load_launchers()
    loader = GlobalHydra.instance().config_loader()
    groups = set(loader.list_groups("")) - {"hydra"}
    chosen: list[str] = []
    values: list[Override] = []
    for override in parsed:
        key = override.key_or_group
        if is_hydras(key):
            fault = hydra_fault(override, loader.get_group_options("hydra/launcher"))
            faults += [fault] if fault else []
            chosen += [] if fault else [str(override.input_line)]
        elif override.package is not None:
            faults.append(_at_fault(override))
        elif override.is_sweep_override() and not multirun:
            faults.append(_unasked_grid(override))
        elif override.is_sweep_override() and (fault := _range_fault(override, groups)):
            faults.append(fault)
        elif key in groups:
            fault = _group_fault(override, loader)
            faults += [fault] if fault else []
            chosen += [] if fault or override.is_sweep_override() else [str(override.input_line)]
        else:
            values.append(override)
    try:
        composed, choices = compat.composed("config", chosen, with_hydras=hydras)
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise ConfigError([*faults, _in_our_words(error)]) from None
    presets = [str(o.input_line) for o in parsed if o.key_or_group == "experiment"]
    if len(presets) > 1:
        told = f"one preset is taken, not {len(presets)} ({', '.join(presets)})"
        faults.append(f"experiment: {told}")
    for override in values:
        faults += _apply(composed, override)
    swept = [o for o in values if o.is_sweep_override() and key_exists(composed, o.key_or_group)]
    return Composition(composed, choices, swept, faults)


def _in_our_words(error: Exception) -> str:
    """Return one sentence of what Hydra or OmegaConf says in several lines."""
    text = str(error).strip()
    if unknown := _NO_KEY.match(text):
        return f"{unknown[1]}: unknown key"
    return " ".join(line.strip() for line in text.splitlines()[:3])


def _unasked_grid(override: Override) -> str:
    key = override.key_or_group
    if is_range(override):
        return _no_study(override)
    kind = value_kind(key)
    hints = [] if kind == "text" else [f", for a list write {key}=[...]"]
    hints += [] if kind == "other" or key in GROUPS else [f", for one text {comma_hint(override)}"]
    _, _, value = str(override.input_line).partition("=")
    if takes_fractions(key) and _DECIMAL_COMMA.fullmatch(value):
        hints.append(f", for one number {key}={value.replace(',', '.')}")
    return (
        f"{key}: got several values ({override.input_line}); for a grid add "
        f"--multirun{''.join(hints)}"
    )


def _at_fault(override: Override) -> str:
    group, value = override.key_or_group, str(override.input_line).partition("=")[2]
    return (
        f"{group}@{override.package}: a group has one place and is not put at another with '@'; "
        f"write {group}={value}"
    )


def _range_fault(override: Override, groups: Container[str]) -> str | None:
    """Return a fault where values are not listed: a range, or a pattern that has no choices."""
    if is_range(override):
        return _no_study(override)
    if is_glob(override) and override.key_or_group.split("@")[0] not in groups:
        key = override.key_or_group
        return (
            f"{override.input_line}: a pattern stands for choices of a group, and {key} is no "
            f"group; list the values with {key}=a,b"
        )
    return None


def _no_study(override: Override) -> str:
    return (
        f"{override.input_line}: every number of a range is searched by a study alone; add "
        "--multirun and sweep=NAME whose space has the key, or list values with commas"
    )


def _group_fault(override: Override, loader: ConfigLoader) -> str | None:
    group = override.key_or_group.split("@")[0]
    options = [o for o in loader.get_group_options(group) if o != "base"]
    if override.is_delete():
        return f"~{group}: a group is not left out; choose of it: {', '.join(options)}"
    if override.is_add():
        plain = str(override.input_line).lstrip("+")
        return f"{override.input_line}: a choice needs no '+'; write {plain}"
    if isinstance(override.value(), dict):
        return f"{override.input_line}: a group's keys are given one by one, {group}.KEY=VALUE"
    if is_glob(override):
        fits = expanded(override, loader) is not None
        told = f"{override.input_line}: matches no choice; allowed: {', '.join(options)}"
        return None if fits else told
    given = override.sweep_string_iterator() if override.is_sweep_override() else [override.value()]
    for option in given:
        if group == "experiment" and is_file(option):
            if fault := register_file(str(option), loader):
                return fault
            continue
        if str(option) not in options:
            shown = "null" if option is None else str(option)
            hint = _setting_meant(group, shown) or nearest(_called(shown, options), options)
            return f"{group}={shown}: no such choice{hint}; allowed: {', '.join(options)}"
    return None


_CALLED: Final = {
    "csv": "manifest", "kaggle": "asl_alphabet", "mnist": "sign_mnist", "imagefolder": "folder",
    "null": "none off", "false": "none off", "off": "none", "no": "none off", "none": "off",
    "mlflow": "local", "true": "fast", "1": "fast", "default": "fast", "fdr": "fast",
    "adam": "adamw", "lamb": "adamw",
    "step": "plateau", "reduceonplateau": "plateau", "cosineannealinglr": "cosine",
    "randaugment": "strong", "autoaugment": "strong", "heavy": "strong",
}  # fmt: skip
"""What other programs call a choice."""


def _called(given: str, options: Sequence[str]) -> str:
    """Return the choice that other programs call so, or what is given."""
    called = _CALLED.get(given.lower(), "").split()
    return next((one for one in called if one in options), given)


def _setting_meant(group: str, given: str) -> str:
    """Return a hint where what is given is no choice of the group, but a value of a key in it."""
    meant = ""
    network = re.sub(r"^(hf-hub:)?(timm|torchvision\.models|torchvision)[./]", "", given)
    if group == "backbone" and network.partition(".")[0] in known_backbones():
        meant = f"backbone.name={network}"
    elif group == "tracking" and "://" in given:
        meant = f"tracking=server tracking.uri={given}"
    elif group == "lr" and re.fullmatch(r"[-+.\deE]+", given):
        meant = f"lr.transfer={given} lr.finetune={given}"
    elif group == "trainer" and given in ("cpu", "gpu"):
        meant = f"trainer.accelerator={given}"
    elif group == "trainer" and given.startswith("ddp"):
        meant = "trainer.devices=2"
    elif group == "data" and (given.endswith(".csv") or is_file_at(given)):
        meant = f"data=manifest data.manifest={given}"
    elif group == "data" and ("/" in given or exists_at(given)):
        meant = f"data=folder data.root={given}"
    return f"; write {meant}" if meant else ""


def _apply(composed: DictConfig, override: Override) -> list[str]:
    """Set one value in place; return the fault where its key does not exist."""
    key = override.key_or_group
    if override.is_delete():
        return [f"~{key}: keys cannot be deleted; set the value that switches it off"]
    free = override.is_add() or key.startswith("backbone.options.")
    if key.startswith("sweep.") and composed.get("sweep") is None:
        return [
            f"{key}: unknown key; keys of a study need one: add --multirun and sweep=NAME, such as "
            "nadam_l2_dropout"
        ]
    if not free and not key_exists(composed, key):
        return [f"{key}: unknown key{nearest_key(key, known_keys(composed))}"]
    if override.is_add() and not override.is_force_add() and key_exists(composed, key):
        return [f"+{key}: the key is there already; write {str(override.input_line).lstrip('+')}"]
    if not override.is_sweep_override():
        OmegaConf.update(composed, key, override.value(), force_add=True)
    return []


def key_exists(composed: DictConfig, key: str) -> bool:
    """Return whether the composition has this key."""
    parent, _, leaf = key.rpartition(".")
    node = OmegaConf.select(composed, parent) if parent else composed
    return isinstance(node, DictConfig) and leaf in node


def known_keys(composed: DictConfig) -> Iterator[str]:
    """Yield every key, groups and their keys."""
    return flat_keys(OmegaConf.to_container(composed))  # type: ignore[arg-type]


def expand_patterns(overrides: Sequence[str], searchpath: Sequence[str] = ()) -> list[str]:
    """Return the words of a command line with ``group=a,b`` in place of ``group=glob(*)``."""
    words = list(overrides)
    if not any("glob(" in word for word in words):
        return words
    with hydra_opened(searchpath):
        loader = GlobalHydra.instance().config_loader()
        for number, word in enumerate(words):
            parsed = parse([word]).overrides
            if parsed and is_glob(parsed[0]):
                words[number] = expanded(parsed[0], loader) or word
    return words


def _jobs(
    composed: DictConfig, swept: Sequence[Override], overrides: Sequence[str]
) -> Iterator[DictConfig]:
    """Yield the composition of each job of a grid, as far as its values are sound.

    The composition without them need not be: a grid may give what each job needs. Of a very large
    grid the first job is taken, then each other value of each key, one at a time.
    """
    parsed, groups = parse(overrides).overrides, _group_sweeps(overrides)
    combinations = [
        list(combination)
        for combination in product(*([f"{o.key_or_group}={v}" for v in _listed(o)] for o in groups))
    ]
    plain = [str(o.input_line) for o in parsed if not o.is_sweep_override()]
    for chosen in combinations[:_MOST_JOBS]:
        base = compose_parts([*plain, *chosen]).config if chosen else composed
        values = [[(o.key_or_group, v) for v in grid_values(o)] for o in swept]
        for assignment in _assignments(values):
            job = base.copy() if assignment else base
            for key, value in assignment:
                OmegaConf.update(job, key, value, force_add=True)
            yield job


def _assignments(values: Sequence[list[tuple[str, Any]]]) -> Iterator[tuple[tuple[str, Any], ...]]:
    if prod(len(one) for one in values) <= _MOST_JOBS:
        yield from product(*values)
        return
    first = tuple(one[0] for one in values)
    yield first
    for position, one in enumerate(values):
        for value in one[1:]:
            yield (*first[:position], value, *first[position + 1 :])


def _group_sweeps(overrides: Sequence[str]) -> list[Override]:
    loader = GlobalHydra.instance().config_loader()
    groups = loader.list_groups("")
    return [
        o
        for o in parse(overrides).overrides
        if o.is_sweep_override()
        and o.key_or_group.split("@")[0] in groups
        and _group_fault(o, loader) is None
    ]


def _listed(override: Override) -> list[str]:
    if is_glob(override):
        loader = GlobalHydra.instance().config_loader()
        return (expanded(override, loader) or "").partition("=")[2].split(",")
    return list(override.sweep_string_iterator())


def _own_folders(overrides: Sequence[str]) -> dict[str, str]:
    """Return the run folders that the user names with Hydra's own keys."""
    given = {
        o.key_or_group: str(o.value())
        for o in parse(overrides).overrides
        if not o.is_sweep_override()
    }
    named = {key: given[key] for key in ("hydra.run.dir", "hydra.sweep.dir") if key in given}
    return {key: folder for key, folder in named.items() if "${" not in folder}


def _unwritable(key: str, folder: str) -> list[str]:
    """Return a fault where a folder of runs cannot be made or written; none is made."""
    try:
        there = Path(folder).absolute()
        while not there.exists():
            there.lstat() if there.is_symlink() else None
            there = there.parent
        with tempfile.TemporaryFile(dir=there):
            return []
    except OSError as error:
        reason = error.strerror or str(error)
        return [f"{key}: cannot write to '{folder}' ({reason}); give a folder you may write"]

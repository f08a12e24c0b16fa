"""From overrides to a checked configuration: finds every fault before anything is loaded.

Hydra stops at the first fault and speaks of its own internals. Here the overrides are applied one
by one, so that all faults are reported together and in the user's own keys. What the values may
be is in schema.py, what may not go together in contradictions.py.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

from hydra import compose
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from pydantic_core import to_jsonable_python
from yaml import YAMLError

from asl_exp.compat import hydra as compat
from asl_exp.config import schema
from asl_exp.config.conf_folder import conf_dir
from asl_exp.config.errors import ConfigError, nearest
from asl_exp.config.machine_checks import preflight
from asl_exp.config.preset_file import is_file, register_file
from asl_exp.config.study_schema import SweepConfig
from asl_exp.config.validate import validate

_BASES: dict[str, type[schema.Group]] = {
    "backbone": schema.BackboneConfig,
    "head": schema.HeadConfig,
    "regularization": schema.RegularizationConfig,
    "optimizer": schema.OptimizerConfig,
    "lr": schema.LearningRateConfig,
    "augmentation": schema.AugmentationConfig,
    "data": schema.DataConfig,
    "trainer": schema.TrainerConfig,
    "tracking": schema.TrackingConfig,
    "sweep": SweepConfig,
}

_SWEEPER = "hydra_plugins.asl_exp_sweeper.StudySweeper"
"""Hydra takes sweepers from that namespace alone; it imports this one only for a study."""


class Composition(NamedTuple):
    """What overrides came to.

    Attributes:
        config: the composition with every applicable override.
        choices: group to the option chosen.
        swept: the overrides with several values.
        faults: of the overrides.
    """

    config: DictConfig
    choices: dict[str, str | None]
    swept: list[Override]
    faults: list[str]


@cache
def register_bases() -> None:
    """Give Hydra the schema's defaults as the option ``base`` of every group, and our sweeper.

    It takes new keys without a plus only where a node says so.
    """
    store = ConfigStore.instance()
    for group, model in _BASES.items():
        node = OmegaConf.create(_defaults(model))
        if group == "backbone":
            OmegaConf.set_struct(node.options, False)
        store.store(group=group, name="base", node=node)
    store.store(group="hydra/sweeper", name="asl_exp", node={"_target_": _SWEEPER})


def _defaults(model: type[schema.Group]) -> dict[str, Any]:
    """Return a group's defaults without making its validator, which takes as long as importing it.

    A whole configuration has a validator of its own.
    """
    defaults: dict[str, Any] = to_jsonable_python(
        {k: field.get_default(call_default_factory=True) for k, field in model.model_fields.items()}
    )
    return defaults


def compose_config(overrides: Sequence[str], searchpath: Sequence[str] = ()) -> schema.Config:
    """Compose and check one experiment.

    Raises:
        ConfigError: with every fault found.
    """
    with hydra_opened(searchpath):
        composed = compose_parts(overrides)
    config, more = validate(composed.config)
    if config is None or composed.faults:
        raise ConfigError([*composed.faults, *more])
    return config


def check_overrides(
    overrides: Sequence[str], *, multirun: bool, searchpath: Sequence[str] = ()
) -> DictConfig | None:
    """Return the composition of a command line; None for a study, which has one for each trial.

    Raises:
        ConfigError: with every fault of it; with multirun, of each grid value.
    """
    if asks_for_study(overrides):
        from asl_exp.config.study_plan import check_study

        check_study(overrides, multirun=multirun, searchpath=searchpath)
        return None
    with hydra_opened(searchpath):
        composed, _, swept, faults = compose_parts(overrides, multirun=multirun)
    for variant in _variants(composed, swept):
        config, more = validate(variant)
        faults += preflight(config) if config else more
    if not faults:
        faults += folder_faults(composed, overrides)
    if faults:
        raise ConfigError(list(dict.fromkeys(faults)))
    return composed


def asks_for_study(overrides: Sequence[str]) -> bool:
    """Return whether a command line chooses a sweep."""
    return any(o.key_or_group == "sweep" and o.value() for o in parse_overrides(overrides)[0])


def folder_faults(composed: DictConfig, overrides: Sequence[str]) -> list[str]:
    """Return a fault for each folder of runs that cannot be made or written."""
    folders = {"runs_dir": str(composed.runs_dir), **_own_folders(overrides)}
    return [fault for key, folder in folders.items() for fault in _unwritable(key, folder)]


@contextmanager
def hydra_opened(searchpath: Sequence[str] = ()) -> Iterator[None]:
    """Open Hydra; the folders of ``searchpath`` come before conf/, as with ``--config-dir``."""
    register_bases()
    with compat.opened(str(conf_dir()), searchpath):
        yield


def compose_parts(overrides: Sequence[str], *, multirun: bool = False) -> Composition:
    """Compose what can be composed, in an opened Hydra, and collect the faults."""
    parsed, faults = parse_overrides(overrides)
    loader = GlobalHydra.instance().config_loader()
    groups = set(loader.list_groups("")) - {"hydra"}
    chosen: list[str] = []
    values: list[Override] = []
    for override in parsed:
        if override.is_sweep_override() and not multirun:
            faults.append(_unasked_grid(override))
        elif override.key_or_group.split("@")[0] in groups:
            fault = _group_fault(override, loader)
            faults += [fault] if fault else []
            chosen += [] if fault or override.is_sweep_override() else [str(override.input_line)]
        elif override.key_or_group.startswith(("hydra.", "hydra/")):
            chosen.append(str(override.input_line))
        else:
            values.append(override)
    try:
        composed = compose("config", overrides=chosen, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        told = " ".join(line.strip() for line in str(error).strip().splitlines()[:3])
        raise ConfigError([*faults, told]) from None
    choices = dict(composed.hydra.runtime.choices)
    with open_dict(composed):
        del composed["hydra"]
    for override in values:
        faults += _apply(composed, override)
    swept = [o for o in values if o.is_sweep_override() and key_exists(composed, o.key_or_group)]
    return Composition(composed, choices, swept, faults)


def parse_overrides(overrides: Sequence[str]) -> tuple[list[Override], list[str]]:
    """Return the overrides that can be read, and a fault for each that cannot."""
    parser, parsed, faults = OverridesParser.create(), [], []
    for text in overrides:
        try:
            parsed.append(parser.parse_override(text))
        except HydraException:
            faults.append(f"{text}: is not of the form key=value; quote values with spaces")
    return parsed, faults


def _unasked_grid(override: Override) -> str:
    return (
        f"{override.key_or_group}: got several values ({override.input_line}); for a grid add "
        f"--multirun, for a list write {override.key_or_group}=[...]"
    )


def _group_fault(override: Override, loader: ConfigLoader) -> str | None:
    if override.is_delete():
        return None
    group = override.key_or_group.split("@")[0]
    options = [o for o in loader.get_group_options(group) if o != "base"]
    given = override.sweep_string_iterator() if override.is_sweep_override() else [override.value()]
    for option in given:
        if group == "experiment" and is_file(option):
            if fault := register_file(str(option), loader):
                return fault
            continue
        if str(option) not in options:
            shown = "null" if option is None else str(option)
            return (
                f"{group}={shown}: no such choice{nearest(shown, options)}; "
                f"allowed: {', '.join(options)}"
            )
    return None


def _apply(composed: DictConfig, override: Override) -> list[str]:
    """Set one value in place; return the fault where its key does not exist."""
    key = override.key_or_group
    if override.is_delete():
        return [f"~{key}: keys cannot be deleted; set the value that switches it off"]
    free = override.is_add() or key.startswith("backbone.options.")
    if not free and not key_exists(composed, key):
        return [f"{key}: unknown key{nearest(key, known_keys(composed))}"]
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

    def walk(node: Any, path: str) -> Iterator[str]:
        yield path
        if isinstance(node, dict):
            for key, value in node.items():
                yield from walk(value, f"{path}.{key}")

    for key, value in OmegaConf.to_container(composed, resolve=False).items():  # type: ignore[union-attr]
        yield from walk(value, str(key))


def _variants(composed: DictConfig, swept: Sequence[Override]) -> Iterator[DictConfig]:
    """Yield the composition as it is, then with each value of each swept key, one at a time."""
    yield composed
    for override in swept:
        listed = override.is_choice_sweep() or override.is_range_sweep()
        for value in override.sweep_iterator() if listed else ():
            variant = composed.copy()
            OmegaConf.update(variant, override.key_or_group, value)
            yield variant


def _own_folders(overrides: Sequence[str]) -> dict[str, str]:
    """Return the run folders that the user names with Hydra's own keys."""
    given = {
        o.key_or_group: str(o.value())
        for o in parse_overrides(overrides)[0]
        if not o.is_sweep_override()
    }
    named = {key: given[key] for key in ("hydra.run.dir", "hydra.sweep.dir") if key in given}
    return {key: folder for key, folder in named.items() if "${" not in folder}


def _unwritable(key: str, folder: str) -> list[str]:
    """Return a fault where a folder of runs cannot be made or written."""
    try:
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103 - accepts what the user typed as it is
        with tempfile.TemporaryFile(dir=folder):
            return []
    except OSError as error:
        reason = error.strerror or str(error)
        return [f"{key}: cannot write to '{folder}' ({reason}); give a folder you may write"]

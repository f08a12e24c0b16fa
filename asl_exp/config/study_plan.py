"""A command line as a whole, checked before torch or Optuna is imported; the study it asks for.

A study's space is that of the file in sweeps/, as the command line leaves it: a key may be narrowed
(``lr.transfer=interval(1e-4,1e-3)``) or fixed (``lr.transfer=1e-3``).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from asl_exp.config.compose import (
    Checked,
    Composition,
    asks_for_study,
    check_experiments,
    compose_parts,
    folder_faults,
    hydra_opened,
    key_exists,
    known_keys,
)
from asl_exp.config.errors import ConfigError, nearest
from asl_exp.config.keys import is_machine_key, shown
from asl_exp.config.machine_checks import preflight
from asl_exp.config.overrides import parse
from asl_exp.config.rules import machine_faults, sweep_faults
from asl_exp.config.schema import Config
from asl_exp.config.search_space import (
    Category,
    Parameter,
    SpaceError,
    parameter_of,
    parse_parameter,
)
from asl_exp.config.study_schema import SweepConfig
from asl_exp.config.validate import typed, typed_sweep, validate


@dataclass(frozen=True)
class Plan:
    """One study, checked.

    Attributes:
        space: in an order in which conditions follow the keys that they name.
        overrides: what every trial is composed from, before its own values.
        searchpath: folders of the user's own configuration files.
        base: the experiment without any trial's values.
        own: the base's value of each key that is searched or named by a condition.
        folder: of the study; each trial has a folder in it. ``hydra.sweep.dir`` names another.
    """

    name: str
    sweep: SweepConfig
    space: tuple[Parameter, ...]
    overrides: tuple[str, ...]
    searchpath: tuple[str, ...]
    base: Config
    own: Mapping[str, Any]
    folder: Path

    @property
    def storage(self) -> str:
        """Return where the study is stored."""
        return self.sweep.storage or f"sqlite:///{self.base.runs_dir}/studies.db"

    @property
    def runs_dir(self) -> Path:
        """Return the folder of all runs, in which the local record is."""
        return Path(self.base.runs_dir)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Return the metric key of each objective."""
        return tuple(objective.metric for objective in self.sweep.objectives)

    @property
    def n_points(self) -> int:
        """Return how many points a grid over the space has."""
        return math.prod(parameter.size() or 1 for parameter in self.space)

    @property
    def n_wanted(self) -> int:
        """Return how many trials are asked for: as many as were given, or all points of a grid."""
        return self.sweep.n_trials or self.n_points

    def overrides_of(self, values: Mapping[str, Any]) -> list[str]:
        """Return the command line of a trial with these values, of keys once searched as well."""
        space = {parameter.key: parameter for parameter in self.space}
        own = [
            space[key].override(value) if key in space else f"{key}={shown(value)}"
            for key, value in values.items()
        ]
        return [*self.overrides, *own]

    def first(self) -> list[dict[str, Category]]:
        """Return the trials to try first; a value that the space does not have is left open."""
        if self.sweep.first is not None:
            given: Sequence[Mapping[str, Any]] = self.sweep.first
        else:
            given = [] if self.sweep.sampler.name == "grid" else [self.own]
        matched = [
            {p.key: p.matching(values[p.key]) for p in self.space if p.key in values}
            for values in given
        ]
        return [{k: v for k, v in values.items() if v is not None} for values in matched]


def check_overrides(
    overrides: Sequence[str], *, multirun: bool, searchpath: Sequence[str] = ()
) -> Checked | None:
    """Return what a command line comes to; None for a study, which has one for each trial.

    Raises:
        ConfigError: with every fault of it; with multirun, of each grid value.
    """
    if not asks_for_study(overrides):
        return check_experiments(overrides, multirun=multirun, searchpath=searchpath)
    if not multirun:
        named = next(text for text in overrides if text.startswith("sweep="))
        raise ConfigError([f"{named}: a study has many runs; add --multirun"])
    plan_study(overrides, searchpath)
    return None


def plan_study(overrides: Sequence[str], searchpath: Sequence[str] = ()) -> Plan:
    """Compose and check a study.

    Raises:
        ConfigError: with every fault found.
    """
    parsed, faults = parse(overrides)
    plain = [str(o.input_line) for o in parsed if not o.is_sweep_override()]
    several = [str(o.input_line) for o in parsed if o.key_or_group == "sweep"]
    if len(several) > 1 or several[0] not in plain:
        told = f"{' '.join(several)}: one command is one study; write sweep=NAME"
        raise ConfigError([*faults, told])
    with hydra_opened(searchpath):
        composed = compose_parts(plain)
        if composed.config.get("sweep") is None:  # no such choice
            raise ConfigError([*faults, *composed.faults])
        sweep, more = typed_sweep(composed.config)
        faults += [*composed.faults, *more]
        sound_sweep = not more
        space, more = read_space(sweep, parsed, composed)
        faults += [*more, *(sweep_faults(sweep, space) if sound_sweep else ())]
        own = _own_values(sweep, space, composed)
        sound = [p for p in space if p.key in own]
        faults += group_faults(sound, _trial_overrides(parsed, space))
    base, more = validate(composed.config)
    faults += more
    if base is not None:
        faults += [*preflight(base), *machine_faults(sweep, base)]
        faults += extreme_faults(sound, composed)
    if not faults:
        faults += folder_faults(composed.config, overrides)
    if faults or base is None:
        raise ConfigError(list(dict.fromkeys(faults)))
    name = sweep.name or _default_name(composed, base)
    return Plan(
        name=name,
        sweep=sweep,
        space=space,
        overrides=_trial_overrides(parsed, space),
        searchpath=tuple(searchpath),
        base=base,
        own=own,
        folder=Path(base.runs_dir) / name,
    )


def _own_values(
    sweep: SweepConfig, space: Sequence[Parameter], composed: Composition
) -> dict[str, Any]:
    """Return the configuration's own value of every key that matters to the space."""
    keys = [*(p.key for p in space), *(o for c in sweep.conditions.values() for o in c)]
    own: dict[str, Any] = {}
    for key in dict.fromkeys(keys):
        if key in composed.choices:
            own[key] = composed.choices[key]
        elif key_exists(composed.config, key):
            value = OmegaConf.select(composed.config, key)
            own[key] = OmegaConf.to_object(value) if OmegaConf.is_config(value) else value
    return own


def _trial_overrides(parsed: Sequence[Override], space: Sequence[Parameter]) -> tuple[str, ...]:
    """Return what the command line says of every trial: nothing of the study or of Hydra."""
    searched = {parameter.key for parameter in space}
    return tuple(
        str(o.input_line)
        for o in parsed
        if o.key_or_group not in searched
        and not o.is_sweep_override()
        and not o.key_or_group.lstrip("+~").startswith(("sweep.", "hydra.", "hydra/"))
    )


def _default_name(composed: Composition, base: Config) -> str:
    of = composed.choices.get("experiment") or base.name or base.backbone.name
    name = f"{composed.choices['sweep']}-{of}"
    return "".join(c if c.isalnum() or c in "_.-" else "_" for c in name)


def read_space(
    sweep: SweepConfig, parsed: Sequence[Override], composed: Composition
) -> tuple[tuple[Parameter, ...], list[str]]:
    """Return the space as the command line leaves it, in order, and its faults."""
    given = {o.key_or_group: o for o in parsed}
    faults = [
        f"{o.input_line}: a study has no grid beside it, and '{o.key_or_group}' is not in its "
        "space; give one value, or add the key to sweep.space in a file of your own"
        for o in parsed
        if o.is_sweep_override() and o.key_or_group not in sweep.space
    ]
    space: dict[str, Parameter] = {}
    for key, text in sweep.space.items():
        override = given.get(key)
        if override is not None and not override.is_sweep_override():
            continue  # fixed
        if fault := _key_fault(key, composed):
            faults.append(fault)
            continue
        try:
            written = override.input_line.partition("=")[2] if override else text  # type: ignore[union-attr]
            space[key] = parameter_of(override, written) if override else parse_parameter(key, text)
        except SpaceError as error:
            faults.append(f"{key if override else f'sweep.space.{key}'}: {error}")
    faults += [*_condition_faults(sweep, space, composed), *_first_faults(sweep, space)]
    if not space and not faults:
        faults.append("sweep.space: nothing is left to search; leave at least one key open")
    return _in_order(sweep, space, faults), faults


def _key_fault(key: str, composed: Composition) -> str | None:
    if key in composed.choices and key not in ("sweep", "hydra"):
        return None
    if not key_exists(composed.config, key) or key.startswith("sweep"):
        known = [k for k in known_keys(composed.config) if not k.startswith("sweep")]
        return f"sweep.space.{key}: unknown key{nearest(key, known)}"
    if is_machine_key(key):
        return (
            f"sweep.space.{key}: changes where or how fast a run goes, not what it computes; "
            "give one value for all trials"
        )
    return None


def _condition_faults(
    sweep: SweepConfig, space: Mapping[str, Parameter], composed: Composition
) -> Iterator[str]:
    for key, condition in sweep.conditions.items():
        told = f"sweep.conditions.{key}"
        if key not in sweep.space:
            yield f"{told}: is no key of the space{nearest(key, sweep.space)}"
        for other, values in condition.items():
            if other not in composed.choices and not key_exists(composed.config, other):
                known = [*known_keys(composed.config), *composed.choices]
                yield f"{told}: unknown key '{other}'{nearest(other, known)}"
            elif other in space and all(space[other].matching(v) is None for v in _listed(values)):
                yield f"{told}: {other} is never {values}; its values are {space[other].text}"


def _first_faults(sweep: SweepConfig, space: Mapping[str, Parameter]) -> Iterator[str]:
    for number, values in enumerate(sweep.first or ()):
        for key, value in values.items():
            if key not in sweep.space:
                yield f"sweep.first.{number}: '{key}' is not searched{nearest(key, sweep.space)}"
            elif key in space and space[key].matching(value) is None:
                told = f"{key} is never {value}; its values are {space[key].text}"
                yield f"sweep.first.{number}: {told}"


def _in_order(
    sweep: SweepConfig, space: Mapping[str, Parameter], faults: list[str]
) -> tuple[Parameter, ...]:
    """Return the parameters, each after those that its condition names."""
    conditions = {key: sweep.conditions.get(key, {}) for key in space}
    graph = {key: [other for other in conditions[key] if other in space] for key in space}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        faults.append(f"sweep.conditions: go in a circle: {' -> '.join(error.args[1])}")
        order = list(space)
    return tuple(
        replace(
            space[key],
            conditions={other: _listed(values) for other, values in conditions[key].items()},
        )
        for key in order
    )


def _listed(values: Any) -> tuple[Category, ...]:
    return tuple(values) if isinstance(values, list) else (values,)


def group_faults(space: Sequence[Parameter], overrides: Sequence[str]) -> Iterator[str]:
    """Compose every choice of every group: it must be there, be sound, and change something."""
    groups = GlobalHydra.instance().config_loader().list_groups("")
    for parameter in space:
        seen: dict[str, Category] = {}
        for choice in parameter.choices if parameter.key in groups else ():
            composed = compose_parts([*overrides, parameter.override(choice)])
            yield from composed.faults
            yield from typed(composed.config)[1]
            others = [str(key) for key in composed.config if key != "sweep"]
            own = OmegaConf.masked_copy(composed.config, others)
            settings = OmegaConf.to_yaml(own, resolve=True)
            if settings in seen and not composed.faults:
                yield (
                    f"sweep.space.{parameter.key}: {seen[settings]} and {choice} come to the same "
                    "experiment, because something sets its keys after it (an experiment= file, "
                    "or the command line)"
                )
            seen[settings] = choice


def extreme_faults(space: Sequence[Parameter], composed: Composition) -> Iterator[str]:
    """Yield the faults of the outermost values of each key, one key at a time."""
    for parameter in space:
        if parameter.key in composed.choices:
            continue
        for value in parameter.extremes():
            (override,), _ = parse([parameter.override(value)])
            variant = composed.config.copy()
            OmegaConf.update(variant, parameter.key, override.value())
            for fault in typed(variant)[1]:
                whole = parameter.kind == "real" and "a whole number" in fault
                hint = f"; write int({parameter.text})" if whole else ""
                yield f"{fault} (of {parameter.text}{hint})"

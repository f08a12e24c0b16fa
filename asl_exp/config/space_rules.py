"""The space of a study as the command line leaves it, and what may be wrong with it.

The command line may narrow a key of the space (``lr.transfer=interval(1e-4,1e-3)``) or fix it
(``lr.transfer=1e-3``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from asl_exp.config.compose import (
    Composition,
    compose_parts,
    key_exists,
    known_keys,
    parse_overrides,
)
from asl_exp.config.errors import nearest
from asl_exp.config.schema import MACHINE_KEYS
from asl_exp.config.search_space import (
    Category,
    Parameter,
    SpaceError,
    parameter_of,
    parse_parameter,
)
from asl_exp.config.sweep_schema import SweepConfig
from asl_exp.config.validate import typed


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
    if any(key == machine or key.startswith(f"{machine}.") for machine in MACHINE_KEYS):
        return (
            f"sweep.space.{key}: changes where or how fast a run goes, not what it computes; "
            "give one value for all trials"
        )
    return None


def _condition_faults(
    sweep: SweepConfig, space: Mapping[str, Parameter], composed: Composition
) -> list[str]:
    faults = []
    for key, condition in sweep.conditions.items():
        if key not in sweep.space:
            faults.append(f"sweep.conditions.{key}: is no key of the space"
                          f"{nearest(key, sweep.space)}")  # fmt: skip
        for other, values in condition.items():
            if other not in composed.choices and not key_exists(composed.config, other):
                known = [*known_keys(composed.config), *composed.choices]
                faults.append(f"sweep.conditions.{key}: unknown key '{other}'"
                              f"{nearest(other, known)}")  # fmt: skip
            elif other in space and all(space[other].matching(v) is None for v in _listed(values)):
                faults.append(
                    f"sweep.conditions.{key}: {other} is never {values}; its values are "
                    f"{space[other].text}"
                )
    return faults


def _first_faults(sweep: SweepConfig, space: Mapping[str, Parameter]) -> list[str]:
    faults = []
    for number, values in enumerate(sweep.first or ()):
        for key, value in values.items():
            if key not in sweep.space:
                told = f"'{key}' is not searched{nearest(key, sweep.space)}"
                faults.append(f"sweep.first.{number}: {told}")
            elif key in space and space[key].matching(value) is None:
                told = f"{key} is never {value}; its values are {space[key].text}"
                faults.append(f"sweep.first.{number}: {told}")
    return faults


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


def group_faults(space: Sequence[Parameter], overrides: Sequence[str]) -> list[str]:
    """Compose every choice of every group: it must be there, be sound, and change something."""
    faults = []
    for parameter in space:
        seen: dict[str, Category] = {}
        for choice in parameter.choices if _is_group(parameter.key) else ():
            composed = compose_parts([*overrides, parameter.override(choice)])
            faults += [*composed.faults, *typed(composed.config)[1]]
            settings = OmegaConf.to_yaml(_without_sweep(composed.config), resolve=True)
            if settings in seen and not composed.faults:
                faults.append(
                    f"sweep.space.{parameter.key}: {seen[settings]} and {choice} come to the same "
                    "experiment, because something sets its keys after it (an experiment= file, "
                    "or the command line)"
                )
            seen[settings] = choice
    return faults


def _is_group(key: str) -> bool:
    return key in GlobalHydra.instance().config_loader().list_groups("")


def _without_sweep(config: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(config, [str(k) for k in config if k != "sweep"])


def extreme_faults(space: Sequence[Parameter], composed: Composition) -> list[str]:
    """Return the faults of the outermost values of each key, one key at a time."""
    faults = []
    for parameter in space:
        if parameter.key in composed.choices:
            continue
        for value in parameter.extremes():
            (override,), _ = parse_overrides([parameter.override(value)])
            variant = composed.config.copy()
            OmegaConf.update(variant, parameter.key, override.value())
            for fault in typed(variant)[1]:
                hint = f" (of {parameter.text}{_whole_hint(parameter, fault)})"
                faults.append(f"{fault}{hint}")
    return faults


def _whole_hint(parameter: Parameter, fault: str) -> str:
    wanted = parameter.kind == "real" and "a whole number" in fault
    return f"; write int({parameter.text})" if wanted else ""

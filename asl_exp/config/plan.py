"""A study as it was asked for: checked whole, before torch or Optuna is imported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from asl_exp.config.compose import (
    Composition,
    compose_parts,
    folder_faults,
    hydra_opened,
    key_exists,
    parse_overrides,
)
from asl_exp.config.errors import ConfigError
from asl_exp.config.preflight import preflight
from asl_exp.config.schema import Config
from asl_exp.config.search_space import (
    Category,
    Parameter,
)
from asl_exp.config.space_rules import extreme_faults, group_faults, read_space
from asl_exp.config.sweep_rules import machine_faults, sweep_faults
from asl_exp.config.sweep_schema import SweepConfig
from asl_exp.config.validate import typed_sweep, validate


@dataclass(frozen=True)
class Plan:
    """One study, checked.

    Attributes:
        name: of the study.
        sweep: its settings.
        space: in an order in which conditions follow the keys that they name.
        overrides: what every trial is composed from, before its own values.
        searchpath: folders of the user's own configuration files.
        base: the experiment without any trial's values.
        own: the base's value of each key that is searched or named by a condition.
        folder: of the study; each trial has a folder in it.
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


def check_study(overrides: Sequence[str], *, multirun: bool, searchpath: Sequence[str]) -> None:
    """Raise a ConfigError with every fault of a command line that asks for a study."""
    if not multirun:
        named = next(text for text in overrides if text.startswith("sweep="))
        raise ConfigError([f"{named}: a study has many runs; add --multirun"])
    plan_study(overrides, searchpath)


def plan_study(overrides: Sequence[str], searchpath: Sequence[str] = ()) -> Plan:
    """Compose and check a study.

    Raises:
        ConfigError: with every fault found.
    """
    parsed, faults = parse_overrides(overrides)
    plain = [str(o.input_line) for o in parsed if not o.is_sweep_override()]
    with hydra_opened(searchpath):
        composed = compose_parts(plain)
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
        folder=_folder(parsed) or Path(base.runs_dir) / name,
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


def _folder(parsed: Sequence[Override]) -> Path | None:
    """Return the folder that the user names with Hydra's own key."""
    named = [o.value() for o in parsed if o.key_or_group == "hydra.sweep.dir"]
    return Path(str(named[-1])) if named else None

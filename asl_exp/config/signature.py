"""The signature of an experiment, and what it changes of conf/'s defaults.

Equal signatures compute the same thing. The changes are what a person wants to see of an experiment
at a glance; run names and commands are made from them.
"""

import fnmatch
import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from asl_exp.config.keys import is_machine_key
from asl_exp.config.names import network_word
from asl_exp.config.schema import LATER_KEYS, Config


def signature(config: Config) -> str:
    """Return a hash of the resolved configuration without the keys of the machine.

    Keys that came later are left out where they change nothing: what a run computed before they
    came has the signature that it had.
    """
    settings = compared_settings(config)
    unused = {
        key
        for pattern, value in LATER_KEYS.items()
        for key in fnmatch.filter(settings, pattern)
        if settings[key] == value
    }
    if "hand.mode" in unused:
        unused |= {key for key in settings if key.startswith("hand.")}
    values = json.dumps({k: v for k, v in settings.items() if k not in unused}, sort_keys=True)
    return hashlib.sha256(values.encode()).hexdigest()[:16]


def compared_settings(config: Config) -> dict[str, Any]:
    """Return the settings that decide what is computed, as ``group.key`` to value."""
    return {k: v for k, v in flatten(config.model_dump()).items() if not is_machine_key(k)}


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as ``group.key`` to value; lists stay whole."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def without_places(config: Config) -> Config:
    """Return a configuration to hand on: of a file's absolute path its name, none of own folders.

    Folders and addresses of this machine alone, such as ``runs_dir``, are the defaults again.
    """
    values = config.model_dump()
    for group, key in _FILES:
        given = values[group][key]
        values[group][key] = [*map(_name, given)] if isinstance(given, list) else _name(given)
    values["data"].pop("cache_dir")
    values.pop("runs_dir")
    values["tracking"] = {"experiment": config.tracking.experiment}
    values["trainer"]["rendezvous"] = None
    return Config.model_validate(values)


_FILES: Final = (
    ("backbone", "weights"), ("hand", "model"), ("data", "root"), ("data", "manifest"),
    ("data", "joints"), ("data", "external"),
)  # fmt: skip


def _name(path: str | None) -> str | None:
    return path if path is None or not Path(path).is_absolute() else Path(path).name


_PLAIN: Final = re.compile(r"[A-Za-z_./][\w./-]*")
_IN_NAMES: Final = {
    "regularization.l2": "l2",
    "regularization.dropout": "dropout",
    "lr.transfer": "lr",
    "lr.finetune": "lr.finetune",
    "optimizer.name": "optimizer",
    "seed": "seed",
}
"""Settings that a run's name tells where they are not the defaults, and how it calls them."""


def changed_settings(config: Config) -> dict[str, Any]:
    """Return the settings that are not conf/'s defaults, without those of the machine."""
    return {
        key: value
        for key, value in compared_settings(config).items()
        if key not in _defaults() or _defaults()[key] != value
    }


def idle_keys(config: Config) -> frozenset[str]:
    """Return the keys that do nothing in this experiment, whatever their value."""
    data, lr, optimizer = config.data, config.lr, config.optimizer.name
    drawn = data.source == "synthetic" or "synthetic_external" in data.external
    idle = {
        "lr.final_fraction": lr.shape != "cosine",
        "lr.plateau_patience": lr.shape != "plateau",
        "lr.plateau_factor": lr.shape != "plateau",
        "optimizer.betas": optimizer == "sgd",
        "optimizer.eps": optimizer == "sgd",
        "optimizer.momentum": optimizer != "sgd",
        "optimizer.momentum_decay": optimizer != "nadam",
        "optimizer.weight_decay": optimizer != "adamw",
        "head.negative_slope": config.head.activation != "leaky_relu" or not config.head.hidden,
        "head.activation": not config.head.hidden,
        "regularization.l2_on": not config.regularization.l2,
        **{f"data.synthetic.{key}": not drawn for key in type(data.synthetic).model_fields},
    }
    for name, phase in config.schedule.items():
        skipped = phase.epochs == 0
        idle |= {f"schedule.{name}.{key}": skipped for key in type(phase).model_fields}
        idle[f"schedule.{name}.epochs"] = False
    return frozenset(key for key, is_idle in idle.items() if is_idle)


def told_settings(config: Config) -> dict[str, dict[str, str]]:
    """Return what an experiment is, group to key to value: what it names, and what is changed.

    Settings that are the defaults, and those that do nothing here, say nothing new; all of them are
    in the run's ``config/resolved.yaml``.
    """
    every, idle = flatten(config.model_dump()), idle_keys(config)
    changed = changed_settings(config)
    always = [f"schedule.{name}.{key}" for name in config.schedule for key in ("epochs", "lr")]
    several = {"trainer.devices", "trainer.num_nodes"}
    always += several if config.trainer.devices * config.trainer.num_nodes > 1 else []
    shown = {"backbone.name", "data.source", *_PLACES, *always, *changed} - idle
    told: dict[str, dict[str, str]] = {}
    for key, value in every.items():
        if key in shown and value is not None:
            group, _, name = key.rpartition(".")
            told.setdefault(group or key, {})[name if group else ""] = _value(value)
    return told


_PLACES: Final = ("data.root", "data.manifest", "tracking.mode", "seed")


def spelled(settings: Mapping[str, Any]) -> str:
    """Return settings in one line, as the command line spells them: ``lr.transfer=1e-4 seed=2``."""
    return " ".join(f"{key}={_value(value)}" for key, value in settings.items())


def run_name(config: Config) -> str:
    """Return what a run is called where the user does not say: network, data, and what is special.

    ``efficientnet_b0 synthetic l2=0.001 dropout=0.5 seed=2``
    """
    changed = changed_settings(config)
    special = {name: changed[key] for key, name in _IN_NAMES.items() if key in changed}
    return " ".join(filter(None, (network_name(config), data_name(config), spelled(special))))


def data_name(config: Config) -> str:
    """Return what tells this data from others: its source, and whose folder or manifest it is."""
    source = config.data.source
    given = {"folder": config.data.root, "manifest": config.data.manifest}.get(source)
    if not given:
        return source
    whose = "/".join(Path(given).absolute().with_suffix("").parts[-2:]).strip("/")
    return " ".join([source, whose[-40:], *filter(None, ["+".join(config.data.sources)])])


def network_name(config: Config) -> str:
    """Return what the network is called: the backbone, and what it sees of the hand."""
    return network_word(config.hand.mode, config.backbone.name)


def as_command(config: Config) -> list[str] | None:
    """Return a command that computes the same from the defaults alone.

    None where no override of a value can: phases that the default schedule does not have.
    """
    changed = changed_settings(config)
    if compared_settings(config).keys() != _defaults().keys():
        return None
    return ["python", "-m", "asl_exp", *(f"{k}={_exactly(v)}" for k, v in changed.items())]


@cache
def _defaults() -> dict[str, Any]:
    from asl_exp.config.compose import compose_config

    return compared_settings(compose_config([]))


def _exactly(value: Any) -> str:
    plain = isinstance(value, str) and _PLAIN.fullmatch(value) is not None
    return str(value) if plain else json.dumps(value, separators=(",", ":"))


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"))

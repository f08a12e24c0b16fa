"""The signature of an experiment: equal signatures compute the same thing."""

import hashlib
import json
from typing import Any

from asl_exp.config.schema import MACHINE_KEYS, Config


def signature(config: Config) -> str:
    """Return a hash of the resolved configuration without the keys of the machine."""
    values = json.dumps(compared_settings(config), sort_keys=True)
    return hashlib.sha256(values.encode()).hexdigest()[:16]


def compared_settings(config: Config) -> dict[str, Any]:
    """Return the settings that decide what is computed, as ``group.key`` to value."""
    return {k: v for k, v in flatten(config.model_dump()).items() if not _is_machine_key(k)}


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as ``group.key`` to value; lists stay whole."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _is_machine_key(key: str) -> bool:
    return any(key == machine or key.startswith(machine + ".") for machine in MACHINE_KEYS)

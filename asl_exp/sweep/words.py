"""How the values and states of trials are written for a person."""

import json
from collections.abc import Mapping
from typing import Any, Final

from optuna.trial import TrialState

STATES: Final = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def shown(value: Any, digits: int = 4) -> str:
    """Return a value in few characters."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def score(value: float) -> str:
    """Return a metric's value: four decimals, or a whole number where it is large."""
    return f"{value:.4f}" if abs(value) < 100 else f"{value:,.0f}"


def pairs(values: Mapping[str, Any]) -> str:
    """Return ``key=value`` for each, in few characters."""
    return ", ".join(f"{key}={shown(value)}" for key, value in values.items())

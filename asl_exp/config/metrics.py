"""Which metrics a study may look for, and which way is better."""

import re
from collections.abc import Iterator

from asl_exp.config import names
from asl_exp.config.errors import nearest
from asl_exp.config.sweep_schema import Direction, Objective

_SCORE = re.compile(rf"^(test|external/[^/].*)/({'|'.join(names.SCORES)})$")
_FALLING = ("loss", "l2_penalty", "ece")

EVERY_EPOCH = tuple(key for key in names.EPOCH_METRICS if key != names.LEARNING_RATE)


def metric_fault(metric: str) -> str | None:
    """Return what is wrong with a metric key, or None where a run will have it."""
    if metric in EVERY_EPOCH or _SCORE.match(metric):
        return None
    return (
        f"no metric '{metric}'{nearest(metric, _known())}; allowed: {', '.join(_known())} "
        "(<set>: the name of an external set)"
    )


def _known() -> Iterator[str]:
    yield from EVERY_EPOCH
    for split in ("test", "external/<set>"):
        yield from (names.score_key(split, score) for score in names.SCORES)


def direction(objective: Objective) -> Direction:
    """Return which way is better: as given, else by what the metric is."""
    falls = objective.metric.rpartition("/")[2] in _FALLING
    return objective.direction or ("minimize" if falls else "maximize")


def needs_scores(objectives: list[Objective]) -> bool:
    """Return whether trials must be scored on the test or external images."""
    return any(objective.metric not in EVERY_EPOCH for objective in objectives)

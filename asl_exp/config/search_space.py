"""The values that a study tries, read from Hydra's own override grammar.

``interval(a, b)`` is every number between; ``int(interval(a, b))`` every whole number, both ends
included; ``range(a, b, step)`` stops before b, as Python's; ``choice(x, y)`` or ``x,y`` are the
values listed; ``tag(log, ...)`` on an interval searches its logarithm.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    QuotedString,
    RangeSweep,
)
from hydra.errors import HydraException

from asl_exp.compat.hydra import as_written

Category = bool | int | float | str | None


class SpaceError(ValueError):
    """The values of one key cannot be searched; the message begins with what was given."""


@dataclass(frozen=True)
class Parameter:
    """The values of one key or group.

    Attributes:
        key: of the configuration, or a group.
        kind: a real number, a whole number, or one of some values.
        low, high: both included.
        step: between numbers; None: every number.
        log: search the logarithm.
        choices: what is shown and stored.
        overrides: each choice in Hydra's override grammar.
        conditions: other key to the values that this one is sampled for.
    """

    key: str
    text: str
    kind: Literal["real", "whole", "choice"]
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    log: bool = False
    choices: tuple[Category, ...] = ()
    overrides: tuple[str, ...] = ()
    conditions: Mapping[str, tuple[Category, ...]] = field(default_factory=dict)

    def override(self, value: Category) -> str:
        """Return ``key=value`` as Hydra reads it."""
        if self.kind == "choice":
            return f"{self.key}={self.overrides[self.choices.index(value)]}"
        return f"{self.key}={value!r}"

    def extremes(self) -> tuple[Category, ...]:
        """Return the values that lie outermost: both ends, or every choice."""
        if self.kind == "choice":
            return self.choices
        ends = (self.low, self.high)
        return tuple(int(end) for end in ends) if self.kind == "whole" else ends

    def size(self) -> int | None:
        """Return how many values there are, or None where there is no end of them."""
        if self.kind == "choice":
            return len(self.choices)
        return self._n_steps() if self.step is not None else None

    def values(self) -> tuple[Category, ...]:
        """Return all values of a finite parameter."""
        return self.choices if self.kind == "choice" else tuple(self._steps())

    def _steps(self) -> Iterator[int | float]:
        assert self.step is not None
        for number in range(self._n_steps()):
            value = self.low + number * self.step
            yield int(value) if self.kind == "whole" else value

    def _n_steps(self) -> int:
        assert self.step is not None
        return round((self.high - self.low) / self.step) + 1

    def matching(self, value: Any) -> Category | None:
        """Return a configuration's own value as one of this parameter's, None if it is none."""
        if self.kind == "choice":
            written = "".join(str(value).split())
            for choice, override in zip(self.choices, self.overrides, strict=True):
                if _same(choice, value) or "".join(override.split()) == written:
                    return choice
            return None
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not self.low <= value <= self.high:
            return None
        return int(value) if self.kind == "whole" else float(value)


def _same(choice: Category, value: Any) -> bool:
    """Compare so that true is not 1."""
    return choice == value and isinstance(choice, bool) == isinstance(value, bool)


def parse_parameter(key: str, text: str) -> Parameter:
    """Read the values of one key.

    Raises:
        SpaceError: they are written wrongly or cannot be searched.
    """
    try:
        override = OverridesParser.create().parse_override(f"{key}={text}")
    except HydraException:
        raise SpaceError(
            f"'{text}' cannot be read; write interval(a,b), int(interval(a,b)), range(a,b,step), "
            "choice(x,y), or tag(log,interval(a,b))"
        ) from None
    return parameter_of(override, text)


def parameter_of(override: Override, text: str) -> Parameter:
    """Read the values of an override that was parsed; raises as ``parse_parameter``."""
    key, sweep = override.key_or_group, override.value()
    if isinstance(sweep, IntervalSweep):
        return _interval(key, text, sweep)
    if isinstance(sweep, RangeSweep):
        return _range(key, text, sweep)
    if isinstance(sweep, ChoiceSweep):
        return _choice(key, text, sweep)
    if override.is_sweep_override():
        raise SpaceError(f"{text}: glob is not searched; list the values with choice(x,y)")
    return _choice(key, text, ChoiceSweep(list=[sweep]))


def _interval(key: str, text: str, sweep: IntervalSweep) -> Parameter:
    low, high, log = sweep.start, sweep.end, _is_log(text, sweep.tags)
    assert low is not None
    assert high is not None
    if not (math.isfinite(low) and math.isfinite(high)):
        raise SpaceError(f"{text}: both ends must be finite numbers")
    if low >= high:
        raise SpaceError(f"{text}: the range is upside down or empty; give the lower end first")
    if log and low <= 0:
        raise SpaceError(f"{text}: the logarithm of {low:g} does not exist; begin above 0")
    if isinstance(low, int) and isinstance(high, int):
        return Parameter(key, text, "whole", low, high, step=None if log else 1, log=log)
    return Parameter(key, text, "real", float(low), float(high), log=log)


def _range(key: str, text: str, sweep: RangeSweep) -> Parameter:
    if sweep.tags or sweep.shuffle:
        raise SpaceError(f"{text}: a range takes no tag and no shuffle; use tag(log,interval(a,b))")
    start, stop, step = sweep.start, sweep.stop, sweep.step
    assert start is not None
    assert stop is not None
    if step <= 0 or start >= stop:
        raise SpaceError(
            f"{text}: the range is upside down or empty; give the lower end first, and a step "
            "above 0"
        )
    n_steps = math.ceil((stop - start) / step - 1e-9)  # the end itself is left out
    whole = all(isinstance(number, int) for number in (start, stop, step))
    last = start + (n_steps - 1) * step
    if n_steps == 1:
        return Parameter(key, text, "choice", choices=(start,), overrides=(repr(start),))
    return Parameter(key, text, "whole" if whole else "real", start, last, step=step)


def _choice(key: str, text: str, sweep: ChoiceSweep) -> Parameter:
    if sweep.tags:
        raise SpaceError(f"{text}: only an interval can be tagged; leave the tag out")
    overrides = tuple(as_written(element) for element in sweep.list)
    choices = tuple(
        _category(element, written) for element, written in zip(sweep.list, overrides, strict=True)
    )
    if len(set(choices)) < len(choices):  # 1, 1.0 and true are one to Python and to Optuna
        raise SpaceError(f"{text}: a value is listed twice")
    return Parameter(key, text, "choice", choices=choices, overrides=overrides)


def _category(element: Any, written: str) -> Category:
    """Return how a listed value is stored: itself, a list as it is written."""
    if isinstance(element, QuotedString):
        return element.text
    return element if isinstance(element, bool | int | float | str | None) else written


def _is_log(text: str, tags: set[str]) -> bool:
    if tags - {"log"}:
        raise SpaceError(f"{text}: the only tag is log")
    return "log" in tags

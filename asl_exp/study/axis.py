"""One searched key as an axis of a figure: where a value lies, and what is written beside it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from asl_exp.evaluation.figures import canvas
from asl_exp.study.results import Survey, shown

_LONGEST = 18
"""Characters of a choice beside an axis."""

_FEW_DECADES = 50
"""Between both ends, below which powers of ten alone would be too few marks."""


@dataclass(frozen=True)
class Axis:
    """An axis of numbers, of their logarithms, or of choices side by side.

    Attributes:
        key: of the configuration.
        log: numbers are shown by their logarithm.
        choices: in order; None for numbers.
        low, high: the ends of the range that was searched.
    """

    key: str
    log: bool
    choices: list[Any] | None
    low: float
    high: float

    @classmethod
    def of(cls, survey: Survey, key: str) -> "Axis":
        """Return the axis of a key that at least one finished trial has a value for."""
        choices = survey.choices(key)
        values = [trial.params[key] for trial in survey.drawn(key)]
        if choices is not None:
            return cls(key, False, [c for c in choices if c in values], 0, 0)
        newest = survey.distribution(key)  # an extended study may have begun with a wider one
        values += [getattr(newest, "low", values[0]), getattr(newest, "high", values[0])]
        return cls(key, survey.is_log(key), None, min(values), max(values))

    @property
    def name(self) -> str:
        """Return the key, and whether its logarithm is shown."""
        return f"{self.key} (log)" if self.log else self.key

    def place(self, value: Any) -> float:
        """Return where a value lies on the axis that ``prepare`` has set up."""
        return float(self.choices.index(value)) if self.choices is not None else float(value)

    def fraction(self, value: Any) -> float:
        """Return where a value lies between both ends of the axis, 0 to 1."""
        if self.choices is not None:
            last = len(self.choices) - 1
            return self.choices.index(value) / last if last else 0.5
        if self.low == self.high:
            return 0.5
        turn = math.log if self.log else float
        return (turn(value) - turn(self.low)) / (turn(self.high) - turn(self.low))

    def prepare(self, axes: Axes) -> None:
        """Make a figure's x axis this one."""
        axes.set_xlabel(canvas.plain(self.name))
        if self.choices is not None:
            names = [canvas.plain(canvas.shortened(shown(c), _LONGEST)) for c in self.choices]
            slanted = sum(map(len, names)) > 28
            axes.set_xticks(range(len(names)), names, rotation=25 if slanted else 0,
                            ha="right" if slanted else "center")  # fmt: skip
            axes.set_xlim(-0.5, len(names) - 0.5)
            return
        if self.low < self.high:
            ends = (self.low, self.high)
            axes.plot(ends, [0.5, 0.5], alpha=0, transform=axes.get_xaxis_transform())
        if self.log:
            axes.set_xscale("log")
            if self.high / self.low < _FEW_DECADES:
                axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value)))
            axes.xaxis.set_minor_formatter(NullFormatter())
        elif self._is_whole():
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))

    def marks(self) -> Iterator[tuple[float, str]]:
        """Yield the fraction and the text of each mark of a vertical axis."""
        if self.choices is not None:
            for choice in self.choices:
                yield self.fraction(choice), canvas.shortened(shown(choice), _LONGEST)
        elif self.low == self.high:
            yield 0.5, shown(self.low)
        else:
            values = [self._at(part / 4) for part in range(5)]
            if self._is_whole():
                values = sorted({round(value) for value in values})
            yield from ((self.fraction(value), shown(value, 3)) for value in values)

    def _is_whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def _at(self, fraction: float) -> float:
        if self.log:
            return float(self.low * (self.high / self.low) ** fraction)
        value = self.low + (self.high - self.low) * fraction
        return value if abs(value) > 1e-12 * max(abs(self.low), abs(self.high)) else 0.0

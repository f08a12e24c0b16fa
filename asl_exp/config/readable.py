"""Numbers as people read them: scores, percents, intervals, durations and sizes.

A score or share that is not 1 is never written as 1, nor one above 0 as 0.
"""

from collections.abc import Sequence
from math import isnan


def score(value: float | None, digits: int = 3) -> str:
    """Return ``0.973``, ``>0.999``, ``-`` where there is none; large losses as whole numbers."""
    if value is None or isnan(value):
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    told, least = f"{value:.{digits}f}", 10.0**-digits
    if value < 1 <= float(told):
        return f">{1 - least:.{digits}f}"
    return f"<{least:.{digits}f}" if value > 0 >= float(told) else told


def percent(share: float, digits: int = 0) -> str:
    """Return a share of 1 as ``97%``, ``>99%`` or ``<1%``."""
    told = score(share, digits + 2)
    number = told.lstrip("<>")
    return told if number == "-" else f"{told[: -len(number)]}{float(number):.{digits}%}"


def interval(bounds: Sequence[float] | None, digits: int = 2) -> str:
    """Return ``0.91 to 0.98``; ``-`` for none; in words where a share could be nearly anything."""
    if bounds is None:
        return "-"
    if says_nothing(bounds):
        return "too few to say"
    return f"{bounds[0]:.{digits}f} to {bounds[1]:.{digits}f}"


def says_nothing(bounds: Sequence[float]) -> bool:
    """Tell whether an interval rules out next to no share, as those of two groups often do."""
    return bounds[0] < 0.1 and bounds[1] > 0.9


def points(bounds: Sequence[float] | None) -> str:
    """Return the interval of a difference of shares, in points: ``95 % -0.4 to 2.8``."""
    if bounds is None:
        return "no interval: all images are of one group"
    return f"95 % {100 * bounds[0]:.1f} to {100 * bounds[1]:.1f}"


def with_interval(value: float | None, bounds: Sequence[float] | None) -> str:
    """Return ``0.973 (0.91 to 0.98)``, the interval where it is known; nothing without a score."""
    if value is None:
        return ""
    return score(value) if bounds is None else f"{score(value)} ({interval(bounds)})"


def duration(seconds: float) -> str:
    """Return ``41.2 s``, ``12 min`` or ``3.5 h``."""
    if seconds < 600:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def size(n_bytes: float) -> str:
    """Return ``1.24 GB`` or ``3.1 MB``."""
    return f"{n_bytes / 1e9:,.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:,.1f} MB"

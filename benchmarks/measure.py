"""What the benchmarks share: paired rounds, medians and spreads, the table, and the kept results.

A machine's speed drifts and others use it, so sides are measured in turn, in CPU seconds where
there is no GPU, and compared pair by pair.
"""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(os.environ.get("ASL_EXP_BENCH_RESULTS", ROOT / "benchmarks" / "results"))
SHARED = ROOT.parent / "shared"
sys.path.insert(0, str(ROOT))

if "torch" in sys.modules:
    raise ImportError("measure must be imported before torch")
import asl_exp  # noqa: E402, F401 - before torch: it sets how torch's threads wait, for all sides
from asl_exp.data.decode_pool import n_cores  # noqa: E402


@dataclass(frozen=True)
class Figure:
    """One row of the table.

    Attributes:
        what, against: the two sides.
        values: one for each pair.
        unit: follows a value.
        goal: to be reached; None where there is none.
        best: whether more or less is better.
        note: what must be known to read the figure.
    """

    what: str
    against: str
    values: Sequence[float]
    unit: str = "times"
    goal: float | None = None
    best: Literal["most", "least"] = "most"
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def reached(self) -> str:
        """Return yes or no; where only some pairs reach the goal, what the median does."""
        if self.goal is None:
            return "-"
        sign = 1 if self.best == "most" else -1
        reach = [sign * value >= sign * self.goal for value in (*self.values, self.median)]
        if all(reach):
            return "yes"
        return "by the median" if reach[-1] else "no"

    def cells(self) -> list[str]:
        spread = f"{_short(min(self.values))} to {_short(max(self.values))}"
        goal = "-" if self.goal is None else f"{_short(self.goal)} {self.unit}"
        shown = f"{_short(self.median)} {self.unit}"
        return [self.what, self.against, shown, spread, goal, self.reached, self.note]


HEADINGS = ("what", "against", "median", "spread", "goal", "reached", "note")


@dataclass
class Clock:
    """Seconds of a piece of work: CPU seconds of this process and of those it waited for, or,
    with a GPU, seconds on the wall until the device is done."""

    gpu: bool = False
    wall: bool = field(default=False, kw_only=True)

    def now(self) -> float:
        if self.gpu:
            import torch

            torch.cuda.synchronize()
        if self.gpu or self.wall:
            return time.perf_counter()
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in used)

    def __call__(self, work: Callable[[], object]) -> float:
        start = self.now()
        work()
        return self.now() - start


def in_turn(
    works: Mapping[str, Callable[[], object]], rounds: int, clock: Clock
) -> dict[str, list[float]]:
    """Return the seconds of each work in each round; every other round goes backwards."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds):
        names = list(works) if number % 2 == 0 else list(works)[::-1]
        for name in names:
            seconds[name].append(clock(works[name]))
    return seconds


def ratios(slow: Sequence[float], fast: Sequence[float]) -> list[float]:
    """Return slow / fast, pair by pair."""
    return [one / other for one, other in zip(slow, fast, strict=True)]


def keep(name: str, figures: Iterable[Figure], details: Mapping[str, Any]) -> None:
    """Print the figures and write them, with the machine, the date and the commit, as JSON."""
    shown = list(figures)
    content = {
        "machine": machine(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
        "figures": [asdict(one) for one in shown],
        "details": dict(details),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    print(markdown(HEADINGS, [one.cells() for one in shown]), flush=True)


def kept_figures() -> list[tuple[str, Figure]]:
    """Return the figures of all results that are kept, with the name of their benchmark."""
    return [
        (path.stem, Figure(**one))
        for path in sorted(RESULTS.glob("*.json"))
        for one in json.loads(path.read_text("utf-8")).get("figures", [])
    ]


def markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose columns stand under each other."""
    cells = [list(headings), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])


def machine() -> dict[str, Any]:
    """Return what a figure depends on beside the code."""
    versions = {}
    for module in ("torch", "pytorch_lightning", "timm"):
        if module in sys.modules:
            versions[module] = str(sys.modules[module].__version__)
    gpu = None
    if "torch" in sys.modules and (torch := sys.modules["torch"]).cuda.is_available():
        gpu = torch.cuda.get_device_name()
    return {
        "processor": _processor(),
        "cores": n_cores(),
        "load": round(os.getloadavg()[0], 1),
        "gpu": gpu,
        "python": platform.python_version(),
        **versions,
    }


def commit() -> str:
    """Return the commit of the working tree; with a + where the package differs from it."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(ROOT), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + (
        "+" if git("status", "--short", "asl_exp") else ""
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"

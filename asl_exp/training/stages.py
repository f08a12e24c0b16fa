"""How long each stage of a run took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


class Stages:
    """Seconds by stage, in the order in which they ended.

    The first run of a process has the stage ``imports``: all since the process was started.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        if (started := _process_start()) is not None:
            self.seconds["imports"] = time.time() - started
        self._inside = [0.0]

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time a stage without the stages inside it; one that raised is timed as well."""
        started = time.perf_counter()
        self._inside.append(0.0)
        try:
            yield
        finally:
            spent = time.perf_counter() - started
            own = spent - self._inside.pop()
            self._inside[-1] += spent
            self.seconds[name] = self.seconds.get(name, 0.0) + own


_asked = False


def _process_start() -> float | None:
    """Return when this process was started, in seconds since 1970; None when asked again."""
    global _asked
    first, _asked = not _asked, True
    return psutil.Process().create_time() if first else None

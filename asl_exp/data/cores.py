"""The cores that this process may use, which in a container are fewer than the machine has."""

import os


def n_cores() -> int:
    """Return their number."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

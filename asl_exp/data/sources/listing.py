"""Tables of images before any file is opened: where each is, what it shows, whom it belongs to.

A source returns one table of the columns below; selection.py joins and checks them.
"""

import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pandas as pd

from asl_exp.config.errors import DataError
from asl_exp.config.names import record_name
from asl_exp.config.redact import printable

COLUMNS: Final = ("path", "key", "label", "group", "source", "split")
"""path: what is opened (a file, or ``synthetic:...``); key: the same on every machine, relative to
the source's folder; group, split: "" where the source does not know them."""


TABLES: Final = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
"""Endings of manifests."""

NOTES: Final = "notes"
"""Under this key a table's attributes tell how it was read."""


@dataclass(frozen=True)
class Listing:
    """All images that an experiment may read.

    Attributes:
        images: those to train, validate and test on.
        external: one table for each set that is never trained on, by its name.
        classes: in the order of their indices.
        left_out: external set to the labels that are no classes and their counts, in words.
        notes: how a layout was read and what was passed over, in words.
        external_joints: file of each external set that has joints and no images, by its name.
    """

    images: "pd.DataFrame"
    external: dict[str, "pd.DataFrame"]
    classes: tuple[str, ...]
    left_out: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    external_joints: dict[str, str] = field(default_factory=dict)


def table(
    paths: Sequence[str],
    keys: Sequence[str],
    labels: Sequence[str],
    source: str,
    groups: Sequence[str] | None = None,
) -> "pd.DataFrame":
    """Return a table of one source; `groups` None: not known."""
    import pandas as pd

    return pd.DataFrame(
        {
            "path": paths,
            "key": keys,
            "label": labels,
            "group": "" if groups is None else groups,
            "source": source,
            "split": "",
        },
        columns=list(COLUMNS),
        dtype="str",
    )


def some(names: Iterable[object], limit: int = 8, between: str = ", ") -> str:
    """Return the first names and how many more there are, for a message."""
    listed = [str(name) for name in names]
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return between.join(listed[:limit]) + more


def left_out_words(labels: "pd.Series[str]", classes: Sequence[str]) -> str:
    """Return which labels are no classes, with their images, or nothing."""
    outside = labels[~labels.isin(classes)]
    if outside.empty:
        return ""
    counts = outside.value_counts()
    named = some([f"{name} {counts[name]}" for name in sorted(counts.index, key=natural)], 12)
    return f"left out: {len(outside):,} of {len(labels):,} images, of other labels: {named}"


def natural(name: str) -> tuple[int, int, str]:
    """Return the key by which names are sorted: numbers as numbers, before words."""
    number = name.isascii() and name.isdigit()
    return (0, int(name), "") if number else (1, 0, name)


def there(path: str) -> bool:
    """Tell whether a path leads to something; one that no system can have does not."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def require_file(file: Path, key: str, give: str) -> None:
    """Refuse what is no file: a pipe or a device would be read for ever.

    Args:
        key: the configuration key that named it, for messages.
        give: what is to be given instead, for messages.

    Raises:
        DataError: not there, a folder, or no ordinary file.
    """
    shown = printable(str(file)[:300])
    try:
        mode = file.stat().st_mode
    except FileNotFoundError:
        raise DataError(f"{key}: there is no file '{shown}' (looked in {Path.cwd()})") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{key}: '{shown}' cannot be looked at: {error}") from error
    if stat.S_ISDIR(mode):
        raise DataError(f"{key}: '{shown}' is a folder; give {give}")
    if not stat.S_ISREG(mode) or file.resolve().is_relative_to("/proc"):
        raise DataError(f"{key}: '{shown}' is no ordinary file; give {give}")


def shortened(path: str, length: int = 160) -> str:
    """Return a path for a message, its middle left out where it is very long."""
    return path if len(path) <= length else f"{path[: length // 2]}...{path[-length // 2 :]}"


def is_file_key(path: str) -> bool:
    """Tell whether a path names a file, not a rendered image."""
    return not path.startswith("synthetic:")


def set_name(given: str) -> str:
    """Return the name of an external set: a folder's or a manifest's name without its path.

    In the form in which folders, metrics and servers of records take it.
    """
    name = Path(given).name
    if name in ("", ".", ".."):
        name = Path(given).resolve().name
    ending = next((one for one in TABLES if name.lower().endswith(one)), "")
    return record_name(name[: len(name) - len(ending)])

"""The source "manifest": a CSV with the columns path, label and, if known, source, group, split."""

import codecs
import csv
import gzip
import posixpath
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pandas as pd

from asl_exp.config.conf_folder import home_expanded
from asl_exp.config.errors import DataError, nearest
from asl_exp.config.redact import printable
from asl_exp.data.decode import SUFFIXES
from asl_exp.data.sources.folder_names import SPLITS
from asl_exp.data.sources.listing import COLUMNS, NOTES, require_file, some, there
from asl_exp.data.split import NAMES

_REQUIRED: Final = ("path", "label")
_OPTIONAL: Final = ("source", "group", "split")
_KNOWN: Final = (*_REQUIRED, *_OPTIONAL)
_WORDS_FOR: Final = {
    "path": (
        "file", "filename", "file_name", "filepath", "file_path", "image", "img", "image_path",
    ),
    "label": ("class", "letter", "sign", "target", "category", "y"),
    "group": (
        "signer", "subject", "person", "user", "participant", "session", "recording", "video",
    ),
}  # fmt: skip
"""What other tables call a column."""

_FIRST_LINE: Final = 2
"""The line of the first row in the file: the header is line 1."""


def list_manifest(manifest: str, key: str) -> pd.DataFrame:
    """Read a manifest; its paths are relative to its own folder.

    Raises:
        DataError: no such file, not a CSV, columns missing, empty fields, or a path given twice.
    """
    file = home_expanded(manifest)
    rows = _read(file, key)
    _require_columns(rows, file, key)
    _require_filled(rows, file, key)
    _require_unique(rows, file, key)
    listed = pd.DataFrame({"key": rows["path"], "label": rows["label"]}, dtype="str")
    if len(set(listed["label"])) == len(set(listed["label"].str.strip())):
        listed["label"] = listed["label"].str.strip()
    listed["path"] = [_on_disk(file.parent, path) for path in rows["path"]]
    for name in _OPTIONAL:
        missing = file.stem if name == "source" else ""
        listed[name] = rows.get(name, missing)
    listed = listed[list(COLUMNS)].astype("str")
    others = [] if "group" in rows else _meant_by(rows.columns, "group")
    if others:
        listed.attrs[NOTES] = (
            f"{key}: the columns {some(others)} are not read; the one that says who signs must be "
            "called group",
        )
    return listed


def _meant_by(columns: Iterable[str], name: str) -> list[str]:
    """Return the columns that other tables use for one of ours, such as signer_id for group."""
    return [
        one for one in columns if re.sub(r"[ _-]?(id|no|nr)$", "", one.lower()) in _WORDS_FOR[name]
    ]


_SEPARATORS: Final = (",", ";", "\t", "|")
_MOST_COLUMNS: Final = 1_000
_HEADER_BYTES: Final = 4 << 20


def _read(file: Path, key: str) -> pd.DataFrame:
    require_file(file, key, "a CSV, or choose data=folder")
    try:
        encoding, separator = _dialect(file, key)
        rows = pd.read_csv(
            file, dtype="str", keep_default_na=False, skipinitialspace=True, encoding=encoding,
            sep=separator,
        ).rename(columns=_plain)  # fmt: skip
    except pd.errors.EmptyDataError:
        raise DataError(f"{key}: '{file}' is empty; it needs the columns path and label") from None
    except (pd.errors.ParserError, csv.Error, UnicodeError, OSError) as error:
        if isinstance(error, PermissionError):
            told = "permission denied; give yourself the right to read it"
            raise DataError(f"{key}: '{file}' cannot be read: {told}") from error
        raise DataError(
            f"{key}: '{file}' cannot be read as a UTF-8 CSV: {error}; save it as a CSV in UTF-8, "
            "in which every quote is closed"
        ) from error
    if not isinstance(rows.index, pd.RangeIndex):  # pandas takes what is too much for names
        raise DataError(
            f"{key}: '{file}' has more fields in a line than names of columns in its first; name "
            f"them all, and put paths with '{separator}' in them into quotes, \"a{separator}b.jpg\""
        )
    rows = rows.rename(
        columns={n: n.lower() for n in map(str, rows.columns) if n.lower() in _KNOWN}
    )
    for name in ("source", "group", "split"):
        if name in rows:
            rows[name] = rows[name].str.strip()
    if "split" in rows:
        rows["split"] = rows["split"].map(lambda name: SPLITS.get(name.lower(), name))
    return rows


def _dialect(file: Path, key: str) -> tuple[str, str]:
    """Return encoding and separator, by the header; refuse columns named twice, and too many.

    Raises:
        DataError: as said.
    """
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as opened:
        start = opened.read(_HEADER_BYTES)
    wide = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = "utf-16" if wide else "utf-8-sig"
    text = start[: len(start) // 2 * 2].decode(encoding, errors="ignore" if wide else "replace")
    header = re.split(r"[\r\n]", text, maxsplit=1)[0]
    n_columns = 1 + max(map(header.count, _SEPARATORS))
    if n_columns > _MOST_COLUMNS:
        raise DataError(
            f"{key}: '{file}' has {n_columns:,} columns; a manifest has path, label and, if known, "
            "source, group, split"
        )
    if "\0" in header:
        raise DataError(
            f"{key}: '{file}' is no text in UTF-8 (a workbook, a parquet file, UTF-16 without its "
            "mark?); save it as a CSV in UTF-8"
        )
    names = {one: next(csv.reader([header], delimiter=one), []) for one in _SEPARATORS}
    # the separator that finds most of the columns that are known; a comma where none does
    separator = max(
        _SEPARATORS, key=lambda one: sum(name.strip().lower() in _KNOWN for name in names[one])
    )
    found = [_plain(name).lower() for name in names[separator]]
    twice = next((name for name in _KNOWN if found.count(name) > 1), None)
    if twice:
        raise DataError(
            f"{key}: '{file}' has two columns {twice}; remove one, or give it another name"
        )
    return encoding, separator


def _plain(name: str) -> str:
    """Return a column's name without blanks and the marks of encodings around it."""
    return name.strip(" \t\r\n\xa0\ufeff")


def _on_disk(folder: Path, path: str) -> str:
    """Return where a path leads to; one that was written on Windows is read as it was meant."""
    if "\\" in path and not there(str(folder / path)):
        path = path.replace("\\", "/")
    if path != path.strip() and not there(str(folder / path)):
        path = path.strip()
    return str(folder / path)


def _require_columns(rows: pd.DataFrame, file: Path, key: str) -> None:
    found = [str(name) for name in rows.columns]
    for name in _REQUIRED:
        if name not in found:
            meant = _meant_by(found, name)
            hint = f"; call the column '{meant[0]}' {name}" if meant else nearest(name, found)
            if len(found) == 1 and "label" in found[0].lower():
                hint = "; separate the columns by commas, semicolons, tabs or |"
            if any(Path(one).suffix.lower() in SUFFIXES or one[:4] == "sep=" for one in found):
                hint = "; the first line must hold the names of the columns"
            shown = some([printable(one)[:60] for one in found])
            raise DataError(
                f"{key}: '{file}' has no column '{name}'{hint}; it has {shown}, and needs path and "
                "label"
            )
    if rows.empty:
        raise DataError(f"{key}: '{file}' has a header but no rows")


def _require_filled(rows: pd.DataFrame, file: Path, key: str) -> None:
    """No label or path may be blank; source, group and split are filled in every row or absent."""
    for name in (*_REQUIRED, *(one for one in _OPTIONAL if one in rows)):
        blank = rows[name].fillna("").str.strip() == ""
        if blank.any():
            lines = some(rows.index[blank] + _FIRST_LINE)
            raise DataError(
                f"{key}: '{file}' has no {name} in {int(blank.sum())} rows (lines {lines}); "
                f"fill them{', or remove the column' if name in _OPTIONAL else ''}"
            )
    if "split" in rows and not rows["split"].isin(NAMES).all():
        wrong = sorted(set(rows["split"]) - set(NAMES))
        raise DataError(
            f"{key}: '{file}' has {some(wrong)} in the column split; allowed are {some(NAMES)}"
        )


def _require_unique(rows: pd.DataFrame, file: Path, key: str) -> None:
    plain = rows["path"].map(lambda path: posixpath.normpath(path.strip().replace("\\", "/")))
    again = plain.duplicated(keep=False)
    if not again.any():
        return
    path = plain[again].iloc[0]
    same = rows[plain == path]
    lines = some(same.index + _FIRST_LINE)
    labels = some(sorted(set(same["label"])))
    raise DataError(
        f"{key}: '{file}' has '{path}' in lines {lines} (labels: {labels}), and "
        f"{int(again.sum())} rows name a path more than once; keep one row an image"
    )

"""The source "manifest": a CSV with the columns path, label and, if known, source, group, split."""

from pathlib import Path
from typing import Final

import pandas as pd

from asl_exp.config.errors import DataError, nearest
from asl_exp.data.sources.listing import COLUMNS, some
from asl_exp.data.split import NAMES

_REQUIRED: Final = ("path", "label")
_OPTIONAL: Final = ("source", "group", "split")
_FIRST_LINE: Final = 2
"""The line of the first row in the file: the header is line 1."""


def list_manifest(manifest: str, key: str) -> pd.DataFrame:
    """Read a manifest; its paths are relative to its own folder.

    Raises:
        DataError: no such file, not a CSV, columns missing, empty fields, or a path given twice.
    """
    file = Path(manifest).expanduser()
    rows = _read(file, key)
    _require_columns(rows, file, key)
    _require_filled(rows, file, key)
    _require_unique(rows, file, key)
    listed = pd.DataFrame({"key": rows["path"], "label": rows["label"]}, dtype="str")
    listed["path"] = [str(file.parent / path) for path in rows["path"]]
    for name in _OPTIONAL:
        missing = file.stem if name == "source" else ""
        listed[name] = rows.get(name, missing)
    return listed[list(COLUMNS)].astype("str")


def _read(file: Path, key: str) -> pd.DataFrame:
    if file.is_dir():
        raise DataError(f"{key}: '{file}' is a folder; give a CSV, or choose data=folder")
    try:
        return pd.read_csv(
            file, dtype="str", keep_default_na=False, skipinitialspace=True, encoding="utf-8-sig"
        )
    except FileNotFoundError:
        raise DataError(f"{key}: there is no file '{file}' (looked in {Path.cwd()})") from None
    except pd.errors.EmptyDataError:
        raise DataError(f"{key}: '{file}' is empty; it needs the columns path and label") from None
    except (pd.errors.ParserError, UnicodeDecodeError, OSError) as error:
        raise DataError(f"{key}: '{file}' cannot be read as a UTF-8 CSV: {error}") from error


def _require_columns(rows: pd.DataFrame, file: Path, key: str) -> None:
    found = [str(name) for name in rows.columns]
    for name in _REQUIRED:
        if name not in found:
            raise DataError(
                f"{key}: '{file}' has no column '{name}'{nearest(name, found)}; "
                f"it has {some(found)}, and needs path and label"
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
    again = rows["path"].duplicated(keep=False)
    if not again.any():
        return
    path = rows.loc[again, "path"].iloc[0]
    same = rows[rows["path"] == path]
    lines = some(same.index + _FIRST_LINE)
    labels = some(sorted(set(same["label"])))
    raise DataError(
        f"{key}: '{file}' has '{path}' in lines {lines} (labels: {labels}), and "
        f"{int(again.sum())} rows name a path more than once; keep one row an image"
    )

"""Joints of hands without their images: files that people share where faces cannot be shared.

A CSV (also .gz) or parquet file with a row a hand: label, source, group, and x0, y0, ..., x20, y20,
the 21 joints in the numbering of hand.py, y down, in any unit and from any origin: what is made
from them knows neither.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from asl_exp.config.classes import SIGNS
from asl_exp.config.conf_folder import home_expanded
from asl_exp.config.errors import DataError, first_line, nearest
from asl_exp.data.hands.hand import N_JOINTS, Floats
from asl_exp.data.sources.listing import require_file, some
from asl_exp.runs.writing import replaced, require_writable

ABOUT: Final = ("label", "source", "group")
COORDINATES: Final = tuple(f"{axis}{joint}" for joint in range(N_JOINTS) for axis in "xy")
_DETECTED: Final = Path(__file__).with_name("detected_signers.csv.gz")
"""Of ``python -m asl_exp.data joints FILE --drawn 100``; groups are detected_0001 and so on."""
_FIRST_LINE: Final = 2
"""The line of the first row in a CSV: the header is line 1."""
_DECIMALS: Final = 5


@dataclass(frozen=True, eq=False)
class JointRows:
    """N hands of which only the joints are known.

    Attributes:
        table: N rows: label, source, group.
        joints: (N, 21, 2).
    """

    table: pd.DataFrame
    joints: Floats

    def __len__(self) -> int:
        """Return the number of hands."""
        return len(self.table)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> "JointRows":
        """Return some of them."""
        return JointRows(self.table.iloc[rows].reset_index(drop=True), self.joints[rows])


def read_joint_rows(given: str, classes: Sequence[str], key: str = "data.joints") -> JointRows:
    """Read one file; rows of classes that the experiment leaves out are left out.

    Args:
        key: what the file was given as, for messages.

    Raises:
        DataError: with what is wrong in the file and how to mend it.
    """
    file = home_expanded(given)
    rows = _read(file, key)
    _require_columns(rows, file, key)
    _require_filled(rows, file, key)
    _require_known(rows, classes, file, key)
    read = JointRows(rows[list(ABOUT)].astype("str"), _numbers(rows, file, key))
    return read.take(read.table["label"].isin(list(classes)).to_numpy())


def detected_signers(classes: Sequence[str], count: int) -> JointRows:
    """Return what the detector finds in pictures of drawn signers, the first so many of them.

    The detector errs in these pictures as it errs in photos, which exact joints do not show.
    """
    rows = pd.read_csv(_DETECTED, dtype=dict.fromkeys(ABOUT, "str"))
    number = rows["group"].str.rpartition("_")[2].astype(int)
    rows = rows[rows["label"].isin(list(classes)) & (number <= count)]
    joints = rows[list(COORDINATES)].to_numpy(np.float32).reshape(-1, N_JOINTS, 2)
    return JointRows(rows[list(ABOUT)].reset_index(drop=True), joints)


def is_joint_file(given: str) -> bool:
    """Tell whether a file has joints and no images: by its header, where it can be read."""
    file = home_expanded(given)
    try:
        if not file.is_file() or not file.name.endswith((".csv", ".csv.gz", ".parquet")):
            return False
        columns = _columns(file)
    except (ValueError, OSError, EOFError, zlib.error):
        return False
    return "path" not in columns and len(set(COORDINATES) & columns) > len(COORDINATES) // 2


def _columns(file: Path) -> set[str]:
    if file.suffix == ".parquet":
        from pyarrow import parquet  # a manifest needs it not

        return set(parquet.read_schema(file).names)
    header = pd.read_csv(file, nrows=0, skipinitialspace=True, encoding="utf-8-sig")
    return set(map(str, header.columns))


def write_joint_rows(rows: JointRows, file: Path) -> None:
    """Write a CSV (.csv, .csv.gz) or a parquet file, in one step.

    The joints are written relative to the wrist in units of the largest of their coordinates, so
    that nothing is told of the picture.

    Raises:
        DataError: another ending, or a place that cannot be written.
    """
    moved = rows.joints - rows.joints[:, :1]
    largest = np.abs(moved).max((1, 2), keepdims=True)
    scaled = np.round(moved / np.maximum(largest, 1e-9), _DECIMALS).reshape(len(rows), -1)
    table = rows.table[list(ABOUT)].reset_index(drop=True)
    whole = pd.concat([table, pd.DataFrame(scaled, columns=list(COORDINATES))], axis=1)
    require_place(file)
    try:
        with replaced(file) as part:
            if file.name.endswith(".parquet"):
                whole.to_parquet(part, index=False)
            else:
                packed = file.name.endswith(".gz")
                whole.to_csv(part, index=False, compression="gzip" if packed else None)
    except OSError as error:
        raise DataError(f"'{file}' cannot be written: {error.strerror or error}") from error


def require_place(file: Path) -> None:
    """Refuse what write_joint_rows could not write.

    Raises:
        DataError: another ending than .csv, .csv.gz or .parquet, or a place that takes no files.
    """
    if not file.name.endswith((".parquet", ".csv", ".csv.gz")):
        raise DataError(
            f"'{file}' has an ending that is not known; give a name that ends in .csv, "
            ".csv.gz or .parquet"
        )
    try:
        require_writable(file)
    except OSError as error:
        raise DataError(f"'{file}' cannot be written: {error.strerror or error}") from error


def _read(file: Path, key: str) -> pd.DataFrame:
    require_file(file, key, "CSV or parquet files of joints")
    try:
        if file.suffix == ".parquet":
            return pd.read_parquet(file)
        return pd.read_csv(
            file,
            dtype=dict.fromkeys(ABOUT, "str"),
            keep_default_na=False,
            na_values={name: ["", "nan", "NaN", "NA"] for name in COORDINATES},
            skipinitialspace=True,
            encoding="utf-8-sig",
            low_memory=False,
        )
    except pd.errors.EmptyDataError:
        raise DataError(f"{key}: '{file}' is empty; it needs {_NEEDED}") from None
    except (ValueError, OSError, EOFError, zlib.error) as error:  # pandas' own are ValueErrors
        kind = "parquet file" if file.suffix == ".parquet" else "UTF-8 CSV"
        reason = first_line(error)
        raise DataError(f"{key}: '{file}' cannot be read as a {kind}: {reason}") from error


_NEEDED: Final = "the columns label, source, group and x0, y0, ..., x20, y20"


def _require_columns(rows: pd.DataFrame, file: Path, key: str) -> None:
    found = [str(name) for name in rows.columns]
    missing = [name for name in (*ABOUT, *COORDINATES) if name not in found]
    if missing:
        raise DataError(
            f"{key}: '{file}' has no column {some(missing)}{nearest(missing[0], found)}; "
            f"it has {some(found)}, and needs {_NEEDED}"
        )
    if rows.empty:
        raise DataError(f"{key}: '{file}' has a header but no rows")


def _require_filled(rows: pd.DataFrame, file: Path, key: str) -> None:
    for name in ABOUT:
        blank = rows[name].fillna("").astype("str").str.strip() == ""
        if blank.any():
            raise DataError(
                f"{key}: '{file}' has no {name} in {int(blank.sum())} rows "
                f"({_lines(blank.to_numpy())}); fill them, or remove the rows"
            )


def _require_known(rows: pd.DataFrame, classes: Sequence[str], file: Path, key: str) -> None:
    """Refuse labels that are neither classes of this experiment nor signs that it leaves out."""
    labels = sorted(set(rows["label"].astype("str")))
    known = {*classes, *SIGNS}
    unknown = [label for label in labels if label not in known]
    if unknown:
        raise DataError(
            f"{key}: '{file}' has the labels {some(unknown)}, which are no classes of this "
            f"experiment{nearest(unknown[0], known)}; its classes are {some(classes, limit=30)}"
        )
    if not set(labels) & set(classes):
        raise DataError(
            f"{key}: '{file}' has no row of the classes {some(classes, limit=30)}; "
            f"its labels are {some(labels, limit=30)}"
        )


def _numbers(rows: pd.DataFrame, file: Path, key: str) -> Floats:
    """Return (N, 21, 2); every number must be there, and a hand's joints must differ."""
    chosen = rows[list(COORDINATES)]
    numbers = chosen.apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    missing = ~np.isfinite(numbers)
    if missing.any():
        row, column = np.argwhere(missing)[0]
        value = chosen.iloc[row, column]
        got = "nothing" if pd.isna(value) else f"'{value}'"
        raise DataError(
            f"{key}: '{file}' has {got} in the column {COORDINATES[column]} where a number is "
            f"needed, in {int(missing.any(1).sum())} rows ({_lines(missing.any(1))}); mend or "
            "remove them"
        )
    joints: Floats = numbers.reshape(-1, N_JOINTS, 2).astype(np.float32)
    flat = np.ptp(joints, axis=1).max(1) == 0
    if flat.any():
        raise DataError(
            f"{key}: '{file}' has {int(flat.sum())} rows whose joints are all one point "
            f"({_lines(flat)}), most often images without a hand; remove them"
        )
    return joints


def _lines(faulty: NDArray[np.bool_]) -> str:
    return f"lines {some(np.flatnonzero(faulty) + _FIRST_LINE)}"

"""Files of joints: what is read from them, and what is refused, in one sentence each."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from asl_exp.config.errors import DataError
from asl_exp.data.hands.joint_rows import (
    ABOUT,
    COORDINATES,
    JointRows,
    read_joint_rows,
    write_joint_rows,
)

CLASSES = ("A", "B", "C")


def table(n: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    about = {
        "label": [CLASSES[row % 3] for row in range(n)],
        "source": ["ann" if row < n // 2 else "bob" for row in range(n)],
        "group": [f"take{row // 2}" for row in range(n)],
    }
    numbers = pd.DataFrame(rng.normal(size=(n, 42)), columns=list(COORDINATES))
    return pd.concat([pd.DataFrame(about), numbers], axis=1)


def written(rows: pd.DataFrame, folder: Path) -> str:
    file = folder / "joints.csv"
    rows.to_csv(file, index=False)
    return str(file)


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet"])
def test_joints_come_back_relative_to_the_wrist(tmp_path: Path, ending: str) -> None:
    rows = table()
    joints = rows[list(COORDINATES)].to_numpy(np.float32).reshape(-1, 21, 2)
    file = tmp_path / f"joints.{ending}"
    write_joint_rows(JointRows(rows[list(ABOUT)], joints), file)
    read = read_joint_rows(str(file), CLASSES)

    moved = joints - joints[:, :1]
    expected = moved / np.abs(moved).max((1, 2), keepdims=True)
    np.testing.assert_allclose(read.joints, expected, atol=1e-5)
    pd.testing.assert_frame_equal(read.table, rows[list(ABOUT)].astype("str"))
    assert [one.name for one in tmp_path.iterdir()] == [file.name]


def test_rows_of_other_letters_are_left_out(tmp_path: Path) -> None:
    read = read_joint_rows(written(table(), tmp_path), ["C", "A"])
    assert read.table["label"].tolist() == ["A", "C", "A", "C"]
    assert read.joints.shape == (4, 21, 2)


def without(*columns: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda rows: rows.drop(columns=list(columns))


def holding(row: int, column: str, value: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(rows: pd.DataFrame) -> pd.DataFrame:
        rows[column] = rows[column].astype(object)
        rows.loc[row, column] = value
        return rows

    return change


def one_point(rows: pd.DataFrame) -> pd.DataFrame:
    rows.loc[3, list(COORDINATES)] = 0.0
    return rows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("x7", "y20"), "has no column x7, y20; did you mean"),
        (without("label"), "has no column label"),
        (holding(1, "label", "AA"), "has the labels AA, which are no classes of this experiment"),
        (holding(1, "group", ""), "has no group in 1 rows (lines 3)"),
        (holding(2, "x3", float("nan")), "has nothing in the column x3"),
        (holding(2, "x3", "wide"), "has 'wide' in the column x3 where a number is needed"),
        (holding(2, "y3", "inf"), "in the column y3 where a number is needed, in 1 rows (lines 4)"),
        (one_point, "has 1 rows whose joints are all one point (lines 5)"),
        (lambda rows: rows[:0], "has a header but no rows"),
        (lambda rows: rows.assign(label="Y"), "has no row of the classes A, B, C"),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    file = written(change(table()), tmp_path)
    with pytest.raises(DataError) as raised:
        read_joint_rows(file, CLASSES)
    assert str(raised.value).startswith(f"data.joints: '{file}' ")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["joints.csv", "joints.csv.gz", "joints.parquet"])
@pytest.mark.parametrize("content", [b"", b"\x1f\x8b\x08\x00broken", b"\x89PNG\xff\xfe,\x00"])
def test_damaged_files_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"^data\.joints: "):
        read_joint_rows(str(tmp_path / name), CLASSES)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("none.csv", "there is no file"),
        (".", "is a folder; give CSV or parquet files of joints"),
        ("pipe.csv", "is no ordinary file"),
        ("/dev/zero", "is no ordinary file"),
    ],
)
def test_what_is_no_file_is_refused_at_once(name: str, told: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DataError, match=rf"^data\.joints: .*{told}"):
        read_joint_rows(str(tmp_path / name), CLASSES)


def test_other_endings_are_refused(tmp_path: Path) -> None:
    rows = table()
    joints = rows[list(COORDINATES)].to_numpy(np.float32).reshape(-1, 21, 2)
    with pytest.raises(DataError, match=r"\.csv, \.csv\.gz or \.parquet"):
        write_joint_rows(JointRows(rows[list(ABOUT)], joints), tmp_path / "joints.xlsx")

"""The command that writes joints in place of photos, with the real detector."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from asl_exp.config.classes import SIGNS
from asl_exp.data.__main__ import main
from asl_exp.data.hands.joint_rows import detected_signers, read_joint_rows


def data_of(photos: Path, folder: Path) -> list[str]:
    """Return overrides that name eight photos of two letters and four without a hand."""
    table = pd.read_csv(photos / "manifest.csv")
    letters = table[(table["source"] == "t32rahman") & table["label"].isin(["L", "Y"])]
    rows = pd.concat([letters.groupby("label").head(4), table[table["label"] == "nothing"].head(4)])
    rows = rows.assign(path=[str(photos / path) for path in rows["path"]], source="mine")
    rows[["path", "label", "source", "group"]].to_csv(folder / "mine.csv", index=False)
    return [
        "data=manifest",
        f"data.manifest={folder / 'mine.csv'}",
        f"data.cache_dir={folder / 'cache'}",
    ]


@pytest.mark.parametrize("ending", ["csv.gz", "parquet"])
def test_joints_of_photos_are_what_data_joints_reads(
    ending: str,
    tmp_path: Path,
    photos: Path,
    hand_model: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / f"joints.{ending}"
    assert main(["joints", str(file), *data_of(photos, tmp_path), f"hand.model={hand_model}"]) == 0
    said = capsys.readouterr().out
    assert said == f"{file}: 8 hands; none was found in 4 images: nothing 4\n"
    rows = read_joint_rows(str(file), ["L", "Y"])
    assert rows.table["label"].value_counts().to_dict() == {"L": 4, "Y": 4}
    assert set(rows.table["source"]) == {"mine"}
    assert set(rows.table["group"]) == {"t32rahman_all"}
    assert abs(rows.joints).max() == 1
    assert (rows.joints[:, 0] == 0).all()


def test_joints_of_recordings(
    tmp_path: Path, photos: Path, hand_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2 = pytest.importorskip("cv2")
    given = []
    for label in ("L", "Y"):
        clip = tmp_path / f"{label}.avi"
        writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (200, 200))
        photo = cv2.imread(str(next((photos / "images" / "t32rahman" / label).iterdir())))
        for _ in range(10):
            writer.write(cv2.resize(photo, (200, 200)))
        writer.release()
        given += ["--video", str(clip), "--label", label]
    file = tmp_path / "joints.csv"
    more = ["--signer", "ann", "--every", "0.5", f"hand.model={hand_model}"]
    assert main(["joints", str(file), *given, *more]) == 0
    assert capsys.readouterr().out == f"{file}: 4 hands, one in every image\n"
    rows = read_joint_rows(str(file), ["L", "Y"])
    assert rows.table.to_numpy().tolist() == [["L", "L", "L"]] * 2 + [["Y", "ann", "ann"]] * 2


def test_joints_of_drawn_signers_are_those_that_come_with_the_package(
    tmp_path: Path, hand_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    letters = ["A", "R", "W"]
    monkeypatch.setattr("asl_exp.data.hands.joint_export.LETTERS", letters)
    file = tmp_path / "drawn.parquet"
    assert main(["joints", str(file), "--drawn", "2", f"hand.model={hand_model}"]) == 0
    written, packed = read_joint_rows(str(file), letters), detected_signers(letters, 2)
    assert written.table.to_numpy().tolist() == packed.table.to_numpy().tolist()
    assert set(written.table["group"]) == {"detected_0001", "detected_0002"}
    np.testing.assert_allclose(written.joints, packed.joints, atol=1e-3)


def test_a_hand_of_each_letter_of_100_drawn_signers_comes_with_the_package() -> None:
    rows = detected_signers(SIGNS, 100)
    assert not rows.table.duplicated().any()
    counts = rows.table["label"].value_counts()
    assert set(counts.index) == set(SIGNS) - {"nothing"}
    assert counts.min() >= 85, "the detector misses some"
    assert np.isfinite(rows.joints).all()
    assert set(detected_signers(["B"], 3).table["group"]) == {f"detected_000{n}" for n in (1, 2, 3)}


def test_where_no_hand_is_found_nothing_is_written(
    tmp_path: Path, photos: Path, hand_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [*data_of(photos, tmp_path), f"hand.model={hand_model}"]
    rows = pd.read_csv(tmp_path / "mine.csv")
    rows = rows[rows["label"] == "nothing"].assign(label=["A", "A", "B", "B"])
    rows.to_csv(tmp_path / "mine.csv", index=False)
    file = tmp_path / "joints.csv"
    assert main(["joints", str(file), *given]) == 2
    assert "no hand was found in any of 4 images" in capsys.readouterr().err
    assert not file.exists()


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["joints"], "joints: give one file to write, not 0"),
        (["joints", "a.csv", "b.csv"], "joints: give one file to write, not 2"),
        (["joints", "a.csv", "--vido", "b.mp4"], "joints: no option '--vido'; did you mean '--vid"),
        (["joints", "a.csv", "--label", "A"], "--label A belongs to a recording; give --video"),
        (["joints", "a.csv", "--video", "b.mp4"], "--video b.mp4 has no --label; give the letter"),
        (["joints", "a.csv", "--video", "b.mp4", "--label", "A"], "there is no file 'b.mp4'"),
        (["joints", "a.csv", "--video", "~no/b", "--label", "A"], "there is no file '~no/b'"),
        (["joints", "a.csv", "--drawn", "none"], "--drawn: got 'none'; must be a number"),
        (["joints", "a.csv", "--drawn"], "--drawn: got ''; must be a number of signers"),
        (
            ["joints", "a.csv", "--drawn", "2", "--video", "b.mp4"],
            "give --drawn or --video, not both",
        ),
        (["joints", "a.csv", "--every", "no"], "--every: got 'no'; must be a number of seconds"),
        (["joints", "a.csv", "hand.model=none.task"], "hand.model: there is no file 'none.task'"),
        (["joints", "/proc/a.csv", "hand.model=none.task"], "'/proc/a.csv' cannot be written"),
        (["joints", "/proc/b/a.csv", "hand.model=none.task"], "'/proc/b/a.csv' cannot be written"),
    ],
)
def test_what_is_wrong_with_the_command_is_said(
    arguments: list[str], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert fault in capsys.readouterr().err


def test_another_ending_is_refused_before_hands_are_looked_for(
    tmp_path: Path, photos: Path, hand_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "joints.xlsx"
    given = [*data_of(photos, tmp_path), f"hand.model={hand_model}"]
    assert main(["joints", str(file), *given]) == 2
    assert ".csv, .csv.gz or .parquet" in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()

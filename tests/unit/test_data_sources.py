"""Folders, manifests, the Kaggle set and external sets: what is listed, what is refused."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from made_images import class_folder, listed_in, manifest, picture, refused, save
from PIL import Image

from asl_exp.config.errors import DataError
from asl_exp.config.schema import DataConfig, SyntheticConfig
from asl_exp.data.sources.selection import check_source, list_images

# --- a folder per class


def test_a_folder_is_listed_by_class_at_any_depth(tmp_path: Path) -> None:
    root = class_folder(tmp_path / "photos", "AB", each=2)
    save(picture(9), root / "A" / "more" / "ä b.PNG")
    (root / "A" / ".hidden.jpg").touch()
    (root / "A" / "notes.txt").touch()
    images = list_images(DataConfig(source="folder", root=str(root))).images
    assert images["key"].tolist() == [
        "A/A0.jpg",
        "A/A1.jpg",
        "A/more/ä b.PNG",
        "B/B0.jpg",
        "B/B1.jpg",
    ]
    assert images["label"].tolist() == ["A", "A", "A", "B", "B"]
    assert set(images["source"]) == {"photos"}
    assert all(Path(path).is_file() for path in images["path"])


@pytest.mark.parametrize(
    "root", [".", "./", "../photos", ".//", "{above}/photos/", "//{above}/photos"]
)
def test_keys_are_below_the_folder_however_it_is_written(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(class_folder(tmp_path / "photos", "AB", each=1))
    given = DataConfig(source="folder", root=root.format(above=tmp_path))
    images = list_images(given).images
    assert images["key"].tolist() == ["A/A0.jpg", "B/B0.jpg"]
    assert all(Path(path).is_file() for path in images["path"])


def test_links_that_loop_are_entered_once(tmp_path: Path) -> None:
    root = class_folder(tmp_path, "AB", each=2)
    (root / "A" / "up").symlink_to(root / "A", target_is_directory=True)
    (root / "B" / "self").symlink_to(root / "B" / "self")
    assert len(list_images(DataConfig(source="folder", root=str(root))).images) == 4


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ([], "has nothing in it; it must have a sub-folder per class"),
        (["a.txt"], "has 1 other files in it"),
        (["a.jpg", "b.jpg"], "has 2 images but no sub-folders"),
        (["A/a.jpg", "B/"], "B is empty"),
        (["A/a.jpg", "B/b.txt"], r"B has 1 files (.txt) but no image; read are"),
    ],
)
def test_folders_without_images_are_refused(made: list[str], message: str, tmp_path: Path) -> None:
    for name in made:
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if name.endswith("/") else path.touch()
    (tmp_path / "root").mkdir(exist_ok=True)
    said = refused(DataConfig(source="folder", root=str(tmp_path / "root")))
    assert said.startswith("data.root: ")
    assert message in said


def test_a_missing_folder_names_what_is_there(tmp_path: Path) -> None:
    class_folder(tmp_path / "photos")
    (tmp_path / ".git").mkdir()
    said = refused(DataConfig(source="folder", root=str(tmp_path / "fotos")))
    assert "did you mean 'photos'?" in said
    assert f"there is no folder '{tmp_path / 'fotos'}'" in said
    assert said.endswith(f"{tmp_path} has photos")


def test_many_files_of_another_type_are_refused_without_opening_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening each would take minutes on a network's disk."""
    opened: list[object] = []
    monkeypatch.setattr(Image, "open", lambda file, *_, **__: opened.append(file))
    (tmp_path / "A").mkdir()
    for number in range(20_000):
        os.close(os.open(tmp_path / "A" / f"{number}.txt", os.O_CREAT))
    said = refused(DataConfig(source="folder", root=str(tmp_path)))
    assert "has 20000 files (.txt) but no image" in said
    assert not opened


# --- a manifest


def test_a_manifest_is_relative_to_its_own_folder(tmp_path: Path) -> None:
    save(picture(1), tmp_path / "set" / "ä b.jpg")
    save(picture(2), tmp_path / "set" / "c.jpg")
    given = listed_in(tmp_path / "set" / "m.csv", "path,label,group", "ä b.jpg,A,g1", "c.jpg,NA,g2")
    images = list_images(given).images
    assert images["label"].tolist() == ["A", "NA"]
    assert images["group"].tolist() == ["g1", "g2"]
    assert set(images["source"]) == {"m"}
    check_source(given)


def test_a_manifest_that_is_not_there(tmp_path: Path) -> None:
    said = refused(DataConfig(source="manifest", manifest=str(tmp_path / "m.csv")))
    assert "there is no file" in said
    assert "is empty; it needs the columns" in refused(listed_in(tmp_path / "e.csv", ""))
    assert "is a folder" in refused(DataConfig(source="manifest", manifest=str(tmp_path)))


def test_missing_images_are_counted_before_any_is_read(tmp_path: Path) -> None:
    given = listed_in(tmp_path / "m.csv", "path,label", "a.jpg,A", "b.jpg,B")
    said = refused(given)
    assert said.startswith("2 of 2 images are not there")
    assert "data.max_unreadable=2" in said
    check_source(given.model_copy(update={"max_unreadable": 2}))


def test_sources_and_external_sets_come_from_the_column(tmp_path: Path) -> None:
    lines = [f"{source}{label}.jpg,{label},{source}" for source in "xyz" for label in "ABC"]
    given = listed_in(tmp_path / "m.csv", "path,label,source", *lines)
    listing = list_images(given.model_copy(update={"external": ["z"], "classes": "A-B"}))
    assert set(listing.images["source"]) == {"x", "y"}
    assert listing.classes == ("A", "B")
    assert listing.external["z"]["key"].tolist() == ["zA.jpg", "zB.jpg"]
    chosen = list_images(given.model_copy(update={"sources": ["y"]}))
    assert set(chosen.images["source"]) == {"y"}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"sources": ["w"]}, "data.sources: no image is of the source 'w'"),
        ({"sources": ["set_y"]}, "did you mean 'set_x'?"),
        ({"external": ["w"]}, "data.external: 'w' is no source of the manifest (set_x"),
        ({"external": ["set_x"]}, "nothing is left to train on"),
        ({"classes": ["A", "Q"]}, "data.classes: no image is labelled Q"),
        ({"split": "column"}, "has no column split"),
    ],
)
def test_names_that_are_not_there(keys: dict[str, Any], message: str, tmp_path: Path) -> None:
    save(picture(1), tmp_path / "a.jpg")
    save(picture(2), tmp_path / "b.jpg")
    given = listed_in(tmp_path / "m.csv", "path,label,source", "a.jpg,A,set_x", "b.jpg,B,set_x")
    assert message in refused(given.model_copy(update=keys))


# --- external sets


def test_external_folders_and_manifests_have_their_own_names(tmp_path: Path) -> None:
    inside = class_folder(tmp_path / "in", "AB")
    folder = class_folder(tmp_path / "out", "BC")
    csv = manifest(tmp_path / "far.csv", ["path,label", "out/B/B0.jpg,B"])
    listing = list_images(
        DataConfig(source="folder", root=str(inside), external=[str(folder), str(csv)])
    )
    assert {name: len(rows) for name, rows in listing.external.items()} == {"out": 6, "far": 1}


def test_external_sets_without_a_class_of_ours_or_with_one_name(tmp_path: Path) -> None:
    inside = class_folder(tmp_path / "in", "AB")
    other = class_folder(tmp_path / "out", "XY")
    given = DataConfig(source="folder", root=str(inside), external=[str(other)])
    assert "'out' has no image of the classes A, B; its labels are X, Y" in refused(given)
    for name in ("out", "OUT", "out."):
        twin = class_folder(tmp_path / "b" / name, "AB")
        both = given.model_copy(update={"external": [str(other), str(twin)]})
        assert "would all be called 'out'" in refused(both)


def test_links_that_lead_nowhere_are_named_as_links(tmp_path: Path) -> None:
    folder = class_folder(tmp_path / "in", "AB")
    (folder / "A" / "x.jpg").symlink_to("nowhere.jpg")
    given = DataConfig(source="folder", root=str(folder))
    with pytest.raises(DataError, match=r"A/x.jpg; remove the links that lead nowhere, or allow"):
        check_source(given)


# --- the Kaggle set


def kaggle(root: Path, numbers: list[int]) -> Path:
    inner = root / "asl_alphabet_train" / "asl_alphabet_train"
    for name in ("A", "del"):
        for number in numbers:
            (inner / name).mkdir(parents=True, exist_ok=True)
            (inner / name / f"{name}{number}.jpg").touch()
    return root


@pytest.mark.parametrize(
    "below", ["", "asl_alphabet_train", "asl_alphabet_train/asl_alphabet_train"]
)
def test_kaggle_frames_are_grouped_by_session(below: str, tmp_path: Path) -> None:
    root = kaggle(tmp_path, [1, 1000, 1001, 2000, 2001, 2500, 2501, 3000])
    given = DataConfig(source="asl_alphabet", root=str(root / below), classes=["A", "del"])
    images = list_images(given).images
    groups = dict(zip(images["key"], images["group"], strict=True))
    assert [groups[f"A/A{n}.jpg"] for n in (1, 1000, 1001, 2000)] == [
        "kaggle_s1", "kaggle_s1", "kaggle_s2", "kaggle_s2",
    ]  # fmt: skip
    assert [groups[f"del/del{n}.jpg"] for n in (2001, 2500, 2501, 3000)] == [
        "kaggle_s3", "kaggle_s3", "kaggle_s4", "kaggle_s4",
    ]  # fmt: skip
    assert set(images["source"]) == {"kaggle_asl_alphabet"}


def test_kaggle_files_without_frame_numbers_are_refused(tmp_path: Path) -> None:
    root = class_folder(tmp_path, "AB", each=1)
    save(picture(1), root / "A" / "me.jpg")
    said = refused(DataConfig(source="asl_alphabet", root=str(root)))
    assert "1 files" in said
    assert "have no frame number (A/me.jpg)" in said


def test_kaggle_without_a_copy_or_kagglehub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    said = refused(DataConfig(source="asl_alphabet"))
    assert "kagglehub, which fetches the set, is not installed" in said
    assert "pip install asl-exp[kaggle]" in said


def test_kaggle_is_fetched_by_kagglehub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import kagglehub

    root = kaggle(tmp_path, [1, 1500])
    monkeypatch.setattr(kagglehub, "dataset_download", lambda handle: str(root))
    listing = list_images(DataConfig(source="asl_alphabet", classes=["A", "del"]))
    assert sorted(set(listing.images["group"])) == ["kaggle_s1", "kaggle_s2"]

    def offline(handle: str) -> str:
        raise ConnectionError(f"no route for {handle}")

    monkeypatch.setattr(kagglehub, "dataset_download", offline)
    with pytest.raises(DataError, match=r"could not be fetched from Kaggle: no route"):
        list_images(DataConfig(source="asl_alphabet"))


# --- the embedded signer


def test_synthetic_signers_are_groups_and_the_external_ones_others() -> None:
    few = SyntheticConfig(signers=3, images_per_letter=2, external_signers=2)
    listing = list_images(DataConfig(synthetic=few, classes="A-C", external=["synthetic_external"]))
    assert len(listing.images) == 3 * 3 * 2
    assert listing.images["group"].nunique() == 3
    external = listing.external["synthetic_external"]
    assert len(external) == 2 * 3 * 2
    assert not set(external["group"]) & set(listing.images["group"])


def test_synthetic_names_that_it_does_not_have() -> None:
    assert "has no class 'thumb'" in refused(DataConfig(classes=["A", "thumb"]))
    none = SyntheticConfig(external_signers=0)
    said = refused(DataConfig(synthetic=none, external=["synthetic_external"]))
    assert "data.synthetic.external_signers=0" in said


def test_listing_needs_no_torch() -> None:
    import subprocess

    modules = "asl_exp.data.sources.selection, asl_exp.data.dataset"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"

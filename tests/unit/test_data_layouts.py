"""What a folder of folders means: layouts that are read as what they are, and those refused."""

import gzip
import os
import shutil
import unicodedata
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from made_images import listed_in, picture, refused, save

from asl_exp.config.errors import DataError
from asl_exp.config.schema import DataConfig, HandConfig
from asl_exp.data.dataset import load_letters
from asl_exp.data.decode import SUFFIXES
from asl_exp.data.sources.listing import Listing
from asl_exp.data.sources.selection import check_source, followed, list_images


def made(root: Path, *folders: str, each: int = 3, name: str = "") -> Path:
    """Put a few images into each folder."""
    for folder in folders:
        for number in range(each):
            seed = crc32(f"{folder}/{number}".encode())
            save(picture(seed), root / folder / f"{name or 'i'}{number}.png")
    return root


def given(root: Path, **keys: Any) -> DataConfig:
    return DataConfig(source="folder", root=str(root), cache_dir=str(root / ".cache"), **keys)


def listed(root: Path, **keys: Any) -> Listing:
    return list_images(given(root, **keys))


# --- splits


@pytest.mark.parametrize(
    "names",
    [
        ("train", "valid", "test"),
        ("train", "val", "test"),
        ("Training", "Validation", "Testing"),
        ("asl_train", "asl_dev", "asl_test"),
        ("train set", "validation set", "test set"),
        ("export/train", "export/valid", "export/test"),
        ("trainset", "valset", "testset"),
        ("train_images", "val_images", "test_images"),
        ("01_TRAIN", "02_VAL", "03_TEST"),
        ("Train_Alphabet", "Dev_Alphabet", "Test_Alphabet"),
        ("train/images", "valid/images", "test/images"),
        ("ASLTrain", "ASLVal", "ASLTest"),
        ("trainA", "valA", "testA"),
        ("TRAIN", "vAL", "tEsT"),
        ("asl_tRain", "asl_vaLid", "asl_tesT"),
        ("entrenamiento", "validación", "prueba"),
        ("Treino", "Validacao", "Teste"),
    ],
)
def test_folders_of_splits_are_splits(names: tuple[str, ...], tmp_path: Path) -> None:
    made(tmp_path, *(f"{name}/{letter}" for name in names for letter in "ABC"))
    listing = listed(tmp_path)
    assert listing.classes == ("A", "B", "C")
    assert listing.images["split"].value_counts().to_dict() == {"train": 9, "val": 9, "test": 9}
    assert followed(given(tmp_path), listing).split == "column"
    assert any("are splits: data.split=column" in note for note in listing.notes)


@pytest.mark.parametrize("below", ["{s}", "p1/{s}", "anna/day 2/{s}", "{s}/p1", "p1/{s}/raw"])
def test_splits_below_the_classes_are_splits(below: str, tmp_path: Path) -> None:
    splits = ("train", "val", "test")
    made(tmp_path, *(f"{letter}/{below.format(s=s)}" for letter in "ABC" for s in splits))
    listing = listed(tmp_path)
    assert any("below the classes are splits: data.split=column" in n for n in listing.notes)
    assert listing.classes == ("A", "B", "C")
    assert set(listing.images["split"]) == {"train", "val", "test"}


@pytest.mark.parametrize(
    ("beside", "named"), [("", "i0.png"), ("extra", "extra"), ("p2/more", "p2")]
)
def test_images_beside_splits_below_a_class_are_refused(
    beside: str, named: str, tmp_path: Path
) -> None:
    made(tmp_path, *(f"{c}/{s}" for c in "AB" for s in ("train", "test")), f"B/{beside}")
    assert f"B' has images beside its folders test, train, such as {named}" in refused(
        given(tmp_path)
    )


def test_a_person_called_like_a_split_is_none(tmp_path: Path) -> None:
    made(tmp_path, *(f"{letter}/{name}" for letter in "AB" for name in ("dev", "anna", "val")))
    assert set(listed(tmp_path).images["split"]) == {""}


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        (["train/A", "train/B", "test/A", "test/B", "backup/A", "backup/B"],
         "of these test, train look like splits"),
        (["rgb/A", "rgb/B", "depth/A", "depth/B"], "look like versions of the same images"),
        (["raw/A", "raw/B", "processed/A", "processed/B"], "look like versions of the same"),
        (["original/0", "original/1", "resized/0", "resized/1"], "look like versions of the same"),
        (["train", "valid", "test"], "has 3 images but no class folders"),
        (["train/images", "test/images"], "has 3 images but no class folders"),
        (["images/train", "images/val"], "has 6 images but no class folders"),
        (["A", "B", "C", "asl/A", "asl/B"], "hardly classes: asl beside A, B, C"),
        (["A", "B", "asl/A", "asl/B"], "hardly classes: asl beside A, B"),
        (["asl/A", "asl/B", "asl (1)/A", "asl (1)/B"], "asl (1) look like versions of the same"),
        (["asl/A", "asl/B", "asl - Copy/A", "asl - Copy/B"], "asl - Copy look like versions"),
        (["A/rgb", "A/depth", "B/rgb", "B/depth"], "depth, rgb, which look like versions of the"),
        (["2024-01-01", "2024-01-02"], "none of them is a class"),
        (["20240101", "20240102 night"], "none of them is a class"),
        (["signer1", "signer2"], "none of them is a class"),
        (["A1", "A2", "B1", "B2"], "of which A1, A2 look like one letter, A"),
        (["a-anna", "a-bo", "b-anna", "b-bo"], "of which a-anna, a-bo look like one letter, a"),
        (["64x64/A", "64x64/B", "128x128/A", "128x128/B"], "look like versions of the same images"),
        (["images/A", "images/B", "flipped/A", "flipped/B"], "look like versions of the same"),
        (["80/A", "80/B", "20/A", "20/B"], "these 20, 80 look like the shares of a split"),
        (["70%/A", "70%/B", "30%/A", "30%/B"], "30%, 70% look like the shares of a split"),
        (["60_percent/A", "60_percent/B", "40_percent/A", "40_percent/B"], "shares of a split"),
        (["ASL/A", "ASL/B", "BSL/A", "BSL/B"], "these ASL, BSL look like sign languages"),
        (["ISL letters/A", "ISL letters/B", "asl_letters/A", "asl_letters/B"], "sign languages"),
        (["libras/A", "libras/B", "anna/A", "anna/B", "DGS/A", "DGS/B"], "these DGS, libras look"),
        (["mine/A", "mine/B", "rotated images/A", "rotated images/B"], "these rotated images lo"),
        (["with_bg/A", "with_bg/B", "no_bg/A", "no_bg/B"], "look like versions of the same"),
        (["A/orig", "A/flip", "B/orig", "B/flip"], "flip, orig, which look like versions of the"),
        (["hello/1", "hello/2", "thanks/1", "thanks/2", "yes/1", "yes/2"], "which are the classes"),
        (["A_0", "B_0", "B_1", "C"], "of which B_0, B_1 look like one letter, B"),
        ([f"{p}/{w}" for p in ("ann", "bob") for w in ("hello", "thanks", "yes")],
         "folders ann, bob, and each of them hello, thanks, yes; which are the classes"),
        ([f"{w}/{p}" for p in ("ann", "bob") for w in ("hello", "thanks", "yes")],
         "folders hello, thanks, yes, and each of them ann, bob; which are the classes"),
        ([f"{p}/{w}" for p in ("ann", "bob", "cid") for w in ("alif", "ba")], "which are the cla"),
    ],
)  # fmt: skip
def test_what_lies_above_classes_and_is_no_group_is_refused(
    folders: list[str], said: str, tmp_path: Path
) -> None:
    made(tmp_path, *folders)
    assert said in refused(given(tmp_path))


LETTERS_OF_SCRIPTS = ["\u0623\u0628\u062a\u062b", "\u0905\u0906\u0907", "\u3042\u3044\u3046"]
LETTERS_OF_SCRIPTS += ["\u0416\u0411\u0413\u0414\u0419", "\u0e01\u0e02", "\uac00\ub098\ub2e4"]


@pytest.mark.parametrize("letters", LETTERS_OF_SCRIPTS, ids=ascii)
def test_letters_of_any_script_below_people_are_the_classes(letters: str, tmp_path: Path) -> None:
    people = ("ann", "bob", "cid")
    for form in ("NFC", "NFD"):
        names = [unicodedata.normalize(form, letter) for letter in letters]
        shutil.rmtree(tmp_path)
        made(tmp_path, *(f"{person}/{letter}" for person in people for letter in names))
        listing = listed(tmp_path)
        assert len(listing.classes) == len(letters)
        assert set(listing.images["group"]) == set(people)


@pytest.mark.parametrize("below", [("signer1", "signer2"), ("day", "night")])
def test_words_above_people_or_parts_are_the_classes(
    below: tuple[str, ...], tmp_path: Path
) -> None:
    made(tmp_path, *(f"{word}/{one}" for word in ("hello", "thanks", "yes") for one in below))
    assert listed(tmp_path).classes == ("hello", "thanks", "yes")


def test_words_are_the_classes_where_they_are_named(tmp_path: Path) -> None:
    made(tmp_path, *(f"{p}/{w}" for p in ("ann", "bob") for w in ("hello", "thanks", "yes")))
    assert set(listed(tmp_path, classes=["hello", "yes"]).images["group"]) == {"ann", "bob"}
    assert set(listed(tmp_path, classes=["ann", "bob"]).images["label"]) == {"ann", "bob"}


def test_numbers_of_more_than_three_people_may_add_up_to_100(tmp_path: Path) -> None:
    made(tmp_path, *(f"{number}/{letter}" for number in (10, 20, 30, 40) for letter in "AB"))
    assert set(listed(tmp_path).images["group"]) == {"10", "20", "30", "40"}


@pytest.mark.parametrize(
    "parts",
    [
        ("fold1", "fold2"),
        ("part_0", "part_1"),
        ("Batch 1", "Batch 2"),
        ("left", "right"),
        ("left_hand", "right_hand"),
        ("day", "night"),
        ("male", "female"),
        ("front", "side", "top"),
        ("iphone", "webcam", "kinect"),
    ],
)
def test_parts_do_not_say_who_is_in_them(parts: tuple[str, ...], tmp_path: Path) -> None:
    made(tmp_path, *(f"{part}/{letter}" for part in parts for letter in "ABC"))
    listing = listed(tmp_path)
    assert listing.classes == ("A", "B", "C")
    assert set(listing.images["group"]) == {""}
    assert any("do not say who is in them" in note for note in listing.notes)


@pytest.mark.parametrize(
    "folders",
    [
        ("A-B/A", "A-B/B", "C-D/C", "C-D/D"),
        ("part1/A", "part1/B", "part2/C", "part2/D"),
        ("vowels/A", "consonants/B", "consonants/C", "consonants/D"),
        ("letters/A", "letters/B", "letters/C", "letters/D", "digits/1", "digits/2"),
        ("static/A", "static/B", "static/C", "static/D", "dynamic/J", "dynamic/Z"),
    ],
)
def test_folders_of_different_classes_are_parts(folders: tuple[str, ...], tmp_path: Path) -> None:
    made(tmp_path, *folders)
    listing = listed(tmp_path)
    assert set(listing.classes) == {folder.rpartition("/")[2] for folder in folders}
    data = load_letters(given(tmp_path), image_size=16, interpolation="bilinear", seed=0)
    assert data.caution == "groups unknown: may leak"


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (["p{p}/sess1/{l}", "p{p}/sess2/{l}"], {""}),
        (["p{p}/train/{l}", "p{p}/test/{l}"], {"train", "test"}),
        (["train/p{p}/{l}", "test/p{p}/{l}"], {"train", "test"}),
        (["anna{p}/{l}/video1", "anna{p}/{l}/video2"], {""}),
        (["left/p{p}/{l}", "right/p{p}/{l}"], {""}),
        (["right/anna{p}/{l}", "left/anna{p}/{l}"], {""}),
        (["day/studio/anna{p}/{l}", "night/studio/anna{p}/{l}"], {""}),
        (["session1/p{p}/{l}", "session2/p{p}/{l}"], {""}),
        (["2024-01-01/anna{p}/{l}", "2024-02-01/anna{p}/{l}"], {""}),
        (["session1/{l}/user{p}", "session2/{l}/user{p}"], {""}),
        (["studio/signer{p}/{l}", "garden/signer{p}/{l}"], {""}),
    ],
)
def test_people_are_groups_whatever_lies_between(
    folders: list[str], splits: set[str], tmp_path: Path
) -> None:
    made(tmp_path, *(f.format(p=p, l=c) for f in folders for p in (1, 2, 3) for c in "ABC"), each=1)
    images = listed(tmp_path).images
    assert set(images["label"]) == set("ABC")
    assert {group[-1] for group in images["group"]} == {"1", "2", "3"}
    assert set(images["split"]) == splits


@pytest.mark.parametrize(
    "folders",
    [
        ("{l}/p{p}/session1", "{l}/p{p}/session2"),
        ("{l}/session1/user {p}", "{l}/session2/user {p}"),
        ("{l}/left/anna{p}", "{l}/right/anna{p}"),
        ("{l}/anna{p}/1", "{l}/anna{p}/2"),
        ("{l}/2024-01-01/s{p}", "{l}/2024-03-01/s{p}"),
        ("day/{l}/anna{p}", "night/{l}/anna{p}"),
        ("{l}/studio/anna{p}",),
    ],
)
def test_people_below_letters_are_recognised_and_not_cut(
    folders: tuple[str, ...], tmp_path: Path
) -> None:
    made(tmp_path, *(f.format(p=p, l=c) for f in folders for p in range(4) for c in "ABC"), each=1)
    data = load_letters(given(tmp_path), image_size=16, interpolation="bilinear", seed=0)
    assert data.caution == "groups: inferred from folders: 4"
    people = [set(split.table["group"]) for split in data.splits.values()]
    assert sum(map(len, people)) == 4


def test_of_people_and_rooms_without_a_word_for_either_none_is_cut(tmp_path: Path) -> None:
    people, rooms = ("anna", "bo", "eve", "kim"), ("studio", "garden")
    made(tmp_path, *(f"{c}/{r}/{p}" for c in "ABC" for p in people for r in rooms))
    data = load_letters(given(tmp_path), image_size=16, interpolation="bilinear", seed=0)
    assert data.caution == "groups unknown: may leak"


@pytest.mark.parametrize("names", [("train", "test"), ("train", "valid")])
def test_a_split_that_is_lacking_is_taken_from_train(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    made(tmp_path, *(f"{name}/{letter}" for name in names for letter in "AB"), each=12)
    data = load_letters(given(tmp_path), image_size=16, interpolation="bilinear", seed=0)
    assert data.split_rule == "column"
    assert all(len(np.unique(split.labels)) == 2 for split in data.splits.values())
    held = "test" if "test" in names else "val"
    assert all(f"/{names[1]}/" in path for path in data.splits[held].table["path"])
    assert data.caution == "groups unknown: may leak"


# --- Kaggle's nesting, versions, one folder around the classes


def kaggle(root: Path) -> Path:
    inner = "asl_alphabet_train/asl_alphabet_train"
    made(root, *(f"{inner}/{letter}" for letter in "ABC"))
    for letter in "ABC":
        save(picture(ord(letter)), root / f"asl_alphabet_test/asl_alphabet_test/{letter}_test.jpg")
    return root


def test_the_kaggle_nesting_is_gone_down_and_its_flat_test_folder_is_named(tmp_path: Path) -> None:
    listing = listed(kaggle(tmp_path))
    assert listing.classes == ("A", "B", "C")
    assert len(listing.images) == 9
    assert any("asl_alphabet_test' has 3 images" in note for note in listing.notes)


@pytest.mark.parametrize(
    "below", ["asl_alphabet_test", "asl_alphabet_test/asl_alphabet_test"], ids=["outer", "inner"]
)
def test_a_flat_test_folder_is_an_external_set(below: str, tmp_path: Path) -> None:
    root = kaggle(tmp_path)
    external = listed(root, external=[str(root / below)]).external["asl_alphabet_test"]
    assert external["label"].tolist() == ["A", "B", "C"]


@pytest.mark.parametrize("names", [["A_1.png", "x9.png"], ["hand.png"], ["a_test.png"]])
def test_a_flat_folder_without_letters_in_its_names_is_refused(
    names: list[str], tmp_path: Path
) -> None:
    made(tmp_path / "in", "A", "B")
    for place, name in enumerate(names):
        save(picture(place), tmp_path / "out" / name)
    said = refused(given(tmp_path / "in", external=[str(tmp_path / "out")]))
    assert "no class begins the names of 1 of them" in said


@pytest.mark.parametrize(
    "above",
    ["asl-alphabet/versions/1", "versions/1", "data", "a/b/c", "asl_alphabet_train", "photos 1"],
)
def test_folders_around_the_classes_are_gone_down(above: str, tmp_path: Path) -> None:
    made(tmp_path, *(f"{above}/{letter}" for letter in "AB"))
    assert listed(tmp_path).classes == ("A", "B")


def test_of_several_versions_the_newest_is_read(tmp_path: Path) -> None:
    made(tmp_path, *(f"versions/{number}/{letter}" for number in (2, 10) for letter in "AB"))
    listing = listed(tmp_path)
    assert listing.classes == ("A", "B")
    assert set(listing.images["key"].str.split("/").str[1]) == {"10"}


# --- signers above letters


@pytest.mark.parametrize(
    ("signers", "letters"),
    [
        (("A", "B", "C", "D", "E"), tuple("abcdefghikl")),
        (("signer1", "signer2", "signer3"), tuple("ABC")),
        (("anna", "bob", "eve"), tuple("ABCDEF")),
        (("p1", "p2", "p3"), ("hello", "thanks", "yes", "no")),
        (("user_3", "user_7", "user_9"), tuple("012345")),
        (("set1/s1", "set1/s2", "set1/s3"), tuple("ABCD")),
    ],
)
def test_signers_above_letters_are_groups(
    signers: tuple[str, ...], letters: tuple[str, ...], tmp_path: Path
) -> None:
    made(tmp_path, *(f"{signer}/{letter}" for signer in signers for letter in letters), each=1)
    listing = listed(tmp_path)
    assert set(listing.classes) == set(letters)
    assert set(listing.images["group"]) == {signer.rpartition("/")[2] for signer in signers}
    assert any("are groups" in note for note in listing.notes)


def test_signers_with_letters_of_their_own_are_groups(tmp_path: Path) -> None:
    made(tmp_path, "s1/A", "s1/B", "s2/C", "s2/D")
    images = listed(tmp_path).images
    assert sorted(set(images["label"] + images["group"])) == ["As1", "Bs1", "Cs2", "Ds2"]


@pytest.mark.parametrize(
    ("letters", "below"),
    [(tuple("ABCDEFGH"), ("a", "b", "c")), (tuple("ABC"), ("anna", "bob")),
     (("hello", "thanks"), ("p1", "p2")), (tuple("ABCD"), ("1", "2", "3")),
     (tuple("AB"), ("session 1", "session 2"))],
)  # fmt: skip
def test_letters_above_people_stay_letters(
    letters: tuple[str, ...], below: tuple[str, ...], tmp_path: Path
) -> None:
    made(tmp_path, *(f"{letter}/{one}" for letter in letters for one in below))
    assert set(listed(tmp_path).classes) == set(letters)


def test_what_could_be_either_is_refused_with_what_was_seen(tmp_path: Path) -> None:
    made(tmp_path, *(f"{outer}/{inner}" for outer in ("red", "blue") for inner in ("big", "small")))
    said = refused(given(tmp_path))
    assert "has the folders blue, red, and each of them big, small" in said
    assert "data.classes=[...]" in said
    assert set(listed(tmp_path, classes=["big", "small"]).images["group"]) == {"red", "blue"}
    assert set(listed(tmp_path, classes=["red", "blue"]).images["group"]) == {""}


# --- folders that are no classes


@pytest.mark.parametrize(
    "name",
    ["logs", "@eaDir", "__MACOSX", ".git", "lightning_logs", "#recycle", "lost+found", "@tmp",
     "#snapshot", "@Recycle", "Network Trash Folder", "tb_logs", "FOUND.000"],
)  # fmt: skip
def test_folders_of_programs_are_passed_over(name: str, tmp_path: Path) -> None:
    made(tmp_path, "A", "B", name, f"A/{name}")
    for junk in ("Thumbs.db", ".DS_Store", "desktop.ini", "A/._A1.jpg", "A/Thumbs.db"):
        (tmp_path / junk).touch()
    listing = listed(tmp_path)
    assert listing.classes == ("A", "B")
    assert len(listing.images) == 6
    assert not listing.notes


@pytest.mark.parametrize(
    "name",
    [
        "backup",
        "figures",
        "test",
        "asl_alphabet_test",
        "New folder",
        "A - Copy",
        "B (2)",
        "samples",
        "A_augmented",
        "checkpoints",
        "_deleted",
        "trainset",
        "Thumbnails", "A 2", "photos", "thumbs", "results_old", "New Folder (2)", "Новая папка",
        "A - Kopie", "Copia de B", "old_A", "A.bak", "A (Bo's conflicted copy)", "B_left",
        "2024-01-01", "signer1", "session_2", "unlabelled", "saved_models", "to_check", "B.zip",
    ],
)  # fmt: skip
def test_folders_that_are_hardly_classes_are_refused(name: str, tmp_path: Path) -> None:
    made(tmp_path, "A", "B", name)
    said = refused(given(tmp_path))
    assert f"has folders that are hardly classes: {name} beside A, B" in said
    assert listed(tmp_path, classes=["A", "B"]).classes == ("A", "B")


def test_words_beside_letters_are_named(tmp_path: Path) -> None:
    made(tmp_path, "A", "B", "C", "I", "Dad", "I love you", "nothing", "blank", "space")
    (note,) = listed(tmp_path).notes
    assert "beside letters these folders are classes: Dad, I love you;" in note
    assert not listed(tmp_path, classes=["A", "B", "C", "Dad"]).notes


def test_files_of_other_types_are_counted_by_type(tmp_path: Path) -> None:
    made(tmp_path, "A", "B")
    for name in ("A/1.heif_", "A/IMG_1.HEIC", "A/2.xyz", "B/3.xyz", "B/notes", "readme.txt"):
        (tmp_path / name).touch()
    (note,) = listed(tmp_path).notes
    assert "not read, as they are no images: " in note
    if ".heic" not in SUFFIXES:
        assert "1 .heic" in note
        assert note.endswith("HEIC is read where pillow-heif is installed")
    for kind in ("2 .xyz", "1 .heif_", "1 without ending", "1 .txt"):
        assert kind in note


def test_images_beside_the_class_folders_are_counted(tmp_path: Path) -> None:
    made(tmp_path, "A", "B", ".")
    assert any("3 images beside the folders" in note for note in listed(tmp_path).notes)


def test_an_empty_class_that_was_not_asked_for_is_no_fault(tmp_path: Path) -> None:
    made(tmp_path, "A", "B")
    (tmp_path / "C").mkdir()
    assert "C is empty" in refused(given(tmp_path))
    assert listed(tmp_path, classes="A-B").classes == ("A", "B")
    assert "C" in refused(given(tmp_path, classes="A-C"))


# --- labels


@pytest.mark.parametrize(
    ("labels", "named"),
    [
        (("A", "a", "B"), "'A' (3 images) and 'a' (3 images)"),
        (("A", "B", "B "), "'B' (3 images) and 'B ' (3 images)"),
        (("A", "B", " B"), "'B' (3 images)"),
        (("space", "Space", "A"), "'Space' (3 images) and 'space' (3 images)"),
        (("é", "e\u0301", "A"), "(3 images)"),
        (("\uff21", "A", "B"), "(3 images)"),
        (("A", "A\u200b", "B"), "'A' (3 images) and 'A\\u200b' (3 images)"),
        (("A", "\ufeffA", "B"), "'A' (3 images) and '\\ufeffA' (3 images)"),
        (("A", "A\u00ad", "B"), "(3 images)"),
        (("A", "\u0410", "B"), "'\u0410' U+0410 (3 images)"),
        (("A", "\u0391", "B"), "'\u0391' U+0391 (3 images)"),
        (("A", "B", "'B'"), "\"'B'\" (3 images)"),
        (("A", "B", "B."), "'B.' (3 images)"),
        (("A", "B", "B~"), "'B~' (3 images)"),
        (("1", "1.0", "2"), "'1' (3 images) and '1.0' (3 images)"),
    ],
)
def test_labels_that_people_take_for_one_are_refused(
    labels: tuple[str, ...], named: str, tmp_path: Path
) -> None:
    made(tmp_path, *labels)
    said = refused(given(tmp_path))
    assert "only in case or blanks" in said
    assert named in said


@pytest.mark.parametrize(
    ("label", "codes"),
    [
        ("A\u200d", "U+200D"), ("\u200bA", "U+200B"), ("\ufeffA", "U+FEFF"), ("A\u00ad", "U+00AD"),
        ("A\ufe0f", "U+FE0F"), ("A\U000e0101", "U+E0101"), ("d\u2060el", "U+2060"),
        ("A\u3164", "U+3164"), ("A\u202e", "U+202E"), ("\u200f\u3042", "U+200F"),
        ("\u200d\ufe0f", "U+200D, U+FE0F"),
    ],
)  # fmt: skip
def test_a_class_of_which_a_part_cannot_be_seen(label: str, codes: str, tmp_path: Path) -> None:
    """Also where no other class looks like it; a manifest's column as well as a folder."""
    folders = made(tmp_path / "in", label, "B")
    rows = [f"{folders / name / file.name},{name}" for name in (label, "B")
            for file in (folders / name).iterdir()]  # fmt: skip
    (tmp_path / "rows.csv").write_text("\n".join(["path,label", *rows]), "utf-8")
    for keys in ({}, {"source": "manifest", "manifest": str(tmp_path / "rows.csv"), "root": None}):
        said = refused(given(folders).model_copy(update=keys))
        assert f"characters that cannot be seen, {codes}: {label!r} (3 images)" in said
        assert "rename the folder, or mend the column label" in said


@pytest.mark.parametrize("label", ["क\u200dष", "می\u200cشود", "❤\ufe0f", "1\ufe0f\u20e3", "é"])
def test_characters_that_mean_something_inside_a_name(label: str, tmp_path: Path) -> None:
    made(tmp_path, label, "B")
    assert label in listed(tmp_path, classes=[label, "B"]).classes


@pytest.mark.parametrize("label", ["a", "A ", " a", "\uff21", "A\u2060", "\u0410", "A."])
def test_external_labels_that_only_look_otherwise_are_refused(label: str, tmp_path: Path) -> None:
    made(tmp_path / "in", "A", "B")
    made(tmp_path / "out", label, "B")
    said = refused(given(tmp_path / "in", external=[str(tmp_path / "out")]))
    assert "data.external: '" in said
    assert "only in case or blanks: 'A'" in said


@pytest.mark.parametrize("place", ["in", "in/more", "link", "in/../in", "."])
def test_an_external_set_is_never_what_is_trained_on(place: str, tmp_path: Path) -> None:
    made(tmp_path / "in", "A", "B", "more/A", "more/C")
    (tmp_path / "link").symlink_to("in")
    said = refused(given(tmp_path / "in", external=[str(tmp_path / place)]))
    assert "data.external: '" in said
    assert "images; an external set is never trained on" in said


def test_copies_among_an_external_set_are_counted_or_refused(tmp_path: Path) -> None:
    made(tmp_path / "in", "A", "B", each=10)
    shutil.copytree(tmp_path / "in", tmp_path / "out")
    config = given(tmp_path / "in", external=[str(tmp_path / "out")])
    with pytest.raises(DataError, match="all 20 images of 'out' are also among the images"):
        load_letters(config, image_size=16, interpolation="bilinear", seed=0)
    save(picture(7), tmp_path / "out" / "A" / "own.png")
    data = load_letters(config, image_size=16, interpolation="bilinear", seed=0)
    assert data.cautions["external/out"] == "20 of 21 images are also among those of the split"


def test_an_external_name_is_not_empty(tmp_path: Path) -> None:
    made(tmp_path, "A", "B")
    assert "data.external: a name is empty" in refused(given(tmp_path, external=[""]))


def test_a_folder_named_like_an_image_is_a_folder(tmp_path: Path) -> None:
    made(tmp_path, "A", "B", "A/x.png", "C.png")
    listing = listed(tmp_path)
    assert listing.classes == ("A", "B", "C.png")
    assert len(listing.images) == 12


def test_external_labels_beyond_the_classes_are_counted(tmp_path: Path) -> None:
    made(tmp_path / "in", "A", "B")
    made(tmp_path / "out", "A", "B", "C", "D")
    listing = listed(tmp_path / "in", external=[str(tmp_path / "out")])
    assert listing.left_out == {"out": "left out: 6 of 12 images, of other labels: C 3, D 3"}


def test_classes_that_are_numbers_are_sorted_as_numbers(tmp_path: Path) -> None:
    made(tmp_path, *(str(number) for number in (10, 2, 0, 1, 33)))
    assert listed(tmp_path).classes == ("0", "1", "2", "10", "33")


# --- places that cannot be read


def test_names_that_are_no_text_are_named(tmp_path: Path) -> None:
    made(tmp_path, "A", "B")
    os.close(os.open(os.fsencode(tmp_path / "A") + b"/\xff.jpg", os.O_CREAT))
    assert "are not UTF-8" in refused(given(tmp_path))
    assert "xff" in refused(given(tmp_path)).lower() or "udcff" in refused(given(tmp_path)).lower()


@pytest.mark.parametrize("target", ["/proc", "/sys", "/dev", "/proc/self/fd", "/proc/self/task"])
def test_links_out_of_the_file_system_are_refused(target: str, tmp_path: Path) -> None:
    made(tmp_path, "A", "B")
    (tmp_path / "A" / "more").symlink_to(target)
    assert f"leads to {Path(target).resolve().parts[0]}" in refused(given(tmp_path))


@pytest.mark.parametrize("root", ["x/" * 2500, "x" * 5000, "a\0b"])
def test_paths_that_no_system_has(root: str) -> None:
    said = refused(DataConfig(source="folder", root=root))
    assert said.startswith("data.root: ")


# --- manifests


@pytest.mark.parametrize(
    ("lines", "encoding"),
    [
        (["path;label", "A/i0.png;A", "B/i0.png;B"], "utf-8"),
        (["path\tlabel", "A/i0.png\tA", "B/i0.png\tB"], "utf-8"),
        (["path|label", "A/i0.png|A", "B/i0.png|B"], "utf-8"),
        (["path,label", "A/i0.png,A", "B/i0.png,B"], "utf-8-sig"),
        (["path,label", "A/i0.png,A", "B/i0.png,B"], "utf-16"),
        (["path,label", "A\\i0.png,A", "B\\i0.png,B"], "utf-8"),
        (["path;label", "A\\i0.png;A ", "B\\i0.png;B "], "utf-8-sig"),
        (["Path,LABEL,Split", "A/i0.png,A,Train", "B/i0.png,B,valid"], "utf-8"),
        (["path,label,", "A/i0.png ,A,", "B/i0.png ,B,"], "utf-8"),
    ],
)
def test_tables_of_other_programs_are_read(lines: list[str], encoding: str, tmp_path: Path) -> None:
    made(tmp_path, "A", "B")
    (tmp_path / "m.csv").write_bytes("\r\n".join(lines).encode(encoding))
    config = DataConfig(source="manifest", manifest=str(tmp_path / "m.csv"))
    check_source(config)
    assert list_images(config).classes == ("A", "B")


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n\n"])
def test_lines_of_any_system_are_read(end: str, tmp_path: Path) -> None:
    made(tmp_path, "A", "B")
    lines = ["path,label", "A/i0.png,A", "B/i0.png,B"]
    (tmp_path / "m.csv").write_bytes(end.join(lines).encode())
    config = DataConfig(source="manifest", manifest=str(tmp_path / "m.csv"))
    assert list_images(config).classes == ("A", "B")


@pytest.mark.parametrize(("encoding", "label"), [("latin-1", "É"), ("cp1251", "Я"), ("big5", "愛")])
def test_a_manifest_in_another_encoding_says_how_to_save_it(
    encoding: str, label: str, tmp_path: Path
) -> None:
    (tmp_path / "m.csv").write_bytes(f"path,label\na.png,{label}\n".encode(encoding))
    said = refused(DataConfig(source="manifest", manifest=str(tmp_path / "m.csv")))
    assert "save it as a CSV in UTF-8" in said


def test_columns_that_are_not_followed_are_named(tmp_path: Path) -> None:
    made(tmp_path, "A", "B")
    lines = ["path,label,Split,signer_id", "A/i0.png,A,train,7", "B/i0.png,B,Testing,8"]
    config = listed_in(tmp_path / "m.csv", *lines)
    notes = list_images(config).notes
    assert any("the columns signer_id are not read" in note for note in notes)
    assert any("column split is not followed" in note for note in notes)
    followed = list_images(config.model_copy(update={"split": "column"}))
    assert set(followed.images["split"]) == {"train", "test"}
    assert not any("not followed" in note for note in followed.notes)


def test_a_packed_manifest_is_read(tmp_path: Path) -> None:
    made(tmp_path, "A", "B")
    file = tmp_path / "m.csv.gz"
    file.write_bytes(gzip.compress(b"path;label\nA/i0.png;A\nB/i0.png;B\n"))
    assert list_images(DataConfig(source="manifest", manifest=str(file))).classes == ("A", "B")


@pytest.mark.parametrize("label", ["no hand"])
def test_no_class_is_called_what_a_model_answers(label: str, tmp_path: Path) -> None:
    made(tmp_path, "A", label)
    hand = HandConfig(mode="joints", on_missing="reject")
    with pytest.raises(DataError, match="a class is called 'no hand'"):
        load_letters(given(tmp_path), image_size=16, interpolation="bilinear", seed=0, hand=hand)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["path,label,label", "a,A,B"], "two columns label"),
        (["path,path,label", "a,b,B"], "two columns path"),
        (["path,label, label", "a,A,B"], "two columns label"),
        (["path,label,group,group", "a,A,1,2"], "two columns group"),
        (["path;label;label", "a;A;B"], "two columns label"),
        ([",".join(f"c{n}" for n in range(200_000)), "x"], "200,000 columns"),
        (["path:label", "a:A"], "separate the columns by commas, semicolons, tabs or |"),
        (["path label", "a A"], "separate the columns by commas, semicolons, tabs or |"),
        (["path/label/group", "a/A/1"], "separate the columns by commas, semicolons, tabs or |"),
        (["path,label", '"a,A', "b,B"], "in which every quote is closed"),
        (["File,Class", "a,A"], "has no column 'path'; call the column 'File' path;"),
        (["path,Letter", "a,A"], "has no column 'label'; call the column 'Letter' label;"),
        (["sep=;", "path;label", "a;A"], "the first line must hold the names of the columns"),
        (["path,label", "a,A", "./a,A", "b,B"], "has 'a' in lines 2, 3 (labels: A)"),
        (["path,label", "x/a,A", "x/../x//a,B"], "has 'x/a' in lines 2, 3 (labels: A, B)"),
        (["path,label", "x/a,A", "x\\a,A", "b,B"], "has 'x/a' in lines 2, 3 (labels: A)"),
        (["A/i0.png,A", "B/i0.png,B"], "the first line must hold the names of the columns"),
        (["Path,path,label", "a,b,A"], "two columns path"),
        (["label,path,\ufefflabel", "A,a,B"], "two columns label"),
        (["path,label\xa0,label", "a,A,B"], "two columns label"),
        (["path,label", "A/i0.png,A,x", "B/i0.png,B,x"], "more fields in a line than names"),
        (["path,label", "A/i0.png,A,", "B/i0.png,B,"], "more fields in a line than names"),
        (["path,label", "A/i,0.png,A", "B/i,0.png,B"], "more fields in a line than names"),
        (["PK\x03\x04\0\0", "x"], "is no text in UTF-8 (a workbook, a parquet file"),
        (["path,label,group", "a,A,s1", "b,B,S1"], "groups that differ only in case, blanks"),
        (["path,label,group", "a,A,1", "b,B,01"], "groups that differ only in case, blanks"),
        (["path,label", "a,1", "b,01"], "differ from a class or from each other"),
        (["path,label,split", "a,A,train", "b,A,later"], "has later in the column split"),
        (["path,labels", "a,A"], "has no column 'label'; did you mean 'labels'?"),
        (["path,label"], "has a header but no rows"),
        (["path,label", "a,A", ",B"], "has no path in 1 rows (lines 3)"),
        (["path,label,group", "a,A,", "b,B,g"], "has no group in 1 rows (lines 2); fill them, or"),
        (["path,label", "a,A", "b,a", "c,A "], "only in case or blanks"),
    ],
)
def test_tables_with_faulty_columns_are_refused(
    lines: list[str], said: str, tmp_path: Path
) -> None:
    told = refused(listed_in(tmp_path / "m.csv", *lines))
    assert said in told
    assert told.startswith("data.manifest: ")


@pytest.mark.parametrize("kind", ["fifo", "zero", "proc"])
def test_a_manifest_that_is_no_file_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    path = {"zero": Path("/dev/zero"), "proc": Path("/proc/kmsg")}.get(kind, tmp_path / "m.csv")
    if kind == "fifo":
        os.mkfifo(path)
    said = refused(DataConfig(source="manifest", manifest=str(path)))
    assert "is no ordinary file" in said


@pytest.mark.parametrize("path", ["x/" * 2500 + "a.png", "y" * 5000, "a\0b.png", "A/none.png"])
def test_paths_in_a_manifest_that_lead_nowhere_are_counted(path: str, tmp_path: Path) -> None:
    made(tmp_path, "A")
    said = refused(listed_in(tmp_path / "m.csv", "path,label", f"{path},A", "A/i0.png,B"))
    assert said.startswith("1 of 2 images are not there")
    assert len(said) < 1000


@pytest.mark.parametrize("target", ["/dev/zero", "/dev/null", "/proc/self/status", "fifo"])
def test_images_that_are_no_files_are_unreadable_at_once(target: str, tmp_path: Path) -> None:
    made(tmp_path / "in", "A", "B", each=4)
    if target == "fifo":
        os.mkfifo(tmp_path / "in" / "A" / "x.png")
    else:
        (tmp_path / "in" / "A" / "x.png").symlink_to(target)
    with pytest.raises(DataError, match="1 images cannot be read"):
        load_letters(given(tmp_path / "in"), image_size=16, interpolation="bilinear", seed=0)


def refused_to_others(config: DataConfig, closed: Path, mode: int) -> str:
    """Return what somebody is told who has no more rights to a path than its mode gives all."""
    for above in closed.parents:
        if above.name.startswith(("test_", "popen-", "pytest-")):  # the test's own, up to /tmp
            above.chmod(0o755)
    user = os.geteuid()
    closed.chmod(mode)
    if user == 0:  # who may read everything
        os.seteuid(65534)
    try:
        return refused(config)
    finally:
        os.seteuid(user)
        closed.chmod(0o755)


@pytest.mark.parametrize("name", [".", "A", "A/deeper"])
def test_folders_that_may_not_be_read_are_named(name: str, tmp_path: Path) -> None:
    made(tmp_path / "in", "A", "B", "A/deeper")
    closed = tmp_path / "in" / name
    said = refused_to_others(given(tmp_path / "in"), closed, 0)
    assert "cannot be read: permission denied" in said or "cannot be looked at" in said
    assert str(closed) in said


def test_a_folder_that_is_listed_and_not_entered_has_no_missing_images(tmp_path: Path) -> None:
    made(tmp_path / "in", "A", "B", each=2)
    said = refused_to_others(given(tmp_path / "in"), tmp_path / "in" / "A", 0o444)
    assert said.startswith("2 of 4 images cannot be reached: ")
    assert "; give yourself the right to enter their folders, or" in said


def test_a_manifest_that_may_not_be_read_is_no_bad_csv(tmp_path: Path) -> None:
    made(tmp_path, "A", "B")
    config = listed_in(tmp_path / "m.csv", "path,label", "A/i0.png,A", "B/i0.png,B")
    said = refused_to_others(config, tmp_path / "m.csv", 0)
    assert said.endswith("cannot be read: permission denied; give yourself the right to read it")

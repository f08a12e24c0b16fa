"""From files to splits: the whole of load_letters on small folders."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_images import class_folder, detailed, listed_in, manifest, picture, save
from PIL import Image

from asl_exp.config.errors import DataError
from asl_exp.config.schema import DataConfig, SyntheticConfig
from asl_exp.data import file_facts
from asl_exp.data.dataset import load_letters
from asl_exp.data.decode import Geometry, read_image
from asl_exp.data.letters import LetterData


def load(config: DataConfig, size: int = 16, seed: int = 0) -> LetterData:
    return load_letters(config, image_size=size, interpolation="bilinear", seed=seed)


@pytest.fixture
def folder(tmp_path: Path) -> DataConfig:
    root = class_folder(tmp_path / "photos", "ABC", each=8)
    return DataConfig(source="folder", root=str(root), cache_dir=str(tmp_path / "cache"))


def changed(config: DataConfig, **keys: Any) -> DataConfig:
    return config.model_copy(update=keys)


def test_pixels_labels_and_table_belong_together(folder: DataConfig) -> None:
    data = load(folder)
    assert data.classes == ("A", "B", "C")
    assert sum(len(split) for split in data.splits.values()) == 24
    for split in data.splits.values():
        pixels = split.gather(np.arange(len(split)))
        for row, path in enumerate(split.table["path"]):
            expected = read_image(path, Geometry(16, "squash", "bilinear"), 100)
            assert np.array_equal(pixels[row], expected)
            assert data.classes[split.labels[row]] == Path(path).parent.name


def test_decoding_every_time_gives_the_same(folder: DataConfig) -> None:
    stored, decoded = load(folder), load(changed(folder, store=False))
    assert stored.digest == decoded.digest
    assert decoded.store_digest == ""
    for name, split in stored.splits.items():
        rows = np.arange(len(split))[::-1]
        assert np.array_equal(split.gather(rows), decoded.splits[name].gather(rows))


def test_near_duplicates_stay_together(tmp_path: Path) -> None:
    """Ten pictures a class, each four times with a little noise: a video, in short."""
    generator = np.random.default_rng(0)
    for index, name in enumerate("AB"):
        for shot in range(10):
            base = np.asarray(detailed(100 * index + shot), int)
            for frame in range(4):
                noisy = np.clip(base + generator.integers(-6, 7, base.shape), 0, 255)
                image = Image.fromarray(noisy.astype(np.uint8))
                save(image, tmp_path / "in" / name / f"{shot}_{frame}.png")
    data = load(
        DataConfig(source="folder", root=str(tmp_path / "in"), cache_dir=str(tmp_path / "c"))
    )
    assert not data.leaks
    shots = {
        name: set(split.table["key"].str.rpartition("_")[0]) for name, split in data.splits.items()
    }
    assert not shots["train"] & shots["val"]
    assert not shots["train"] & shots["test"]
    assert not shots["val"] & shots["test"]
    assert sum(len(names) for names in shots.values()) == 20


def test_a_random_split_counts_as_leaking(folder: DataConfig) -> None:
    data = load(changed(folder, split="random"))
    assert data.leaks
    assert data.split_rule == "random"


def test_the_same_bytes_on_both_sides_leak(tmp_path: Path) -> None:
    lines = ["path,label,group"]
    for group in "abc":
        for label in "AB":
            path = tmp_path / f"{group}{label}.png"
            save(picture(1 if label == "A" else ord(group)), path)
            lines.append(f"{path.name},{label},{group}")
    assert load(listed_in(tmp_path / "m.csv", *lines)).leaks


def test_the_column_split_is_followed(tmp_path: Path) -> None:
    lines = ["path,label,split"]
    for number, split in enumerate(["train", "train", "val", "test"]):
        for label in "AB":
            save(picture(number + 50 * (label == "B")), tmp_path / f"{label}{number}.png")
            lines.append(f"{label}{number}.png,{label},{split}")
    config = listed_in(tmp_path / "m.csv", *lines, split="column")
    data = load(config)
    assert sorted(data.splits["test"].table["key"]) == ["A3.png", "B3.png"]
    assert not data.leaks
    manifest(tmp_path / "m.csv", [line for line in lines if line != "B3.png,B,test"])
    with pytest.raises(DataError, match=r"data\.split: column, but test has no image of B"):
        load(config)


def test_unreadable_images_are_left_out_up_to_the_limit(folder: DataConfig) -> None:
    root = Path(folder.root or "")
    (root / "A" / "A0.jpg").write_bytes(b"")
    (root / "B" / "B1.jpg").write_bytes(b"no image")
    whole = (root / "C" / "C2.jpg").read_bytes()
    (root / "C" / "C2.jpg").write_bytes(whole[:-200])
    with pytest.raises(DataError) as caught:
        load(folder)
    for said in ("3 images cannot be read", "data.max_unreadable=0", "A0.jpg: the file is empty",
                 "B1.jpg: not an image", "C2.jpg: ", "data.max_unreadable=3"):  # fmt: skip
        assert said in str(caught.value)
    data = load(changed(folder, max_unreadable=3))
    assert len(data.unreadable) == 3
    keys = {key for split in data.splits.values() for key in split.table["key"]}
    assert len(keys) == 21
    assert not keys & {"A/A0.jpg", "B/B1.jpg", "C/C2.jpg"}


def test_truncation_is_found_where_groups_are_known(tmp_path: Path) -> None:
    """Nothing is decoded before storing then, so the store has to find it."""
    lines = ["path,label,group"]
    for number in range(8):
        save(picture(number, 90, 90), tmp_path / f"{number}.jpg")
        lines.append(f"{number}.jpg,{'AB'[number % 2]},g{number // 2}")
    broken = tmp_path / "4.jpg"
    broken.write_bytes(broken.read_bytes()[:-300])
    config = listed_in(tmp_path / "m.csv", *lines)
    for store in (True, False):
        with pytest.raises(DataError, match=r"1 images cannot be read[\s\S]*4\.jpg: .*truncated"):
            load(changed(config, store=store))
    data = load(changed(config, max_unreadable=1))
    assert sum(len(split) for split in data.splits.values()) == 7
    for split in data.splits.values():  # rows after the one left out still meet their pixels
        for row, path in enumerate(split.table["path"]):
            expected = read_image(path, Geometry(16, "squash", "bilinear"), 100)
            assert np.array_equal(split.gather(np.array([row]))[0], expected)


def test_a_huge_image_counts_as_unreadable(folder: DataConfig) -> None:
    with pytest.raises(DataError, match=r"24 images cannot be read[\s\S]*data\.max_megapixels"):
        load(changed(folder, max_megapixels=0.001))


def test_a_changed_image_or_label_changes_the_digest(folder: DataConfig) -> None:
    first = load(folder)
    assert load(folder).digest == first.digest
    assert load(folder, seed=1).digest != first.digest
    path = Path(folder.root or "") / "A" / "A0.jpg"
    save(picture(77), path)
    second = load(folder)
    assert second.digest != first.digest
    assert second.store_digest != first.store_digest


def test_the_digest_is_the_same_in_another_folder(folder: DataConfig, tmp_path: Path) -> None:
    first = load(folder)
    Path(folder.root or "").rename(tmp_path / "moved")
    source = changed(folder, root=str(tmp_path / "moved"))
    assert [s.table["label"].tolist() for s in load(source).splits.values()] == [
        s.table["label"].tolist() for s in first.splits.values()
    ]


def test_a_damaged_database_of_facts_is_replaced(folder: DataConfig) -> None:
    first = load(folder)
    (Path(folder.cache_dir) / "facts.sqlite").write_bytes(b"nonsense" * 1000)
    assert load(folder).digest == first.digest


def test_a_database_that_cannot_be_written_is_said(
    folder: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_facts, "_KEEP", "INSERT INTO no_such_table VALUES (?)")
    with pytest.raises(DataError, match=r"data\.cache_dir: .*facts\.sqlite' cannot be written"):
        load(folder)


def test_too_few_images_of_a_class(folder: DataConfig, tmp_path: Path) -> None:
    save(picture(900), tmp_path / "photos" / "D" / "only.jpg")
    with pytest.raises(DataError, match=r"class 'D' is in 1 group: near:D/only\.jpg;"):
        load(folder)
    with pytest.raises(DataError, match="class 'D' has 1 images"):
        load(changed(folder, split="random"))


def test_drawn_hands_load_like_photos(tmp_path: Path) -> None:
    config = DataConfig(
        classes="A-B", external=["synthetic_external"], cache_dir=str(tmp_path),
        synthetic=SyntheticConfig(signers=4, images_per_letter=2, external_signers=1),
    )  # fmt: skip
    data = load(config, size=24)
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 8, "val": 4, "test": 4, "external/synthetic_external": 4,
    }  # fmt: skip
    assert data.splits["train"].gather(np.array([0])).std() > 5
    groups = [set(split.table["group"]) for split in data.splits.values()]
    assert sum(len(one) for one in groups) == len(set().union(*groups))


def test_real_photos_split_by_session(photos: Path, tmp_path: Path) -> None:
    config = DataConfig(
        source="manifest", manifest=str(photos / "manifest.csv"), classes="A-C",
        sources=["kaggle_asl_alphabet"], external=["roboflow_davidlee"], cache_dir=str(tmp_path),
    )  # fmt: skip
    data = load(config, size=32)
    assert [len(data.splits[name]) for name in ("train", "val", "test")] == [180, 90, 90]
    assert not data.leaks
    assert set(data.splits["external/roboflow_davidlee"].table["source"]) == {"roboflow_davidlee"}
    out = load(changed(config, split="leave_out", leave_out=["kaggle_s4"]), size=32)
    assert set(out.splits["test"].table["group"]) == {"kaggle_s4"}


@pytest.mark.parametrize("n_pairs", [1, 2, 3, 5, 25])
def test_all_images_under_two_labels_are_named(n_pairs: int, tmp_path: Path) -> None:
    root = class_folder(tmp_path / "in", "AB", each=30)
    for number in range(n_pairs):
        (root / "B" / f"twin{number}.jpg").write_bytes((root / "A" / f"A{number}.jpg").read_bytes())
    config = DataConfig(source="folder", root=str(root), cache_dir=str(tmp_path / "c"))
    (root / "B" / "again.jpg").write_bytes((root / "A" / "A0.jpg").read_bytes())
    with pytest.raises(DataError) as caught:
        load(config)
    said = str(caught.value)
    assert "again.jpg (B)" in said, "every copy, or the next run would name another"
    assert said.startswith(f"{n_pairs} images are there under two labels")
    assert said.count("(A) and ") == min(n_pairs, 20)
    assert f"{root / 'A' / 'A0.jpg'} (A) and " in said
    assert "keep it under the label that it shows" in said
    assert ("and 5 more" in said) == (n_pairs == 25)

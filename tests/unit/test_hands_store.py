"""Found hands are kept: found once, checked, found anew when damaged or looked for otherwise."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_images import picture, save
from PIL import Image

from asl_exp.config.errors import DataError
from asl_exp.config.schema import DataConfig
from asl_exp.data.decode import Geometry, UnreadableImageError
from asl_exp.data.hands import hand_store as module
from asl_exp.data.hands.crops import CropRule, CropStore, crop_of
from asl_exp.data.hands.finder import FinderSettings
from asl_exp.data.hands.hand import Hand, Hands, no_hand
from asl_exp.data.hands.hand_store import NAME, HandSource, HandStore, find_in
from asl_exp.data.hands.model_file import ModelFile, model_file
from asl_exp.data.pixel_store import pixels_of

GEOMETRY = Geometry(8, "squash", "bilinear")
NO_HANDS_IN = 40
"""Red of images in which the made detector finds nothing."""


class MadeDetector:
    """Finds a hand whose joints tell the image's brightest place and its size."""

    def __init__(self) -> None:
        self.n_looked = 0

    n_looks = 1

    def find(self, image: np.ndarray) -> Hand:
        self.n_looked += 1
        height, width = image.shape[:2]
        if image[0, 0, 0] == NO_HANDS_IN:
            return no_hand(width, height, self.n_looks)
        y, x = np.unravel_index(image.sum(2).argmax(), (height, width))
        joints = np.full((21, 3), 1.0, np.float32)
        joints[:, :2] = np.array([x, y]) + np.linspace(-2, 2, 21)[:, None]
        looks = np.zeros((self.n_looks - 1, 21, 3), np.float32)
        looks += joints + np.arange(1, self.n_looks, dtype=np.float32)[:, None, None]
        return Hand(joints, joints / 100, 0.9, 0.25, width, height, looks)


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> MadeDetector:
    made = MadeDetector()
    monkeypatch.setattr(module, "_opened", lambda source: made)
    return made


def image_of(number: int, folder: Path, size: tuple[int, int] = (40, 30)) -> str:
    pixels = np.full((size[1], size[0], 3), 10, np.uint8)
    pixels[5 + number, 20] = 255
    if number == 3:
        pixels[0, 0] = NO_HANDS_IN, 0, 0
    folder.mkdir(exist_ok=True)
    file = folder / f"{number}.png"
    Image.fromarray(pixels).save(file)
    return str(file)


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    return [image_of(number, tmp_path / "in") for number in range(5)]


def make(tmp_path: Path, paths: list[str], *, of: str = "a", model: str = "m") -> HandStore:
    source = HandSource(ModelFile(tmp_path / "none.task", model * 64), FinderSettings())
    return HandStore(tmp_path / "cache", paths, [f"{of}{path}" for path in paths], source)


def opened(store: HandStore, limit_gb: float = 1.0) -> Hands:
    return store.open(DataConfig(workers=1, cache_limit_gb=limit_gb))


def test_rows_are_the_images_in_order(
    tmp_path: Path, paths: list[str], detector: MadeDetector
) -> None:
    hands = opened(make(tmp_path, paths))
    assert hands.found.tolist() == [True, True, True, False, True]
    assert hands.joints[:, 10, 1].tolist()[:3] == [5, 6, 7]
    assert np.isnan(hands.joints[3]).all()
    assert hands.sizes.tolist() == [[40, 30]] * 5
    np.testing.assert_allclose(hands.left[[0, 4]], 0.25)
    np.testing.assert_allclose(hands.metres[0], hands.joints[0] / 100)


def test_a_hand_is_looked_for_once(
    tmp_path: Path, paths: list[str], detector: MadeDetector
) -> None:
    first = opened(make(tmp_path, paths))
    again = opened(make(tmp_path, paths))
    assert detector.n_looked == 5
    assert again.digest == first.digest
    np.testing.assert_array_equal(again.joints, first.joints)
    opened(make(tmp_path, paths, of="b"))
    assert detector.n_looked == 10


def test_another_choice_of_images_looks_for_new_ones_alone(
    tmp_path: Path, paths: list[str], detector: MadeDetector
) -> None:
    first = opened(make(tmp_path, paths[:4]))
    chosen = opened(make(tmp_path, [paths[3], paths[4], paths[0], paths[4]]))
    assert detector.n_looked == 5
    np.testing.assert_array_equal(chosen.joints[[0, 2]], first.joints[[3, 0]])
    np.testing.assert_array_equal(chosen.joints[1], chosen.joints[3])
    assert chosen.found.tolist() == [False, True, True, True]


def test_a_search_that_was_killed_goes_on(
    tmp_path: Path, paths: list[str], detector: MadeDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asl_exp.data.decode_pool._TRIED", 2)
    find, looks = detector.find, iter(range(5))

    def interrupted(image: np.ndarray) -> Hand:
        if next(looks) == 3:
            raise KeyboardInterrupt
        return find(image)

    with monkeypatch.context() as patch:
        patch.setattr(detector, "find", interrupted)
        with pytest.raises(KeyboardInterrupt):
            opened(make(tmp_path, paths))
    assert detector.n_looked == 3
    assert opened(make(tmp_path, paths)).found.sum() == 4
    assert detector.n_looked == 6, "the first two were kept"


@pytest.mark.parametrize("how", ["a number", "no database"])
def test_damage_to_what_is_known_by_image_is_seen(
    tmp_path: Path, paths: list[str], detector: MadeDetector, how: str
) -> None:
    before = opened(make(tmp_path, paths))
    file = tmp_path / "cache" / NAME
    if how == "a number":
        content = file.read_bytes()
        numbers = before.joints[0].tobytes()
        assert content.count(numbers) == 1
        file.write_bytes(content.replace(numbers, b"\x01" + numbers[1:]))
    else:
        file.write_bytes(b"no database" * 1000)
    chosen = opened(make(tmp_path, paths[:2]))
    assert detector.n_looked == (6 if how == "a number" else 7)
    np.testing.assert_array_equal(chosen.joints, before.joints[:2])


def test_further_looks_are_kept_with_the_joints(
    tmp_path: Path, paths: list[str], detector: MadeDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = opened(make(tmp_path, paths))
    monkeypatch.setattr(detector, "n_looks", 5)
    store = make(tmp_path, paths)
    store = replace(store, source=replace(store.source, settings=FinderSettings(again=True)))
    for hands in (opened(store), opened(store)):
        assert detector.n_looked == 10
        seen = hands.seen(5).reshape(5, 5, 21, 3)
        further = hands.joints[0] + np.arange(5)[:, None, None]
        np.testing.assert_allclose(seen[0], further, rtol=1e-6)
        assert np.isnan(seen[3]).all()
        np.testing.assert_array_equal(hands.joints, once.joints)
    np.testing.assert_array_equal(once.seen(2)[:, :21], once.seen(2)[:, 21:])


def test_another_detector_or_setting_is_another_store(
    tmp_path: Path, paths: list[str], detector: MadeDetector
) -> None:
    store = make(tmp_path, paths)
    surer = replace(store, source=replace(store.source, settings=FinderSettings(0.9)))
    for one in (store, make(tmp_path, paths, model="n"), surer):
        opened(one)
    assert detector.n_looked == 15
    assert len({file.name for file in store.folder.glob("*.f32")}) == 3


@pytest.mark.parametrize("how", ["a number", "cut", "no description"])
def test_a_damaged_store_is_found_anew(
    tmp_path: Path, paths: list[str], detector: MadeDetector, how: str
) -> None:
    store = make(tmp_path, paths)
    before = opened(store)
    if how == "a number":
        with store.file.bytes_file.open("r+b") as file:
            file.seek(100)
            file.write(b"\x00\xff\x00\xff")
    elif how == "cut":
        os.truncate(store.file.bytes_file, 200)
    else:
        store.file.description_file.unlink()
    after = opened(store)
    assert detector.n_looked == 5, "it is made again of what is known by image"
    np.testing.assert_array_equal(after.joints, before.joints)


def test_no_store_is_left_where_the_search_breaks_off(
    tmp_path: Path, paths: list[str], detector: MadeDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(image: np.ndarray) -> Hand:
        raise KeyboardInterrupt

    store = make(tmp_path, paths)
    with monkeypatch.context() as patch:
        patch.setattr(detector, "find", interrupted)
        with pytest.raises(KeyboardInterrupt):
            opened(store)
    assert [one.name for one in store.folder.iterdir() if one.suffix != ".lock"] == [NAME]
    assert opened(store).found.sum() == 4


def test_without_room_nothing_is_looked_for(
    tmp_path: Path, paths: list[str], detector: MadeDetector
) -> None:
    with pytest.raises(DataError, match=r"data\.cache_limit_gb: .* hands .* choose hand=none"):
        opened(make(tmp_path, paths), limit_gb=1e-9)
    assert detector.n_looked == 0


def test_an_unreadable_image_has_no_hand(
    tmp_path: Path, paths: list[str], detector: MadeDetector
) -> None:
    Path(paths[1]).write_bytes(b"no image")
    assert opened(make(tmp_path, paths)).found.tolist() == [True, False, True, False, True]
    with pytest.raises(UnreadableImageError):
        find_in(detector, paths[1], 100)
    image_of(1, tmp_path / "in")  # it could not be read, so nothing is known of it
    assert opened(make(tmp_path, paths[:2])).found.tolist() == [True, True]


def test_the_joints_are_in_pixels_of_the_upright_image(
    tmp_path: Path, detector: MadeDetector
) -> None:
    pixels = np.full((3000, 4000, 3), 10, np.uint8)
    pixels[1500:1580, 3000:3080] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side: turned clockwise to be seen
    Image.fromarray(pixels).save(tmp_path / "large.jpg", exif=exif)
    hand = find_in(detector, str(tmp_path / "large.jpg"), 100)
    assert (hand.width, hand.height) == (3000, 4000)
    x, y = hand.joints[10, :2]
    assert 1420 <= x <= 1500
    assert 3000 <= y <= 3080


def test_a_crop_is_the_square_round_the_hand(tmp_path: Path, detector: MadeDetector) -> None:
    pixels = np.zeros((30, 40, 3), np.uint8)
    pixels[10:18, 20:28] = 100, 150, 200
    Image.fromarray(pixels).save(tmp_path / "a.png")
    joints = np.full((21, 3), np.nan, np.float32)
    joints[:, 0], joints[:, 1] = np.linspace(22, 26, 21), np.linspace(12, 16, 21)
    rule = CropRule(GEOMETRY, margin=0.5)
    path = str(tmp_path / "a.png")
    crop = crop_of(path, joints, (40, 30), rule, 100)
    assert crop.shape == (8, 8, 3)
    assert (crop == [100, 150, 200]).all()
    joints[:, :2] -= [24, 14]
    assert crop_of(path, joints, (40, 30), rule, 100)[:4, :4].max() == 0
    nowhere = np.full((21, 3), np.nan, np.float32)
    whole = crop_of(path, nowhere, (40, 30), rule, 100)
    np.testing.assert_array_equal(whole, pixels_of(path, rule.geometry, 100))


def test_crops_are_stored_like_pixels(
    tmp_path: Path, paths: list[str], detector: MadeDetector
) -> None:
    hands = opened(make(tmp_path, paths))
    rule = CropRule(GEOMETRY, margin=0.5)
    store = CropStore(tmp_path / "pixels", paths, "a" * 64, GEOMETRY, hands, 0.5)
    pixels = store.open(DataConfig(workers=1)).gather(np.arange(5))
    for row in range(5):
        expected = crop_of(paths[row], hands.joints[row], (40, 30), rule, 100)
        np.testing.assert_array_equal(pixels[row], expected)
    wider = replace(store, margin=1.0)
    other = replace(store, hands=replace(hands, digest="other"))
    assert len({store.name, wider.name, other.name}) == 3


def test_unreadable_images_are_told_by_the_crops(
    tmp_path: Path, paths: list[str], detector: MadeDetector
) -> None:
    Path(paths[2]).write_bytes(b"")
    hands = opened(make(tmp_path, paths))
    store = CropStore(tmp_path / "pixels", paths, "a" * 64, GEOMETRY, hands, 0.5)
    opened_store = store.open(DataConfig(workers=1))
    assert opened_store.unreadable == {2: "the file is empty"}


_FIND = """
import sys
from pathlib import Path
from asl_exp.config.schema import DataConfig
from asl_exp.data.hands.finder import FinderSettings
from asl_exp.data.hands.hand_store import HandSource, HandStore
from asl_exp.data.hands.model_file import model_file

if __name__ == "__main__":
    folder, model, *paths = sys.argv[1:]
    source = HandSource(model_file(model, folder), FinderSettings())
    store = HandStore(Path(folder), paths, paths, source)
    hands = store.open(DataConfig(workers=2))
    print(hands.digest, int(hands.found.sum()))
"""


@pytest.mark.heavy
def test_two_commands_at_once_share_one_search_in_processes(
    tmp_path: Path, photos: Path, hand_model: Path
) -> None:
    table = pd.read_csv(photos / "manifest.csv")
    rows = table[table["source"] == "t32rahman"]["path"].iloc[::6]
    paths = [str(photos / path) for path in rows]
    assert len(paths) >= 96  # so many are searched in processes
    (tmp_path / "find.py").write_text(_FIND)
    command = [sys.executable, str(tmp_path / "find.py"), str(tmp_path / "cache")]
    runs = [
        subprocess.Popen(
            [*command, str(hand_model), *paths],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            text=True,
        )
        for _ in range(2)
    ]
    answers = [run.communicate(timeout=300) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], answers
    assert answers[0][0] == answers[1][0]
    assert int(answers[0][0].split()[1]) >= 0.97 * len(paths)
    searches = [error.count("finding hands") for _, error in answers]
    assert sorted(searches) == [0, 1]
    model = model_file(str(hand_model), tmp_path)
    source = HandSource(model, FinderSettings())
    store = HandStore(tmp_path / "cache", paths, paths, source)
    hands = store.open(DataConfig(workers=1))
    one = find_in(source.open(), paths[70], 100)
    np.testing.assert_array_equal(hands.joints[70], one.joints)


def test_made_images_have_no_hands(tmp_path: Path, hand_model: Path) -> None:
    source = HandSource(model_file(str(hand_model), tmp_path), FinderSettings())
    paths = [str(save(picture(number), tmp_path / f"{number}.png")) for number in range(2)]
    assert not opened(HandStore(tmp_path / "cache", paths, paths, source)).found.any()

"""The real detector on real photos, and on what cameras and people do to them.

Bounds are loose: they say that hands are found where they are, not how many of a whole set; those
figures are in docs/unseen-people.md.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from asl_exp.config.compose import compose_config
from asl_exp.config.errors import UserError
from asl_exp.data.decode import Pixels
from asl_exp.data.hands.finder import (
    FINDER_VERSION,
    FinderSettings,
    HandFinder,
    finder_digest,
    region_of_joints,
)
from asl_exp.data.hands.hand import Hand
from asl_exp.data.hands.model_file import ModelFile, model_file
from asl_exp.data.hands.regions import Region, overlap, pixels_in, tiles, whole
from asl_exp.model.kept import KeptModel
from asl_exp.model.recognizer import hand_settings

SOURCES = ("kaggle_asl_alphabet", "massey_hgr", "roboflow_davidlee", "t32rahman")


@pytest.fixture(scope="module")
def model(hand_model: Path) -> ModelFile:
    return model_file(str(hand_model), hand_model.parent)


@pytest.fixture(scope="module")
def finder(model: ModelFile) -> HandFinder:
    return HandFinder(model)


def photo(photos: Path, source: str, letter: str, number: int = 0) -> Pixels:
    table = pd.read_csv(photos / "manifest.csv")
    rows = table[(table["source"] == source) & (table["label"] == letter)]
    return read(photos / rows["path"].iloc[number])


def read(file: Path) -> Pixels:
    return np.asarray(Image.open(file).convert("RGB"))


def cut_out(photos: Path) -> tuple[Pixels, Pixels]:
    """Return a hand before black, and where it is: (H, W) of 0 and 255."""
    hand = photo(photos, "massey_hgr", "L")
    return hand, ((hand.max(2) > 24) * 255).astype(np.uint8)


def scene(width: int, height: int) -> Image.Image:
    """Return a room of soft stripes, in no colour of a hand."""
    y, x = np.mgrid[:height, :width]
    stripes = [90 + 50 * np.sin(x / 37 + channel) + 30 * np.cos(y / 23) for channel in (0, 2, 3)]
    stripes[0] = stripes[0] * 0.6
    return Image.fromarray(np.stack(stripes, 2).clip(0, 255).astype(np.uint8))


def pasted(photos: Path, scene: Image.Image, side: int, at: tuple[int, int]) -> Pixels:
    hand, mask = (Image.fromarray(one).resize((side, side)) for one in cut_out(photos))
    scene.paste(hand, at, mask)
    return np.asarray(scene)


def extent(hand: Hand) -> float:
    return float(np.ptp(hand.joints[:, :2], axis=0).max())


def apart(one: Hand, joints: np.ndarray) -> float:
    """Return the mean distance of joints in shares of the hand's size."""
    return float(np.linalg.norm(one.joints[:, :2] - joints, axis=1).mean()) / extent(one)


@pytest.mark.parametrize("source", SOURCES)
def test_hands_are_found_on_real_photos(source: str, photos: Path, finder: HandFinder) -> None:
    for letter in "ABL":
        hand = finder.find(photo(photos, source, letter, 3))
        assert hand.found
        assert hand.confidence >= 0.7
        inside = (hand.joints[:, :2] > -20) & (hand.joints[:, :2] < 196)
        assert inside.all()
        assert extent(hand) > 40


def test_an_l_has_its_index_up_and_its_thumb_out(photos: Path, finder: HandFinder) -> None:
    joints = finder.find(photo(photos, "t32rahman", "L")).joints
    assert joints[8, 1] < joints[[12, 16, 20], 1].min()
    assert abs(joints[4, 0] - joints[2, 0]) > 0.2 * np.ptp(joints[:, 1])


def test_backlit_hands_are_found_by_later_attempts(photos: Path, finder: HandFinder) -> None:
    table = pd.read_csv(photos / "manifest.csv")
    backlit = table[(table["group"] == "kaggle_s4") & table["label"].isin(list("BDLVWY"))]
    paths = backlit["path"].iloc[::8]
    found = [finder.find(read(photos / one)).found for one in paths]
    assert np.mean(found) >= 0.9


def test_nothing_has_no_hand(photos: Path, finder: HandFinder) -> None:
    table = pd.read_csv(photos / "manifest.csv")
    for path in table[table["label"] == "nothing"]["path"].iloc[::30]:
        hand = finder.find(read(photos / path))
        assert not hand.found
        assert np.isnan(hand.joints).all()
        assert (hand.width, hand.height) == (176, 176)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((176, 176, 3), np.uint8),
        np.full((1, 1, 3), 200, np.uint8),
        np.full((2, 900, 3), 128, np.uint8),
        np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8),
    ],
    ids=["black", "one pixel", "a line", "noise"],
)
def test_images_of_nothing_have_no_hand(image: Pixels, finder: HandFinder) -> None:
    hand = finder.find(image)
    assert not hand.found
    assert (hand.height, hand.width) == image.shape[:2]


def test_a_small_hand_in_a_large_picture_is_where_it_is(photos: Path, finder: HandFinder) -> None:
    alone = finder.find(cut_out(photos)[0]).joints[:, :2]
    at, side = (1500, 700), 180
    hand = finder.find(pasted(photos, scene(1920, 1080), side, at))
    assert hand.found
    assert apart(hand, alone * side / 176 + np.array(at)) < 0.1


def test_an_image_of_32_pixels(photos: Path, finder: HandFinder) -> None:
    image = photo(photos, "t32rahman", "L")
    alone = finder.find(image).joints[:, :2]
    small = finder.find(np.asarray(Image.fromarray(image).resize((32, 32))))
    assert small.found
    assert apart(small, alone * 32 / 176) < 0.15


def test_of_two_hands_the_larger_wins(photos: Path, finder: HandFinder) -> None:
    picture = Image.fromarray(pasted(photos, scene(640, 480), 300, (20, 100)))
    hand = finder.find(pasted(photos, picture, 150, (450, 200)))
    assert hand.found
    assert hand.joints[:, 0].max() < 400
    mirrored = finder.find(np.asarray(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)))
    assert mirrored.joints[:, 0].min() > 240


def test_a_small_hand_does_not_hide_a_larger_one(photos: Path, finder: HandFinder) -> None:
    picture = scene(640, 480)
    person = Image.fromarray(photo(photos, "roboflow_davidlee", "E")).resize((200, 200))
    picture.paste(person, (40, 200))
    assert finder.find(np.asarray(picture)).joints[:, 0].mean() < 200
    raised = photo(photos, "massey_hgr", "S", 1)
    mask = Image.fromarray(((raised.max(2) > 24) * 255).astype(np.uint8)).resize((110, 110))
    picture.paste(Image.fromarray(raised).resize((110, 110)), (430, 60), mask)
    hand = finder.find(np.asarray(picture))
    assert hand.joints[:, 0].min() > 400


def test_a_hand_cut_by_the_frame_is_found_or_not_but_never_elsewhere(
    photos: Path, finder: HandFinder
) -> None:
    alone = finder.find(cut_out(photos)[0]).joints[:, :2]
    hand = finder.find(pasted(photos, scene(320, 240), 200, (200, 30)))
    if hand.found:
        assert apart(hand, alone * 200 / 176 + np.array([200, 30])) < 0.35


def test_the_joints_turn_with_the_picture(photos: Path, finder: HandFinder) -> None:
    image = photo(photos, "t32rahman", "Y")
    upright = finder.find(image).joints[:, :2]
    turned = finder.find(np.ascontiguousarray(np.rot90(image)))
    expected = np.stack([upright[:, 1], 176 - upright[:, 0]], 1)
    assert apart(turned, expected) < 0.1


def test_a_mirrored_hand_is_the_other_hand(photos: Path, finder: HandFinder) -> None:
    image = photo(photos, "massey_hgr", "B")
    one, other = finder.find(image), finder.find(np.ascontiguousarray(image[:, ::-1]))
    assert {one.left > 0.5, other.left > 0.5} == {True, False}
    # The palm of a right hand with its fingers up has the index to the right of the little finger.
    assert (one.joints[5, 0] > one.joints[17, 0]) == (one.left < 0.5)


def test_joints_are_mediapipe_s_own(photos: Path, hand_model: Path, finder: HandFinder) -> None:
    mediapipe = pytest.importorskip("mediapipe", reason="mediapipe is not installed to compare")
    vision = mediapipe.tasks.vision
    options = vision.HandLandmarkerOptions(
        mediapipe.tasks.BaseOptions(model_asset_path=str(hand_model))
    )
    distances = []
    with vision.HandLandmarker.create_from_options(options) as theirs:
        for letter in "ABCDEFGHIKLVWY":
            image = photo(photos, "t32rahman", letter)
            shown = mediapipe.Image(mediapipe.ImageFormat.SRGB, np.ascontiguousarray(image))
            answer = theirs.detect(shown).hand_landmarks
            hand = finder.find(image)
            if answer and hand.found:
                expected = [(one.x * 176, one.y * 176) for one in answer[0]]
                distances.append(apart(hand, np.array(expected)))
    assert len(distances) >= 12
    assert np.median(distances) < 0.03


def test_another_network_or_setting_is_another_detector(model: ModelFile) -> None:
    others = {
        finder_digest(model, FinderSettings()),
        finder_digest(model, FinderSettings(confidence=0.5)),
        finder_digest(model, FinderSettings(again=True)),
        finder_digest(ModelFile(model.path, "0" * 64), FinderSettings()),
    }
    assert len(others) == 4


def test_confidence_decides_what_counts(photos: Path, model: ModelFile) -> None:
    image = photo(photos, "t32rahman", "L")
    assert HandFinder(model, FinderSettings(confidence=0.5)).find(image).found
    assert not HandFinder(model, FinderSettings(confidence=1.0)).find(image).found


def test_a_region_shows_what_lies_in_it() -> None:
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[40:60, 140:160] = 255
    image = Image.fromarray(pixels)
    seen = pixels_in(image, Region(150, 50, 20), 32)
    assert seen.shape == (32, 32, 3)
    assert seen[2:-2, 2:-2].min() == 1.0
    assert pixels_in(image, Region(-50, -50, 20), 8).max() == 0.0
    corner = Region(150, 50, 40, 0.7).to_image(np.array([[0.5, 0.5], [0.5, 0.0]], np.float32))
    np.testing.assert_allclose(corner[0], [150, 50])
    np.testing.assert_allclose(
        corner[1], [150 + 20 * np.sin(0.7), 50 - 20 * np.cos(0.7)], rtol=1e-5
    )


def test_tiles_cover_the_image() -> None:
    seen = np.zeros((1080, 1920), bool)
    for tile in tiles(1920, 1080, 0.33):
        low_x, low_y = round(tile.x - tile.side / 2), round(tile.y - tile.side / 2)
        assert min(low_x, low_y) >= 0
        seen[low_y : low_y + round(tile.side), low_x : low_x + round(tile.side)] = True
    assert seen.mean() > 0.99
    assert tiles(1920, 1080, 1.5) == [whole(1920, 1080, 1.5)]


def test_overlap_of_regions() -> None:
    assert overlap(Region(0, 0, 10), Region(0, 0, 10)) == 1
    assert overlap(Region(0, 0, 10), Region(20, 0, 10)) == 0
    assert overlap(Region(0, 0, 10), Region(5, 0, 10)) == pytest.approx(1 / 3)


def test_the_square_round_joints_turns_with_them() -> None:
    rng = np.random.default_rng(0)
    joints = np.zeros((21, 3), np.float32)
    joints[:, 0], joints[:, 1] = rng.normal(50, 5, 21), np.linspace(90, 10, 21)
    region = region_of_joints(joints)
    turned = joints.copy()
    turned[:, 0], turned[:, 1] = 100 - joints[:, 1], joints[:, 0]
    other = region_of_joints(turned)
    assert other.side == pytest.approx(region.side, rel=1e-4)
    assert other.angle - region.angle == pytest.approx(np.pi / 2, abs=1e-4)
    assert (other.x, other.y) == pytest.approx((100 - region.y, region.x), abs=1e-3)


def test_further_looks_are_of_the_same_hand(
    finder: HandFinder, model: ModelFile, photos: Path
) -> None:
    """Turned and mirrored squares give the joints where they are; the mirror is no other hand."""
    again = HandFinder(model, FinderSettings(again=True))
    image = photo(photos, "t32rahman", "L")
    found, looked = finder.find(image), again.find(image)
    assert found.looks.shape == (0, 21, 3)
    assert looked.looks.shape == (4, 21, 3)
    np.testing.assert_array_equal(looked.joints, found.joints)
    size = np.ptp(found.joints[:, :2], axis=0).max()
    for joints in looked.looks:
        away = np.linalg.norm(joints[:, :2] - found.joints[:, :2], axis=1) / size
        assert np.median(away) < 0.05
        assert away.max() > 0, "it is another look"
        assert np.corrcoef(joints[:, 2], found.joints[:, 2])[0, 1] > 0.8, "depth as well"
    assert looked.left == found.left
    assert again.find(np.zeros((64, 64, 3), np.uint8)).looks.shape == (4, 21, 3)


@pytest.mark.parametrize(
    ("settings", "version", "answered"),
    [
        (FinderSettings(), FINDER_VERSION, True),
        (FinderSettings(), 1, True),
        (FinderSettings(), FINDER_VERSION + 1, False),
        (FinderSettings(again=True), 1, False),
        (FinderSettings(confidence=0.5), 1, False),
    ],
)
def test_models_of_a_finder_before_this_one_go_on(
    settings: FinderSettings, version: int, answered: bool, model: ModelFile, tmp_path: Path
) -> None:
    config = compose_config(["hand=joints", f"data.cache_dir={tmp_path}"])
    detector = finder_digest(model, settings, version)
    kept = cast(KeptModel, SimpleNamespace(config=config, detector=detector))
    if answered:
        found = hand_settings(kept, tmp_path / "last.ckpt", model.path)
        assert found.model == str(model.path)
    else:
        with pytest.raises(UserError, match=f"hand detector {detector[:12]}, and .* others"):
            hand_settings(kept, tmp_path / "last.ckpt", model.path)

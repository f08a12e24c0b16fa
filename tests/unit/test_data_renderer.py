"""The embedded source draws what it promises: the same image for a key, a hand in every one."""

import numpy as np
import pytest

from asl_exp.data.renderer import LETTERS, Shot, draw, shots
from asl_exp.data.renderer.hand import JOINTS, Finger, Thumb, adult_bones, articulate
from asl_exp.data.renderer.letters import POSES

WITH_A_HAND = [letter for letter in LETTERS if letter != "nothing"]


def home(letter: str, signer: int = 1, index: int = 0, seed: int = 0) -> Shot:
    return Shot(letter, signer, 1, index, external=False, seed=seed)


def difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Largest difference of the three channels, (H, W), in levels of 0..255."""
    return np.asarray(np.abs(first.astype(int) - second.astype(int)).max(axis=2))


def test_the_classes_are_those_of_the_kaggle_alphabet() -> None:
    assert len(LETTERS) == 29
    assert LETTERS[:26] == tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert LETTERS[26:] == ("del", "nothing", "space")


@pytest.mark.parametrize("letter", LETTERS)
@pytest.mark.parametrize("size", [32, 100])
def test_every_letter_draws_at_any_size(letter: str, size: int) -> None:
    image = draw(home(letter), size)
    assert image.shape == (size, size, 3)
    assert image.dtype == np.uint8


def test_same_shot_same_bytes_whatever_was_drawn_before() -> None:
    first = draw(home("W"), 64)
    for other in ("nothing", "A", "Q"):
        draw(home(other, signer=5), 48)
    assert np.array_equal(first, draw(home("W"), 64))


@pytest.mark.parametrize("other", [home("W", seed=1), home("W", index=1), home("W", signer=2)])
def test_another_seed_index_or_signer_gives_another_image(other: Shot) -> None:
    assert difference(draw(home("W"), 64), draw(other, 64)).mean() > 2


@pytest.mark.parametrize("letter", WITH_A_HAND)
def test_a_hand_stands_out_from_its_room(letter: str) -> None:
    """The room is that of the same session; 3 % of the pixels is a small fist in a corner."""
    visible = []
    for signer in (1, 2, 3):
        image, room = draw(home(letter, signer), 64), draw(home("nothing", signer), 64)
        visible.append((difference(image, room) > 40).mean())
    assert np.median(visible) > 0.03


def test_letters_differ_from_each_other() -> None:
    images = {letter: draw(home(letter), 48) for letter in LETTERS}
    for first in LETTERS:
        for second in LETTERS:
            assert first == second or not np.array_equal(images[first], images[second])


def test_external_hands_are_dark_before_bright_rooms() -> None:
    """The hand is where image and empty room differ. Over three seeds external hands were 46 to 54
    levels darker than those at home, and 88 to 92 levels darker relative to their rooms."""

    def brightness(external: bool) -> tuple[float, float]:
        hands, contrasts = [], []
        for signer in range(1, 13):
            image = draw(Shot("B", signer, 1, 0, external, 0), 64)
            room = draw(Shot("nothing", signer, 1, 0, external, 0), 64)
            hand = difference(image, room) > 40
            hands.append(image[hand].mean())
            contrasts.append(image[hand].mean() - image[~hand].mean())
        return float(np.mean(hands)), float(np.mean(contrasts))

    home_hand, home_contrast = brightness(external=False)
    external_hand, external_contrast = brightness(external=True)
    assert external_hand < home_hand - 30
    assert external_contrast < home_contrast - 60


def test_a_posed_hand_keeps_its_21_joints_and_the_lengths_of_its_bones() -> None:
    bones = adult_bones()
    straight = articulate(bones, Thumb(0, 0, 0), (Finger(), Finger(), Finger(), Finger()))
    for letter in WITH_A_HAND:
        posed = articulate(bones, POSES[letter].thumb, POSES[letter].fingers)
        assert posed.joints.shape == (len(JOINTS), 3) == (21, 3)
        for first in (1, 5, 9, 13, 17):
            for joints in (posed.joints, straight.joints):
                chain = joints[first : first + 4]
                lengths = np.linalg.norm(np.diff(chain, axis=0), axis=1)
                expected = bones.thumb if first == 1 else bones.phalanges[first // 4 - 1]
                assert lengths == pytest.approx(expected)


def test_fingers_flex_towards_the_palm_and_thumbs_lie_on_their_side() -> None:
    """In hand space the palm faces +z and the thumb's side is +x."""
    tip = {name: row for row, name in enumerate(JOINTS) if name.endswith("_tip")}
    fist = articulate(adult_bones(), POSES["S"].thumb, POSES["S"].fingers).joints
    flat = articulate(adult_bones(), POSES["B"].thumb, POSES["B"].fingers).joints
    ell = articulate(adult_bones(), POSES["L"].thumb, POSES["L"].fingers).joints
    for finger in ("index", "middle", "ring", "pinky"):
        row = tip[f"{finger}_tip"]
        assert fist[row, 2] > 1.0
        assert fist[row, 1] < flat[row, 1] - 5.0
    assert ell[tip["thumb_tip"], 0] > ell[tip["index_tip"], 0] + 4.0


def test_shots_are_balanced_and_in_a_fixed_order() -> None:
    listed = shots(
        ["A", "space"], n_signers=3, images_per_letter_per_signer=4, external=False, seed=7
    )
    assert listed == shots(["A", "space"], 3, 4, external=False, seed=7)
    assert len({shot.key for shot in listed}) == len(listed) == 2 * 3 * 4
    for letter in ("A", "space"):
        for signer in (1, 2, 3):
            sessions = [
                shot.session for shot in listed if (shot.letter, shot.signer) == (letter, signer)
            ]
            assert sorted(sessions) == [1, 1, 2, 2]


def test_home_and_external_share_no_signer() -> None:
    groups = [
        {shot.group for shot in shots(LETTERS, 12, 1, external=external, seed=0)}
        for external in (False, True)
    ]
    assert len(groups[0]) == len(groups[1]) == 12
    assert not groups[0] & groups[1]


@pytest.mark.parametrize("external", [False, True])
def test_a_key_names_its_shot(external: bool) -> None:
    for shot in shots(["A", "del"], 2, 2, external=external, seed=3):
        assert Shot.from_key(shot.key) == shot
    assert home("A", 3, 7).key == "synthetic/home/signer03/session1/A/0007@seed0"


@pytest.mark.parametrize(
    "key",
    ["", "A", "synthetic/home/guest03/session1/A/0007@seed0",
     "synthetic/home/signer3/session1/A/0007@seed0",
     "synthetic/home/signer03/session1/A/0007@seed0/more"],
)  # fmt: skip
def test_text_that_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="allowed is the form synthetic/home/signer03"):
        Shot.from_key(key)


def test_bad_arguments_are_named_with_what_is_allowed() -> None:
    with pytest.raises(ValueError, match=r"'a'.*allowed are A, B"):
        home("a")
    with pytest.raises(ValueError, match="session is 3; allowed are 1 and 2"):
        Shot("A", 1, 3, 0, False, 0)
    with pytest.raises(ValueError, match="signer is 0; allowed is 1 or more"):
        home("A", signer=0)
    with pytest.raises(ValueError, match="n_signers is 0; allowed is 1 or more"):
        shots(["A"], 0, 1, external=False, seed=0)
    with pytest.raises(ValueError, match="images_per_letter_per_signer is 0"):
        shots(["A"], 1, 0, external=False, seed=0)
    for classes in ([], ["A", "A"], ["ä"]):
        with pytest.raises(ValueError, match=r"classes is .* allowed are different ones of A, B"):
            shots(classes, 1, 1, external=False, seed=0)
    with pytest.raises(ValueError, match="size is 8; allowed is 16 to 1024"):
        draw(home("A"), 8)

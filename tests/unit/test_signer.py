"""The embedded source draws what it promises: the same image for a key, a hand in every one."""

import numpy as np
import pytest

from asl_exp.data.signer import LETTERS, Shot, draw, shots

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


def test_external_hands_are_darker_against_brighter_rooms() -> None:
    """The hand is where image and empty room differ; its brightness is relative to the room's."""

    def contrast(external: bool) -> float:
        found = []
        for signer in range(1, 13):
            image = draw(Shot("B", signer, 1, 0, external, 0), 64)
            room = draw(Shot("nothing", signer, 1, 0, external, 0), 64)
            hand = difference(image, room) > 40
            if hand.any():
                found.append(image[hand].mean() - image[~hand].mean())
        return float(np.mean(found))

    assert contrast(external=True) < contrast(external=False) - 40


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

"""A letter held for a second is typed once; space and del work; misread frames do no harm."""

import pytest

from asl_exp.serving.app.spelling import Speller


def spelled(signs: str, fps: float = 5, start: float = 100.0) -> str:
    """Show signs, one a character and frame: ``.`` is no sign, ``_`` space, ``<`` del."""
    speller, names = Speller(), {".": None, "_": "space", "<": "del", "0": "nothing"}
    for frame, sign in enumerate(signs):
        speller.see(names.get(sign, sign), start + frame / fps)
    return speller.text


@pytest.mark.parametrize(
    ("signs", "text"),
    [
        ("AAAAA", ""),
        ("AAAAAA", "A"),
        ("AAAAAAAAAAAAAAAAAAAAAAAAA", "A"),
        ("AAAAAABBBBBBBB", "AB"),
        ("AAAAAA.AAAAAAA", "A"),
        ("AAAAAA...AAAAAA", "AA"),
        ("AAAAAA000AAAAAA", "AA"),
        ("AAAAAABBBAAAAAA", "AA"),
        ("AABAAAAAA", "A"),
        ("AAAAAABAABAAABAAAA", "A"),
        ("ABABABABABABABAB", ""),
        ("0000000000", ""),
        ("..........", ""),
        ("AAAAAA..______..BBBBBBBB", "A B"),
        ("AAAAAA..BBBBBBBB..<<<<<<<<", "A"),
        ("<<<<<<<<", ""),
        ("CCCCCCCAAAAAAALLLLLLL<<<<<<<BBBBBBBB", "CAB"),
    ],
)
def test_what_is_held_is_typed(signs: str, text: str) -> None:
    assert spelled(signs) == text


@pytest.mark.parametrize("fps", [3, 10, 25])
def test_a_second_is_a_second_at_any_speed(fps: int) -> None:
    assert spelled("A" * int(0.9 * fps), fps) == ""
    assert spelled("A" * (fps + 2), fps) == "A"


def test_two_frames_two_seconds_apart_are_not_held_between_them() -> None:
    assert spelled("AAAA", fps=0.5) == ""


def test_frames_that_come_late_or_twice_change_nothing() -> None:
    speller = Speller()
    for at in (0.0, 0.5, 0.4, 0.5, 0.9):
        assert speller.see("A", at) is None
    assert speller.see("B", 0.2) is None
    assert (speller.letter, speller.held) == ("A", 0.9)
    assert speller.see("A", 1.0) == "A"


def test_nothing_is_not_held() -> None:
    speller = Speller()
    for frame in range(10):
        speller.see("nothing", frame / 5)
    assert (speller.letter, speller.held) == (None, 0.0)


def test_the_word_can_be_mended_by_hand() -> None:
    speller = Speller("CAT")
    speller.type("del")
    speller.type("space")
    speller.type("B")
    assert speller.text == "CA B"
    speller.clear()
    assert speller.text == ""

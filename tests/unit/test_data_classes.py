"""The words of data.classes, and contradictions between the keys of data."""

import pytest

from asl_exp.config.classes import parse_classes


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        ("A-I", tuple("ABCDEFGHI")),
        ("A-C,X,del", ("A", "B", "C", "X", "del")),
        (["A", "B", "del"], ("A", "B", "del")),
        (["A-B", "Y"], ("A", "B", "Y")),
        ("B,A", ("B", "A")),
        ("thumbs-up,fist", ("thumbs-up", "fist")),
    ],
)
def test_words_become_classes(
    given: str | list[str] | None, expected: tuple[str, ...] | None
) -> None:
    assert parse_classes(given) == expected


@pytest.mark.parametrize(("word", "count"), [("static", 24), ("letters", 26), ("signs", 29)])
def test_names_of_sets(word: str, count: int) -> None:
    classes = parse_classes(word)
    assert classes is not None
    assert len(classes) == count
    assert ("J" in classes) == (word != "static")


@pytest.mark.parametrize("given", ["", "A", [], "A,,B", "A-A", "I-A", "a-i", "A,A", ["A-C", "B"]])
def test_words_without_meaning_are_refused(given: str | list[str]) -> None:
    with pytest.raises(ValueError, match=r"classes|empty|range|more than once"):
        parse_classes(given)

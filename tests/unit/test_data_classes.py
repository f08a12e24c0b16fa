"""The words of data.classes, and contradictions between the keys of data."""

from typing import Any

import pytest

from asl_exp.config.classes import parse_classes
from asl_exp.config.rules import data_faults
from asl_exp.config.schema import DataConfig


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


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ({"source": "folder"}, "data.root: not given"),
        ({"source": "manifest"}, "data.manifest: not given"),
        ({"manifest": "m.csv"}, "data.manifest: 'm.csv' is given"),
        ({"root": "images"}, "data.root: 'images' is given"),
        ({"sources": ["x"]}, "data.sources: ['x'] is given"),
        ({"source": "manifest", "manifest": "m", "sources": ["x"], "external": ["x"]},
         "data.external: x is also in data.sources"),
        ({"external": ["x", "x"]}, "data.external: ['x', 'x'] names a set twice"),
        ({"val_fraction": 0.6, "test_fraction": 0.5}, "data.val_fraction: 0.6"),
        ({"split": "leave_out"}, "data.leave_out: empty"),
        ({"leave_out": ["g"]}, "data.leave_out: ['g'] is given"),
        ({"split": "column"}, "data.split: column needs a manifest"),
        ({"classes": "A-"}, "data.classes:"),
    ],
)  # fmt: skip
def test_contradictions_are_named(keys: dict[str, Any], fault: str) -> None:
    faults = data_faults(DataConfig(**keys))
    assert len(faults) == 1
    assert faults[0].startswith(fault)


def test_the_defaults_contradict_nothing() -> None:
    assert data_faults(DataConfig()) == []

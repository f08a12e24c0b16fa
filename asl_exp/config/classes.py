"""The words that `data.classes` understands.

Owns the spelling of class subsets; whether the data has such classes is for the data room to say.
"""

from string import ascii_uppercase
from typing import Final

LETTERS: Final = tuple(ascii_uppercase)
MOTION_LETTERS: Final = ("J", "Z")
STATIC_LETTERS: Final = tuple(letter for letter in LETTERS if letter not in MOTION_LETTERS)
SIGNS: Final = (*LETTERS, "del", "nothing", "space")

_SETS: Final = {"static": STATIC_LETTERS, "letters": LETTERS, "signs": SIGNS}
_ALLOWED: Final = (
    "a range such as A-I, a list such as [A,B,del], static (24 letters without J and Z), "
    "letters (26) or signs (29)"
)


def parse_classes(given: str | list[str] | None) -> tuple[str, ...] | None:
    """Return the classes that are meant, in the order given; None means all that are found.

    A word is a set's name, a range of capital letters, or the name of one class. A string may hold
    several words between commas.

    Raises:
        ValueError: a word that means nothing, a class named twice, or fewer than two classes.
    """
    if given is None:
        return None
    words = given.split(",") if isinstance(given, str) else given
    classes = [name for word in words for name in _expand(word.strip(), given)]
    twice = sorted({name for name in classes if classes.count(name) > 1})
    if twice:
        raise ValueError(f"{given!r} names {', '.join(twice)} more than once")
    if len(classes) < 2:
        raise ValueError(f"{given!r} is fewer than two classes; allowed: {_ALLOWED}")
    return tuple(classes)


def _expand(word: str, given: str | list[str]) -> tuple[str, ...]:
    if not word:
        raise ValueError(f"{given!r} has an empty name in it; allowed: {_ALLOWED}")
    if word.lower() in _SETS:
        return _SETS[word.lower()]
    first, dash, last = (part.strip() for part in word.partition("-"))
    if not dash or len(first) != 1 or len(last) != 1:
        return (word,)
    if first.isdigit() and last.isdigit() and first < last:
        return tuple(str(number) for number in range(int(first), int(last) + 1))
    if first not in LETTERS or last not in LETTERS or first >= last:
        raise ValueError(f"{word!r} is not a range of capital letters in order, such as A-I")
    return LETTERS[LETTERS.index(first) : LETTERS.index(last) + 1]

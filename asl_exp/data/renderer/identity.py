"""The identity of each image (signer, session, letter, number), and balanced lists of them.

Nothing is drawn here. Every choice has its own stream of random numbers, named by its purpose and
whom it concerns: the same names give the same numbers whatever was drawn before, so images can be
drawn in any order.
"""

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asl_exp.data.renderer.letters import LETTERS

SESSIONS = (1, 2)
_KEY = re.compile(
    r"synthetic/(?P<world>home|external)/(?P<person>signer|guest)(?P<signer>\d+)/session(?P<session>\d+)"
    r"/(?P<letter>[A-Za-z]+)/(?P<index>\d+)@seed(?P<seed>\d+)"
)


@dataclass(frozen=True)
class Shot:
    """One image: who shows which letter, when. Everything drawn follows from these six values."""

    letter: str
    signer: int  # from 1
    session: int  # 1 or 2: one room, one light
    index: int  # from 0, within signer and letter
    external: bool  # another signer, against the light, in a cluttered room
    seed: int

    def __post_init__(self) -> None:
        problems = []
        if self.letter not in LETTERS:
            problems.append(f"letter is {self.letter!r}; allowed are {', '.join(LETTERS)}")
        if self.session not in SESSIONS:
            problems.append(f"session is {self.session!r}; allowed are 1 and 2")
        for name, lowest in (("signer", 1), ("index", 0), ("seed", 0)):
            if getattr(self, name) < lowest:
                problems.append(f"{name} is {getattr(self, name)!r}; allowed is {lowest} or more")
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def group(self) -> str:
        """Whose hand it is: what a split must never cut."""
        return f"{'guest' if self.external else 'signer'}{self.signer:02d}"

    @property
    def key(self) -> str:
        """A readable name, unique among all images that can be drawn."""
        world = "external" if self.external else "home"
        where = f"synthetic/{world}/{self.group}/session{self.session}"
        return f"{where}/{self.letter}/{self.index:04d}@seed{self.seed}"

    @classmethod
    def from_key(cls, key: str) -> "Shot":
        """The shot that a key names; ValueError for text that no shot has as its key."""
        match = _KEY.fullmatch(key)
        if match is not None:
            shot = cls(
                letter=match["letter"],
                signer=int(match["signer"]),
                session=int(match["session"]),
                index=int(match["index"]),
                external=match["world"] == "external",
                seed=int(match["seed"]),
            )
            if shot.key == key:
                return shot
        raise ValueError(
            f"key is {key!r}; allowed is the form synthetic/home/signer03/session1/A/0007@seed0 "
            "(or synthetic/external/guest03/...)"
        )


def shots(
    classes: Sequence[str],
    n_signers: int,
    images_per_letter_per_signer: int,
    *,
    external: bool,
    seed: int,
) -> list[Shot]:
    """As many images of each class from each signer, the first half from session 1."""
    unknown = [letter for letter in classes if letter not in LETTERS]
    if unknown or not classes or len(set(classes)) != len(classes):
        raise ValueError(
            f"classes is {list(classes)!r}; allowed are different ones of {', '.join(LETTERS)}"
        )
    for name, number, lowest in (
        ("n_signers", n_signers, 1),
        ("images_per_letter_per_signer", images_per_letter_per_signer, 1),
        ("seed", seed, 0),
    ):
        if number < lowest:
            raise ValueError(f"{name} is {number!r}; allowed is {lowest} or more")
    first_session = (images_per_letter_per_signer + 1) // 2
    return [
        Shot(letter, signer, 1 if index < first_session else 2, index, external, seed)
        for signer in range(1, n_signers + 1)
        for letter in classes
        for index in range(images_per_letter_per_signer)
    ]


def stream(seed: int, external: bool, purpose: str, *parts: int) -> np.random.Generator:
    """Generator for one purpose in one world; parts say which person, session or image."""
    return np.random.default_rng([seed, int(external), zlib.crc32(purpose.encode()), *parts])


def image_stream(shot: Shot) -> np.random.Generator:
    """Generator for one image alone."""
    letter = zlib.crc32(shot.letter.encode())
    parts = (shot.signer, shot.session, shot.index, letter)
    return stream(shot.seed, shot.external, "image", *parts)

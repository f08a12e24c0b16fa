"""Seeded randomness: every choice has its own stream, named by its purpose and whom it concerns.

The same names give the same numbers whatever was drawn before, so images can be drawn in any order.
"""

import zlib

import numpy as np

from .shot import Shot


def stream(seed: int, external: bool, purpose: str, *parts: int) -> np.random.Generator:
    """Generator for one purpose in one world; parts say which person, session or image."""
    return np.random.default_rng([seed, int(external), zlib.crc32(purpose.encode()), *parts])


def person_stream(shot: Shot, purpose: str) -> np.random.Generator:
    """Generator for what all images of a signer share."""
    return stream(shot.seed, shot.external, purpose, shot.signer)


def session_stream(shot: Shot, purpose: str) -> np.random.Generator:
    """Generator for what all images of a session share."""
    return stream(shot.seed, shot.external, purpose, shot.signer, shot.session)


def image_stream(shot: Shot, purpose: str) -> np.random.Generator:
    """Generator for one image alone."""
    letter = zlib.crc32(shot.letter.encode())
    parts = (shot.signer, shot.session, shot.index, letter)
    return stream(shot.seed, shot.external, purpose, *parts)

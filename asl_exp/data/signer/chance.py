"""Seeded randomness: every choice has its own stream, named by its purpose and whom it concerns."""

import zlib

import numpy as np

from .shot import Shot


def stream(shot: Shot, purpose: str, *parts: int) -> np.random.Generator:
    """Generator for one purpose; parts say which person, session or image.

    The same arguments give the same numbers, whatever was drawn before.
    """
    name = zlib.crc32(purpose.encode())
    return np.random.default_rng([shot.seed, int(shot.external), name, *parts])

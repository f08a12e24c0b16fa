"""The source "synthetic": rendered hands as rows of a table; asl_exp.data.renderer draws them."""

from functools import cache
from hashlib import sha256
from importlib import resources
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from asl_exp.config.rules import SYNTHETIC_EXTERNAL
from asl_exp.config.schema import SyntheticConfig
from asl_exp.data import renderer
from asl_exp.data.file_facts import Facts
from asl_exp.data.near_duplicates import WORDS
from asl_exp.data.recordings import SIDE
from asl_exp.data.sources.listing import table

PREFIX: Final = "synthetic:"
LARGEST: Final = 1024
"""Side in pixels up to which the signer draws; more is enlarged."""


def list_synthetic(
    config: SyntheticConfig, classes: tuple[str, ...], *, external: bool
) -> pd.DataFrame:
    """List the shots of all signers, or those of the external ones."""
    shots = renderer.shots(
        classes,
        config.external_signers if external else config.signers,
        config.images_per_letter,
        external=external,
        seed=config.seed,
    )
    keys = [PREFIX + shot.key for shot in shots]
    source = SYNTHETIC_EXTERNAL if external else "synthetic"
    labels = [shot.letter for shot in shots]
    return table(keys, keys, labels, source, [shot.group for shot in shots])


def draw(path: str, size: int) -> NDArray[np.uint8]:
    """Draw the image that a path of this source names: (size, size, 3) RGB."""
    return renderer.draw(renderer.Shot.from_key(path.removeprefix(PREFIX)), size)


def facts_of(paths: list[str]) -> Facts:
    """Return the facts of rendered images; the digest is of the key and the code that draws it."""
    code = _code_digest()
    sizes = np.zeros(len(paths), np.int32)
    return Facts(
        sha256=[sha256(f"{code} {path}".encode()).hexdigest() for path in paths],
        width=sizes,
        height=sizes,
        phash=np.zeros((len(paths), WORDS), np.uint64),
        tiny=np.zeros((len(paths), SIDE, SIDE, 3), np.uint8),
        fault=[""] * len(paths),
    )


@cache
def _code_digest() -> str:
    """Return the digest of the drawing code: another drawing must never be read from a store."""
    digest = sha256()
    files = sorted(resources.files(renderer).iterdir(), key=lambda file: file.name)
    for file in files:
        if file.name.endswith(".py"):
            digest.update(file.read_bytes())
    return digest.hexdigest()

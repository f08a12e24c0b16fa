"""Joints of an experiment's photos as a file that can be shared where the photos cannot."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from asl_exp.config.conf_folder import home_expanded
from asl_exp.config.errors import DataError
from asl_exp.config.schema import DataConfig
from asl_exp.data.decode_pool import progress
from asl_exp.data.hands.hand import Hands, together
from asl_exp.data.hands.hand_store import HandSource, HandStore, find_in
from asl_exp.data.hands.joint_rows import ABOUT, JointRows, write_joint_rows
from asl_exp.data.manifest import make_manifest
from asl_exp.data.renderer.drawing import draw_signer
from asl_exp.data.renderer.letters import LETTERS, NOTHING
from asl_exp.data.sources.listing import some
from asl_exp.data.sources.selection import list_images

_PICTURE: Final = 192
"""Side of the picture of a drawn signer, in pixels."""


def export_joints(data: DataConfig, source: HandSource, file: Path) -> str:
    """Find the hands of all images that a configuration names, and write their joints.

    Returns:
        What was written, in words; so do the others here.

    Raises:
        DataError: the data or the file cannot be used, or no image shows a hand.
    """
    listing, folder = list_images(data), home_expanded(data.cache_dir) / "hands"
    found = []
    for listed in (listing.images, *listing.external.values()):
        table = make_manifest(listed, data, external=True).table
        store = HandStore(folder, table["path"].tolist(), table["sha256"].tolist(), source)
        found.append((table[list(ABOUT)], store.open(data)))
    return _written(found, file)


@dataclass(frozen=True)
class Clip:
    """A recording of one person who shows one letter.

    Attributes:
        signer: what the person is called in the file: its source and its group.
        frames: its images, as the bytes of image files.
    """

    label: str
    signer: str
    frames: Iterable[bytes]


def export_clips(clips: Sequence[Clip], data: DataConfig, source: HandSource, file: Path) -> str:
    """Find the hands in the frames of recordings, and write their joints.

    Raises:
        DataError: the file cannot be used, or no frame shows a hand.
    """
    detector, found = source.open(), []
    for clip in clips:
        hands = together([find_in(detector, frame, data.max_megapixels) for frame in clip.frames])
        about = pd.DataFrame([(clip.label, clip.signer, clip.signer)] * len(hands), columns=ABOUT)
        found.append((about, hands))
    return _written(found, file)


def export_drawn(n_signers: int, source: HandSource, file: Path) -> str:
    """Find the hands in pictures of drawn signers, one of each letter, and write their joints.

    Signers are those of seed 0.

    Raises:
        DataError: the file cannot be used, or no picture shows a hand.
    """
    letters = [letter for letter in LETTERS if letter != NOTHING]
    shown = [(n, letter) for n in range(1, n_signers + 1) for letter in letters]
    detector, found = source.open(), []
    with progress("finding drawn hands", len(shown)) as advance:
        for n, letter in shown:
            found.append(detector.find(draw_signer(letter, n, 0, _PICTURE)))
            advance(len(found))
    names = [f"detected_{n:04d}" for n, _ in shown]
    labels = [letter for _, letter in shown]
    about = pd.DataFrame({"label": labels, "source": names, "group": names}, dtype="str")
    return _written([(about, together(found))], file)


def _written(found: Sequence[tuple[pd.DataFrame, Hands]], file: Path) -> str:
    """Write the joints of the hands among many images, of which the tables tell; say how many."""
    about = pd.concat([table for table, _ in found], ignore_index=True)
    joints = np.concatenate([hands.joints[..., :2] for _, hands in found])
    there = np.concatenate([hands.found for _, hands in found])
    if not there.any():
        raise DataError(f"no hand was found in any of {len(about):,} images")
    write_joint_rows(JointRows(about, joints).take(there), file)
    if there.all():
        return f"{len(there):,} hands, one in every image"
    missing = Counter(about["label"][~there].tolist()).most_common()
    labels = some(f"{label} {number:,}" for label, number in missing)
    return f"{there.sum():,} hands; none was found in {(~there).sum():,} images: {labels}"

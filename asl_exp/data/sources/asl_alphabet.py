"""The source "asl_alphabet": 87,000 video frames of 29 signs, one signer in four sessions.

The set is grassknoted/asl-alphabet on Kaggle. In every class the background and the light change
after frames 1000, 2000 and 2500; the frames of one session are near-copies of each other, so a
session is a group.
"""

import re
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from asl_exp.config.errors import DataError
from asl_exp.data.sources.folder import existing_folder, list_folder, newest_version
from asl_exp.data.sources.listing import some

HANDLE: Final = "grassknoted/asl-alphabet"
SOURCE: Final = "kaggle_asl_alphabet"
LAST_FRAMES: Final = (1000, 2000, 2500)
"""The last frame number of sessions 1 to 3; what follows is session 4."""

_INNER: Final = "asl_alphabet_train"
_DEEPEST: Final = 6
_FRAME: Final = re.compile(r"(\d+)\.[A-Za-z]+$")


def list_asl_alphabet(root: str | None) -> pd.DataFrame:
    """List the training images of a copy on disk, or of the one that kagglehub keeps.

    Raises:
        DataError: no copy and no kagglehub, or file names without frame numbers.
    """
    folder = copy_of(HANDLE, root)
    images = list_folder(str(train_folder(folder)), "data.root", SOURCE)
    images["group"] = _sessions(images["key"].tolist(), folder)
    return images


def train_folder(folder: Path) -> Path:
    """Return the folder that holds the class folders: the set nests it twice in its own name.

    Also from a folder above it, such as kagglehub's own with the versions of the set.
    """
    for _ in range(_DEEPEST):
        for inner in (folder / _INNER / _INNER, folder / _INNER):
            if inner.is_dir():
                return inner
        below = [one.name for one in folder.iterdir() if one.is_dir()]
        inner_name = newest_version(folder, below) or (below[0] if len(below) == 1 else "")
        if not inner_name:
            break
        folder = folder / inner_name
    return folder


def _sessions(keys: list[str], folder: Path) -> list[str]:
    matches = [_FRAME.search(key) for key in keys]
    wrong = [key for key, match in zip(keys, matches, strict=True) if match is None]
    if wrong:
        raise DataError(
            f"data.root: {len(wrong)} files under '{folder}' have no frame number "
            f"({some(wrong, limit=3)}), so their recording sessions are not known; the Kaggle set "
            "names them A1.jpg to A3000.jpg; for other names choose data=folder"
        )
    frames = np.array([int(match.group(1)) for match in matches if match])
    sessions = np.searchsorted(LAST_FRAMES, frames, side="left") + 1
    return [f"kaggle_s{session}" for session in sessions]


def require_fetchable(handle: str = HANDLE) -> None:
    """Raise a DataError where there is no way to fetch a copy; reaches no network."""
    try:
        import kagglehub  # noqa: F401  (an extra)
    except ImportError:
        raise DataError(
            "data.root: not given, and kagglehub, which fetches the set, is not installed; run "
            f"pip install asl-exp[kaggle], or give data.root= of a copy of {handle}"
        ) from None


def copy_of(handle: str, root: str | None) -> Path:
    """Return the folder given, or that in which kagglehub keeps a set, fetched on first use.

    Raises:
        DataError: there is no such folder; kagglehub is not installed, or Kaggle refuses.
    """
    if root:
        return existing_folder(root, "data.root")
    require_fetchable(handle)
    import kagglehub

    try:
        return Path(kagglehub.dataset_download(handle))
    except Exception as error:  # kagglehub raises its own and those of several HTTP libraries
        raise DataError(
            f"data.root: not given, and {handle} could not be fetched from Kaggle: {error}; "
            "see kagglehub's page on signing in, or give data.root= of a copy on disk"
        ) from error

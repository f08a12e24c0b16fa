"""The source "sign_mnist": Sign Language MNIST, 34,627 pictures of 28 x 28 grey pixels.

The set is datamunge/sign-language-mnist on Kaggle: two tables of the columns label, pixel1 to
pixel784, one to train and one to test, 24 letters (no J, no Z). Its pictures are unpacked once into
the cache folder, so that everything after this works on files. Who signs is not in the tables, and
its pictures are many changed copies of few, so scores within the set stay "groups unknown".
"""

from pathlib import Path
from string import ascii_uppercase
from typing import Final

import numpy as np
import pandas as pd
from PIL import Image

from asl_exp.config.conf_folder import home_expanded
from asl_exp.config.errors import DataError
from asl_exp.data.cache_files import file_digest, locked, unwritable_cache
from asl_exp.data.decode_pool import progress
from asl_exp.data.sources.asl_alphabet import copy_of
from asl_exp.data.sources.listing import some, table

HANDLE: Final = "datamunge/sign-language-mnist"
SOURCE: Final = "sign_mnist"
FILES: Final = {"train": "sign_mnist_train.csv", "test": "sign_mnist_test.csv"}

_SIDE: Final = 28
_COLUMNS: Final = ("label", *(f"pixel{number}" for number in range(1, _SIDE * _SIDE + 1)))
_LETTERS: Final = {
    number: letter for number, letter in enumerate(ascii_uppercase) if letter not in "JZ"
}
_DEEPEST: Final = 5
_WHOLE: Final = "whole"
"""An empty file beside unpacked pictures once all of them are there."""


def list_sign_mnist(root: str | None, cache_dir: str) -> pd.DataFrame:
    """List the pictures of both tables, unpacked where they are not yet.

    Raises:
        DataError: no copy and no kagglehub, or tables of another form.
    """
    paths, keys, labels, splits = [], [], [], []
    for split, file in tables(root).items():
        folder = _unpacked(file, home_expanded(cache_dir) / SOURCE)
        for letter in sorted(_LETTERS.values()):
            names = sorted(one.name for one in (folder / letter).glob("*.png"))
            paths += [str(folder / letter / name) for name in names]
            keys += [f"{split}/{letter}/{name}" for name in names]
            labels += [letter] * len(names)
            splits += [split] * len(names)
    listed = table(paths, keys, labels, SOURCE)
    listed["split"] = splits
    return listed


def tables(root: str | None) -> dict[str, Path]:
    """Return both tables of a copy on disk, or of the one that kagglehub keeps.

    Raises:
        DataError: one of them is not there.
    """
    folder = copy_of(HANDLE, root)
    found = {}
    for split, name in FILES.items():
        below = (folder.glob("*/" * depth + name) for depth in range(_DEEPEST))
        matches = [match for found_there in below for match in sorted(found_there)]
        matches = [match for match in matches if match.is_file()]
        if not matches:
            there = some(sorted(one.name for one in folder.iterdir())) or "nothing"
            raise DataError(
                f"data.root: '{folder}' has no {name} (it has {there}); give the folder of "
                f"{FILES['train']} and {FILES['test']} from {HANDLE}"
            )
        found[split] = matches[0]
        _require_header(matches[0])
    return found


def _require_header(file: Path) -> None:
    with file.open("rb") as opened:
        header = opened.read(1 << 16).split(b"\n", 1)[0].decode("utf-8-sig", "replace")
    names = tuple(name.strip().strip('"') for name in header.strip("\r").split(","))
    if names != _COLUMNS:
        raise DataError(
            f"data.root: '{file}' has the columns {some(names, 4)}; Sign Language MNIST has label, "
            f"pixel1, ... pixel{_SIDE * _SIDE}"
        )


def _unpacked(file: Path, cache: Path) -> Path:
    """Return the folder of a table's pictures, one folder a letter."""
    digest = file_digest(file)
    folder = cache / digest[:24]
    with locked(cache / f"{digest[:24]}.lock"):
        if not (folder / _WHOLE).is_file():
            _unpack(file, folder)
    return folder


def _unpack(file: Path, folder: Path) -> None:
    values = _values(file)
    try:
        for letter in _LETTERS.values():
            (folder / letter).mkdir(parents=True, exist_ok=True)
        with progress(f"unpacking {file.name}", len(values)) as advance:
            for row, (label, *pixels) in enumerate(values):
                picture = np.array(pixels, np.uint8).reshape(_SIDE, _SIDE)
                Image.fromarray(picture).save(folder / _LETTERS[int(label)] / f"{row:05}.png")
                advance(row + 1)
        (folder / _WHOLE).touch()
    except OSError as error:
        raise unwritable_cache(folder, error) from error


def _values(file: Path) -> "np.ndarray[tuple[int, int], np.dtype[np.int64]]":
    """Return (N, 785): label and pixels of each row."""
    try:
        read = pd.read_csv(file, dtype="int64", encoding="utf-8-sig").to_numpy()
    except (ValueError, OverflowError, OSError) as error:
        raise DataError(f"data.root: '{file}' is no table of whole numbers: {error}") from error
    if not len(read):
        raise DataError(f"data.root: '{file}' has a header but no rows")
    wrong = sorted(set(read[:, 0].tolist()) - set(_LETTERS))
    if wrong:
        raise DataError(
            f"data.root: '{file}' has the labels {some(wrong)}; they are 0 to 24 without 9: A to Y "
            "without J"
        )
    if read[:, 1:].min() < 0 or read[:, 1:].max() > 255:
        raise DataError(f"data.root: '{file}' has pixels that are not of 0 to 255")
    return read

"""What a folder's name says: a split, a person, a part, another version, or hardly a class.

Words alone; what lies in the folders is for folder.py.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from asl_exp.config.classes import SIGNS
from asl_exp.data.recordings import SPLITS, is_person, is_take

IGNORED: Final = {
    "__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found",
    "__pycache__", "logs", "lightning_logs", "mlruns", "mlartifacts", "wandb", "tensorboard",
    "node_modules", "venv", "ipynb_checkpoints",
}  # fmt: skip
"""Folders that programs and file servers make beside photos."""

_NO_CLASSES: Final = {
    "backup", "backups", "copy", "new folder", "output", "outputs", "results", "result", "figures",
    "plots", "tmp", "temp", "raw", "unsorted", "misc", "images", "labels", "annotations", "runs",
    "checkpoints", "augmented", "samples", "sample_images", "deleted", "trash", "archive", "src",
    "preview", "previews", "thumbnails", "scripts", "notebooks", "weights", "cache", "screenshots",
    "untitled folder", "neuer ordner", "nouveau dossier",
}  # fmt: skip
_VERSIONS: Final = {
    "rgb", "depth", "color", "colour", "gray", "grey", "grayscale", "greyscale", "raw", "processed",
    "preprocessed", "original", "originals", "orig", "resized", "cropped", "crops", "augmented",
    "aug", "mask", "masks", "masked", "edges", "canny", "binary", "segmented", "skeleton",
    "landmarks", "thumbnails", "normalized", "enhanced",
}  # fmt: skip
_OTHER_SIGNS: Final = {"blank", "none", "unknown", "background", "other", "delete", "empty", "null"}
_SPLIT_WORD: Final = re.compile(
    r"(?:^|[_\- ])(" + "|".join(SPLITS) + r")(?:[_\- ]?(?:set|data|images?|imgs?))?(?=$|[_\- \d])",
    re.I,
)
_PART: Final = re.compile(r"(?:fold|part|batch|chunk|shard|set)[ _-]?\d+", re.I)
_COPY: Final = re.compile(
    r"(.+?)(?:[ _-]+(?:copy|backup|bak|old|new|aug|augmented|resized|cropped|orig|original))*"
    r"(?:[ _]*\(\d+\)| \d+)?",
    re.I,
)


def splits_of(names: Sequence[str]) -> dict[str, str]:
    """Return the split of each folder, or nothing where one of them is no split."""
    matches = {name: _SPLIT_WORD.findall(name) for name in names}
    if len(names) < 2 or not all(matches.values()):
        return {}
    return {name: SPLITS[words[-1].lower()] for name, words in matches.items()}


def is_split(name: str) -> bool:
    """Tell whether a name has a word for a split in it."""
    return bool(_SPLIT_WORD.search(name))


def are_recorded(names: Iterable[str]) -> bool:
    """Tell whether all names are those of people or of recordings, such as signer3, session_2."""
    return all(is_person(name) or is_take(name) for name in names)


def are_parts(names: Iterable[str]) -> bool:
    """Tell whether all names are numbered parts that do not say who is in them, such as fold2."""
    return all(_PART.fullmatch(name) for name in names)


def versions(names: Iterable[str]) -> list[str]:
    """Return the names that stand for other versions of the same images, such as depth."""
    return [name for name in names if name.lower().strip(" _-") in _VERSIONS]


def letterlike(names: Sequence[str]) -> bool:
    """Tell whether names are those of signs: letters, digits, space, del, nothing."""
    return sum(map(_is_sign, names)) >= 0.8 * len(names)


def hardly_class(name: str, among: Sequence[str]) -> bool:
    """Tell whether a folder is hardly a class: a split, a program's folder, a copy of another."""
    plain = name.lower().strip(" _-.")
    copied = _COPY.fullmatch(name)
    return (
        plain in _NO_CLASSES
        or is_split(name)
        or bool(copied and copied[1] != name and copied[1] in among)
    )


def is_around(name: str) -> bool:
    """Tell whether a folder of this name holds images of all classes, or is a split."""
    return name.lower() in _NO_CLASSES or is_split(name)


def beside_letters(names: Sequence[str]) -> list[str]:
    """Return the names that are no sign's, where most are letters or digits."""
    others = [name for name in names if not _is_sign(name) and name.lower() not in _OTHER_SIGNS]
    return others if len(names) >= _FEW and len(others) <= 0.5 * len(names) else []


_FEW: Final = 3
_SIGNS: Final = {sign.casefold() for sign in SIGNS} | {str(number) for number in range(30)}


def _is_sign(name: str) -> bool:
    return name.casefold() in _SIGNS

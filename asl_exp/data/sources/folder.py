"""The source "a folder per class": the sub-folder's name is the label."""

import os
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from asl_exp.config.errors import DataError
from asl_exp.data.decode import SUFFIXES
from asl_exp.data.sources.listing import some, table


def list_folder(root: str, key: str, source: str | None = None) -> pd.DataFrame:
    """List the images under each sub-folder of `root`, at any depth.

    Args:
        root: the folder given by the user.
        key: the configuration key that named it, for messages.
        source: the source's name; None: the folder's own.

    Raises:
        DataError: no such folder, no sub-folders, or one of them without an image.
    """
    folder = existing_folder(root, key)
    classes = sorted(entry.name for entry in folder.iterdir() if _is_class(entry))
    if not classes:
        raise DataError(_no_classes(folder, key))
    paths: list[str] = []
    labels: list[str] = []
    for name in classes:
        found = sorted(image_files(folder / name))
        if not found:
            raise DataError(f"{key}: {folder / name} {_what_instead(folder / name)}")
        paths += found
        labels += [name] * len(found)
    keys = [Path(path).relative_to(folder).as_posix() for path in paths]
    return table(paths, keys, labels, source or folder.resolve().name)


def existing_folder(root: str, key: str) -> Path:
    """Return the folder, or raise a DataError that names the nearest parent that exists."""
    folder = Path(root).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise DataError(f"{key}: '{root}' is a file; give a folder with a sub-folder per class")
    parent = next((one for one in folder.absolute().parents if one.is_dir()), Path("/"))
    inside = sorted(entry.name for entry in parent.iterdir() if entry.is_dir())
    raise DataError(
        f"{key}: there is no folder '{root}' (looked in {Path.cwd()}); "
        f"{parent} has {some(inside) or 'no folders'}"
    )


def image_files(folder: Path) -> Iterator[str]:
    """Yield the image files below a folder, following links but entering no folder twice."""
    seen: set[tuple[int, int]] = set()
    waiting = [str(folder)]
    while waiting:
        current = waiting.pop()
        status = Path(current).stat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(current) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if Path(entry.name).suffix.lower() in SUFFIXES:
                    yield entry.path
                elif _is_folder(entry):
                    waiting.append(entry.path)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that points to itself
        return False


def _is_class(entry: Path) -> bool:
    try:
        return entry.is_dir() and not entry.name.startswith(".")
    except OSError:  # a link that points to itself
        return False


def _no_classes(folder: Path, key: str) -> str:
    files = [entry.name for entry in folder.iterdir() if entry.is_file()]
    images = [name for name in files if Path(name).suffix.lower() in SUFFIXES]
    if images:
        return (
            f"{key}: '{folder}' has {len(images)} images but no sub-folders; put each image into "
            "a sub-folder named by its class"
        )
    what = f"{len(files)} other files" if files else "nothing"
    return f"{key}: '{folder}' has {what} in it; it must have a sub-folder per class"


def _what_instead(folder: Path) -> str:
    """Say what a class folder without images holds."""
    names = [name for _, _, inside in os.walk(folder) for name in inside]
    if not names:
        return "is empty; add images, or remove the folder"
    suffixes = some(sorted({Path(name).suffix or "no ending" for name in names}), limit=5)
    allowed = some(sorted(SUFFIXES), limit=20)
    return f"has {len(names)} files ({suffixes}) but no image; read are {allowed}"

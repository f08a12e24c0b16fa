"""timm's sources, read for the names of its models: importing it takes seconds."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_ENTRY: Final = re.compile(r"^@(?:\w+\.)*register_model[^\n]*\ndef (\w+)\(", re.MULTILINE)


def registered_models(*folders: Path, only: str | None = None) -> set[str]:
    """Return the names of models that timm registers; empty where its sources are not there.

    Args:
        folders: further ones whose files register models.
        only: the one name that is asked for, which is found sooner.
    """
    files = _sources(*folders)
    if only is None:
        return set[str]().union(*map(_registered, files))
    alike = sorted(files, key=lambda file: not only.startswith(file.stem))
    named = f"def {only}(".encode()
    there = any(named in file.read_bytes() and only in _registered(file) for file in alike)
    return {only} if there else set()


def _registered(file: Path) -> set[str]:
    return set(_ENTRY.findall(file.read_text(encoding="utf-8")))


def published_tags(architecture: str) -> set[str] | None:
    """Return the names of a model's published weights; None where the sources do not tell."""
    name = re.escape(architecture)
    tagged = re.compile(rf"""['"]{name}\.(\w+)['"]\s*:""".encode())
    bare = re.compile(rf"""['"]{name}['"]\s*:""".encode())
    contents = [file.read_bytes() for file in _sources()]
    tags = {tag.decode() for content in contents for tag in tagged.findall(content)}
    return tags if tags or any(bare.search(content) for content in contents) else None


def _sources(*folders: Path) -> Iterator[Path]:
    timm = importlib.util.find_spec("timm")
    places = timm.submodule_search_locations if timm else None
    for folder in (*folders, *(Path(place) / "models" for place in places or [])):
        yield from folder.glob("*.py")

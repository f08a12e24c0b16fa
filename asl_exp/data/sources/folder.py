"""The source "folder": sub-folders are classes, unless they are known to be something else.

Owns which files are images and what a folder of folders means. Known layouts are read as what they
are: folders around one folder, folders of splits, signers above letters. What is neither classes
nor known is refused with what was seen.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from asl_exp.config.classes import SIGNS
from asl_exp.config.conf_folder import home_expanded
from asl_exp.config.errors import DataError, nearest
from asl_exp.config.redact import printable
from asl_exp.data.decode import SUFFIXES
from asl_exp.data.sources import folder_names as words
from asl_exp.data.sources.listing import NOTES, natural, some, table

if TYPE_CHECKING:
    import pandas as pd

_DEEPEST: Final = 40
_ELSEWHERE: Final = ("/proc", "/sys", "/dev")


@dataclass
class _Rows:
    """Images found so far: path, label, group and split of each; and what was noticed."""

    rows: list[tuple[str, str, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    other_files: Counter[str] = field(default_factory=Counter)


def list_folder(
    root: str, key: str, source: str | None = None, wanted: Sequence[str] | None = None
) -> "pd.DataFrame":
    """List the images under a folder of classes, or of a known layout.

    Args:
        key: the configuration key that named it, for messages.
        source: the source's name; None: the folder's own.
        wanted: the classes asked for; None: all that are there.

    Raises:
        DataError: no such folder, no classes in it, or something that is no class among them.
    """
    folder = existing_folder(root, key)
    found = _Rows()
    external = key == "data.external"
    _Reader(folder, key, tuple(wanted or ()), external, found).read(folder, "", "")
    if not found.rows:
        raise DataError(_no_classes(folder, key))
    paths, labels, groups, splits = (list(column) for column in zip(*found.rows, strict=True))
    keys = [_below(folder, path) for path in paths]
    listed = table(paths, keys, labels, source or folder.resolve().name, groups)
    listed["split"] = splits
    if found.other_files:
        kinds = other_kinds(found.other_files)
        found.notes.append(f"{key}: not read, as they are no images: {kinds}")
    listed.attrs[NOTES] = tuple(dict.fromkeys(found.notes))
    return listed


@dataclass(frozen=True)
class _Reader:
    """Reads one folder given by the user; what it finds goes into `found`."""

    root: Path
    key: str
    wanted: tuple[str, ...]
    external: bool
    found: _Rows

    def read(self, folder: Path, split: str, group: str) -> None:
        """Read what lies under a folder that is above the classes."""
        inside = _Inside.of(folder, self.found)
        full = [name for name in inside.folders if _has_images(folder / name, self.found)]
        empty = [name for name in inside.folders if name not in full]
        if not full:
            self._flat(folder, inside, split, group)
            return
        if inside.images:
            self.found.notes.append(
                f"{self.key}: {len(inside.images)} images beside the folders of '{folder}' are "
                "not read"
            )
        if newest := newest_version(folder, full):
            full = [newest]
            self.found.notes.append(f"{self.key}: read is '{folder / newest}', the newest version")
        if len(full) == 1 and self._is_around(folder, full[0]):
            self.read(folder / full[0], split, group)
        elif parts := words.splits_of(full):
            self._read_splits(folder, parts, group)
        else:
            self._read_classes(folder, full, empty, split, group)

    def _is_around(self, folder: Path, name: str) -> bool:
        """Tell whether the only folder is one around the classes, and no class."""
        nested = bool(_Inside.of(folder / name, None).folders)
        return nested or (self.external and name not in self.wanted)

    def _read_splits(self, folder: Path, parts: dict[str, str], group: str) -> None:
        for name, split in parts.items():
            part = folder / name
            if not self.external and (flat := _flat_below(part)):
                self.found.notes.append(
                    f"{self.key}: '{part}' has {flat} images without class folders and is not "
                    f"read; data.external=[{part}] scores them by the letters in their names"
                )
                continue
            self.read(part, "" if self.external else split, group)
        told = {split for *_, split in self.found.rows}
        if len(told) == 1:  # nothing to tell apart
            self.found.rows[:] = [(*row[:3], "") for row in self.found.rows]
        elif told:
            self.found.notes.append(
                f"{self.key}: the folders {some(sorted(parts))} are splits: data.split=column"
            )

    def _read_classes(
        self, folder: Path, full: list[str], empty: list[str], split: str, group: str
    ) -> None:
        below = {name: _Inside.of(folder / name, None) for name in full}
        if self._people_above_splits(folder, below) or self._groups_above(folder, below):
            self._read_groups(folder, [name for name in full if below[name].folders], split, group)
            return
        self._require_one_version(folder, below)
        self._require_classes(folder, below, empty)
        first = len(self.found.rows)
        for name in full:
            for path in sorted(image_files(folder / name, self.found.other_files)):
                inner = _below(folder / name, path).split("/")[:-1] if group else []
                own = [one for one in inner if words.is_better_group(one, group)]
                self.found.rows.append((path, name, own[0] if own else group, split))
        self._read_splits_below(folder, first)

    def _read_splits_below(self, folder: Path, first: int) -> None:
        """Read folders that are splits below those of the classes, at any depth."""
        if self.external:
            return
        inner = [_below(folder, row[0]).split("/")[1:] for row in self.found.rows[first:]]
        named = [next((p for p in parts[:-1] if p.lower() in words.SPLITS), "") for parts in inner]
        told = sorted(set(named) - {""})
        splits = {name: words.SPLITS[name.lower()] for name in told}
        if len(set(splits.values())) < 2 or (not all(named) and "train" not in splits.values()):
            return
        if "" in named:
            row = self.found.rows[first + named.index("")]
            beside = Path(row[0]).relative_to(folder / row[1]).parts[0]
            raise DataError(
                f"{self.key}: '{folder / row[1]}' has images beside its folders {some(told)}, "
                f"such as {beside}; move them into one of these splits"
            )
        self.found.notes.append(
            f"{self.key}: the folders {some(told)} below the classes are splits: data.split=column"
        )
        self.found.rows[first:] = [
            (*row[:3], splits[name])
            for row, name in zip(self.found.rows[first:], named, strict=True)
        ]

    def _read_groups(self, folder: Path, names: list[str], split: str, group: str) -> None:
        """Read folders that each hold the classes: people, sessions, parts.

        Raises:
            DataError: they are something else: splits and others, or versions of the same images.
        """
        odd, told = words.no_groups(names)
        if odd:
            raise DataError(
                f"{self.key}: '{folder}' has the folders {some(names)}, which all hold class "
                f"folders, and of these {some(odd)} look like {told}; give one of them, such as "
                f"{folder / odd[0]}, or move the others elsewhere"
            )
        inner = [one for name in names for one in _Inside.of(folder / name, None).folders]
        apart = len(set(inner)) == len(inner) and not words.are_recorded(names)
        parts, first = words.are_parts(names) or apart, len(self.found.rows)
        told = "hold class folders: parts, which do not say who is in them" if parts else ""
        for name in names:
            own = name if not (parts or group) or words.is_better_group(name, group) else group
            self.read(folder / name, split, own)
        if not told:
            used = {group for _, _, group, _ in self.found.rows[first:]}
            what = "groups" if used & set(names) else f"recordings of '{group}'" if group else ""
            told = f"hold class folders: they are {what or 'recordings of the groups in them'}"
        self.found.notes.append(f"{self.key}: the folders {some(names)} {told}")

    def _groups_above(self, folder: Path, below: dict[str, "_Inside"]) -> bool:
        """Tell whether these folders are people, each with folders of classes.

        Raises:
            DataError: they could be either.
        """
        nested = {name: set(inside.folders) for name, inside in below.items() if inside.folders}
        if len(nested) < 2 or len(nested) < len(below):
            return False
        times = Counter(name for names in nested.values() for name in names)
        known = words.are_recorded(nested) or words.are_parts(nested)
        inner = [name for name, count in times.items() if count > 1]
        if (known or not inner) and words.letterlike(list(times)):
            return not (set(self.wanted) & set(nested) or words.letterlike(list(nested)))
        if not words.letterlike(list(nested)) and self._classes_deeper(folder, nested):
            return True
        if len(inner) < 2 or all(name.lower() in words.SPLITS for name in inner):
            return False
        if self.wanted:
            if set(self.wanted) <= set(nested):
                return False
            return len(set(self.wanted) & set(inner)) > len(set(self.wanted) & set(nested))
        outer_letters, inner_letters = words.letterlike(list(nested)), words.letterlike(inner)
        numbers = all(name.isdigit() for name in inner) and not words.versions(nested)
        if outer_letters != inner_letters and not (inner_letters and numbers):
            return inner_letters
        if words.are_recorded(nested):
            return True
        if words.are_recorded(inner) or words.are_parts(inner):
            return False
        neither = not outer_letters and not inner_letters
        if neither or len(inner) == len(nested) or (numbers and not outer_letters):
            raise DataError(
                f"{self.key}: '{folder}' has the folders {some(_sorted(nested))}, and "
                f"each of them {some(_sorted(inner))}; which are the classes? name "
                "them with data.classes=[...], or give the folder that holds the class folders"
            )
        return outer_letters and len(inner) > len(nested)

    def _classes_deeper(self, folder: Path, nested: dict[str, set[str]]) -> bool:
        """Tell whether the classes lie two or more folders below: left/anna/A, day/room/p1/A."""
        inside = {
            f"{name}/{one}": set(_Inside.of(folder / name / one, None).folders)
            for name, ones in nested.items()
            for one in ones
        }
        deeper = {name for names in inside.values() for name in names}
        if len(deeper) < 2 or not all(inside.values()):
            return False
        if words.letterlike(list(deeper)) or set(self.wanted) & deeper:
            return True
        return self._classes_deeper(folder, inside)

    def _people_above_splits(self, folder: Path, below: dict[str, "_Inside"]) -> bool:
        """Tell whether these folders hold splits that hold the classes: signer1/train/A."""
        names = {name for inside in below.values() for name in inside.folders}
        splits = bool(names) and all(name.lower() in words.SPLITS for name in names)
        if not splits or words.letterlike(list(below)):
            return False
        inner = [
            folder / name / split for name, inside in below.items() for split in inside.folders
        ]
        return all(_Inside.of(one, None).folders for one in inner)

    def _require_one_version(self, folder: Path, below: dict[str, "_Inside"]) -> None:
        """Refuse classes that each hold several versions of the same images."""
        same = words.versions(
            _sorted({name for inside in below.values() for name in inside.folders})
        )
        if same:
            raise DataError(
                f"{self.key}: the class folders of '{folder}' hold the folders {some(same)}, which "
                "look like versions of the same images; keep one of them, and move the others "
                "elsewhere"
            )

    def _require_classes(self, folder: Path, below: dict[str, "_Inside"], empty: list[str]) -> None:
        """Refuse class folders without an image, and folders that are hardly classes."""
        full = list(below)
        asked = [name for name in empty if not self.wanted or name in self.wanted]
        if asked and not self.external:
            where = folder / asked[0]
            raise DataError(f"{self.key}: {where} {_what_instead(where)}")
        known = set(self.wanted)
        around = [name for name in full if len(set(full) & set(below[name].folders)) > 1]
        around = around if len(around) < len(full) else []  # of which one is all over again
        odd = [
            name
            for name in full
            if name not in known and (name in around or words.hardly_class(name, full))
        ]
        if odd and len(odd) < len(full) and not (known and known <= set(full)):
            raise DataError(
                f"{self.key}: '{folder}' has folders that are hardly classes: {some(odd)} beside "
                f"{some([name for name in full if name not in odd])}; move them elsewhere, or say "
                "which folders are classes with data.classes=[...]"
            )
        if odd and len(odd) == len(full):
            raise DataError(
                f"{self.key}: '{folder}' has the folders {some(full)}, and none of them is a "
                "class; give the folder that holds a sub-folder for each class"
            )
        if several := [] if known or odd else words.several_of_a_letter(full):
            raise DataError(
                f"{self.key}: '{folder}' has the folders {some(full)}, of which {some(several)} "
                f"look like one letter, {several[0][0]}; put the images of each letter into one "
                "folder, or say which folders are classes with data.classes=[...]"
            )
        if others := [] if known else words.beside_letters(full):
            self.found.notes.append(
                f"{self.key}: beside letters these folders are classes: {some(others)}; name the "
                "classes with data.classes=[...] if they are none"
            )

    def _flat(self, folder: Path, inside: "_Inside", split: str, group: str) -> None:
        """Take the labels of an external set from its files' names, such as A_test.jpg."""
        if not self.external or not inside.images:
            return
        labels = {name: _label_in_name(name, self.wanted) for name in inside.images}
        unknown = [name for name, label in labels.items() if label is None]
        if unknown:
            raise DataError(
                f"{self.key}: '{folder}' has {len(labels)} images but no sub-folders, and no class "
                f"begins the names of {len(unknown)} of them ({some(unknown, 3)}); name them "
                "such as A_test.jpg, or put each image into a sub-folder named by its class"
            )
        self.found.notes.append(f"{self.key}: the labels of '{folder}' are those in file names")
        self.found.rows += [
            (str(folder / name), str(label), group, split) for name, label in sorted(labels.items())
        ]


@dataclass(frozen=True)
class _Inside:
    """The names in a folder: images, and folders that may hold some."""

    images: tuple[str, ...]
    folders: tuple[str, ...]

    @classmethod
    def of(cls, folder: Path, found: _Rows | None) -> "_Inside":
        images, folders = _sorted_out(str(folder), found.other_files if found else None)
        names = sorted((entry.name for entry in folders), key=natural)
        return cls(tuple(sorted(entry.name for entry in images)), tuple(names))


def is_junk(name: str) -> bool:
    """Tell whether a file is one that systems leave in folders."""
    return name.startswith(".") or name.lower() in ("thumbs.db", "desktop.ini")


def is_image(name: str) -> bool:
    """Tell by its name whether a file is an image: training and predict read the same ones."""
    return not is_junk(name) and name.lower().endswith(tuple(SUFFIXES))


def _below(folder: Path, path: str) -> str:
    """Return where a file lies below a folder, in strings: by Path, 87,000 files take seconds."""
    return path.removeprefix(f"{str(folder).rstrip(os.sep)}{os.sep}").replace(os.sep, "/")


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """Return what lies in a folder, without what is hidden.

    Raises:
        DataError: the folder cannot be read, leads out of the file system, or has a name that is
            no text.
    """
    real = os.path.realpath(folder)
    if any(real == place or real.startswith(f"{place}/") for place in _ELSEWHERE):
        raise DataError(
            f"'{printable(folder)}' leads to {real}, which holds no photos; "
            "give another folder, or remove the link"
        )
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not is_junk(entry.name)]
    except OSError as error:
        raise DataError(
            f"'{printable(folder)}' cannot be read: {(error.strerror or str(error)).lower()}; "
            "give yourself the right to read it, or move it elsewhere"
        ) from error
    wrong = [entry.path for entry in found if not _is_text(entry.name)]
    if wrong:
        raise DataError(
            f"{len(wrong)} names in '{printable(folder)}' are not UTF-8: "
            f"{some([printable(path) for path in wrong], 3)}; rename them"
        )
    return found


def _sorted_out(
    folder: str, others: Counter[str] | None
) -> tuple[list[os.DirEntry[str]], list[os.DirEntry[str]]]:
    """Return the images in a folder and the folders that may hold some; count the other files."""
    images, folders = [], []
    for entry in _entries(folder):
        if _is_folder(entry):
            folders += [entry] if entry.name.lower() not in words.IGNORED else []
        elif is_image(entry.name):
            images.append(entry)
        elif others is not None:
            others[Path(entry.name).suffix.lower() or "without ending"] += 1
    return images, folders


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def existing_folder(root: str, key: str) -> Path:
    """Return the folder, or raise a DataError that names the nearest parent that exists."""
    folder = home_expanded(root)
    try:
        if folder.is_dir():
            return folder
        if folder.exists():
            raise DataError(f"{key}: '{root}' is a file; give a folder with a sub-folder per class")
        parent = next((one for one in folder.absolute().parents if one.is_dir()), Path("/"))
        folders = sorted(entry.name for entry in parent.iterdir() if entry.is_dir())
    except OSError as error:
        raise DataError(
            f"{key}: '{root[:200]}{'...' if len(root) > 200 else ''}' cannot be looked at: "
            f"{(error.strerror or str(error)).lower()}"
        ) from error
    inside = [name for name in folders if not name.startswith(".")]
    missing = folder.absolute().relative_to(parent).parts[0]
    raise DataError(
        f"{key}: there is no folder '{root}' (looked in {Path.cwd()}){nearest(missing, inside)}; "
        f"{parent} has {some(inside) or 'no folders'}"
    )


def image_files(folder: Path, others: Counter[str] | None = None) -> Iterator[str]:
    """Yield the image files below a folder, following links but entering no folder twice.

    Args:
        others: gets the number of files that are no images, by their ending.
    """
    seen: set[tuple[int, int]] = set()
    waiting = [str(folder)]
    while waiting:
        current = waiting.pop()
        status = Path(current).stat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        images, folders = _sorted_out(current, others)
        yield from (entry.path for entry in images)
        waiting += [entry.path for entry in folders]


def _has_images(folder: Path, found: _Rows) -> bool:
    """Tell whether there is an image below; what else is there is counted where there is none."""
    others: Counter[str] = Counter()
    if any(True for _ in image_files(folder, others)):
        return True
    found.other_files.update(others)
    return False


def _flat_below(folder: Path) -> int:
    """Return how many images lie under a folder that has no class folders; 0 where it has some."""
    for _ in range(_DEEPEST):
        inside = _Inside.of(folder, None)
        full = [name for name in inside.folders if _has_images(folder / name, _Rows())]
        if not full:
            return len(inside.images)
        if len(full) > 1 or inside.images:
            return 0
        below = _Inside.of(folder / full[0], None)
        if not below.folders and not words.is_around(full[0]):
            return 0  # one class
        folder = folder / full[0]
    return 0


def newest_version(folder: Path, names: Sequence[str]) -> str:
    """Return the last of the numbered versions in which kagglehub keeps a set; "" elsewhere."""
    numbered = folder.name == "versions" and all(name.isdigit() for name in names)
    return max(names, key=int, default="") if numbered else ""


def _sorted(names: Iterable[str]) -> list[str]:
    return sorted(names, key=natural)


def _label_in_name(name: str, wanted: Sequence[str]) -> str | None:
    """Return the class, or the sign, that begins a file's name: A_test, A-1, A12, space."""
    word = re.split(r"[_\-. ]", Path(name).stem, maxsplit=1)[0]
    known = dict.fromkeys([*wanted, *SIGNS])
    tried = (word, word.rstrip("0123456789"))
    return next((one for one in tried if one in known), None)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that points to itself
        return False


def _no_classes(folder: Path, key: str) -> str:
    inside = _Inside.of(folder, None)
    if inside.images:
        return (
            f"{key}: '{folder}' has {len(inside.images)} images but no sub-folders; put each image "
            "into a sub-folder named by its class"
        )
    names = [entry.name for entry in _entries(str(folder)) if not _is_folder(entry)]
    if inside.folders:
        where = folder / inside.folders[0]
        if n_images := sum(1 for _ in image_files(where)):
            return (
                f"{key}: '{where}' has {n_images} images but no class folders; put each image into "
                "a sub-folder named by its class, or list path and label of each in a CSV file "
                "(data=manifest data.manifest=FILE.csv)"
            )
        return f"{key}: {where} {_what_instead(where)}"
    what = f"{len(names)} other files" if names else "nothing"
    return f"{key}: '{folder}' has {what} in it; it must have a sub-folder per class"


def _what_instead(folder: Path) -> str:
    """Say what a class folder without images holds."""
    names = [name for _, _, inside in os.walk(folder) for name in inside]
    if not names:
        return "is empty; add images, or remove the folder"
    suffixes = some(sorted({Path(name).suffix or "no ending" for name in names}), limit=5)
    allowed = some(sorted(SUFFIXES), limit=20)
    return f"has {len(names)} files ({suffixes}) but no image; read are {allowed}" + _heic_hint(
        suffixes.lower()
    )


def other_kinds(counts: Counter[str]) -> str:
    """Return how many files of which endings are no images, and what would read some of them."""
    kinds = some([f"{count} {kind}" for kind, count in counts.most_common()])
    return kinds + _heic_hint(" ".join(counts))


def _heic_hint(kinds: str) -> str:
    """Return what reads a phone's photos, where there are some that are not read."""
    return "; HEIC is read where pillow-heif is installed" if ".hei" in kinds else ""

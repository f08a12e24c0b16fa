"""Which images an experiment reads: its source, its classes, and the sets kept apart.

Nothing here opens an image or imports torch, so a command can refuse bad data at once.
"""

import unicodedata
from collections import Counter
from pathlib import Path
from typing import Final

import pandas as pd

from asl_exp.config.classes import SIGNS, parse_classes
from asl_exp.config.conf_folder import home_expanded, is_folder_at
from asl_exp.config.errors import DataError, nearest
from asl_exp.config.rules import SYNTHETIC_EXTERNAL
from asl_exp.config.schema import DataConfig
from asl_exp.data.hands.joint_rows import is_joint_file
from asl_exp.data.sources import sign_mnist
from asl_exp.data.sources.asl_alphabet import list_asl_alphabet, require_fetchable
from asl_exp.data.sources.folder import list_folder
from asl_exp.data.sources.listing import (
    NOTES,
    TABLES,
    Listing,
    is_file_key,
    left_out_words,
    natural,
    set_name,
    shortened,
    some,
    there,
)
from asl_exp.data.sources.manifest_csv import list_manifest
from asl_exp.data.split import NAMES


def check_source(config: DataConfig) -> None:
    """Refuse what a look at folders and tables can refuse; opens no image, fetches nothing.

    Raises:
        DataError: with what is wrong and how to mend it.
    """
    if config.source == "asl_alphabet" and not config.root:
        require_fetchable()
        return
    if config.source == "sign_mnist":
        if config.root:
            sign_mnist.tables(config.root)
        else:
            require_fetchable(sign_mnist.HANDLE)
        return
    listing = list_images(config)
    _require_files(listing, config)
    config = followed(config, listing)
    if config.split == "column" and (listing.images["split"] == "").any():
        place = f"'{config.manifest or config.root}'"
        lacks = "no folders train, val, test" if config.source == "folder" else "no column split"
        raise DataError(
            f"data.split: column, but {place} has {lacks}; add {some(NAMES)}, or choose another "
            "data.split"
        )


def list_images(config: DataConfig) -> Listing:
    """List every image of the experiment, by class and set.

    Raises:
        DataError: a source, set or class that is not there.
    """
    everything = _everything(config)
    inside = _inside(everything, config)
    classes = _classes(inside, config)
    kept = _of_classes(inside, classes)
    _require_group_spelling(inside, f"data.{'manifest' if config.manifest else 'root'}: the data")
    of_images = [name for name in config.external if not is_joint_file(name)]
    external = {
        _unique_name(name, config): _external(name, everything, classes, config)
        for name in of_images
    }
    for given in of_images if config.source == "folder" else ():
        _require_elsewhere(given, external[set_name(given)], kept, config.root or "")
    for name, rows in external.items():
        _require_spelling(rows["label"], classes, f"data.external: '{name}'")
    unfollowed: tuple[str, ...] = ()
    if config.source == "manifest" and config.split == "group" and (inside["split"] != "").all():
        unfollowed = ("data.manifest: its column split is not followed; data.split=column does",)
    told = [note for rows in (everything, *external.values()) for note in rows.attrs.get(NOTES, ())]
    return Listing(
        images=kept,
        external={name: _required(rows, classes, name) for name, rows in external.items()},
        classes=classes,
        left_out={name: left_out_words(rows["label"], classes) for name, rows in external.items()},
        notes=tuple(dict.fromkeys([*told, *unfollowed])),
        external_joints={
            _unique_name(name, config): name for name in config.external if is_joint_file(name)
        },
    )


def followed(config: DataConfig, listing: Listing) -> DataConfig:
    """Return the configuration with data.split=column where the data's own folders are splits."""
    own = config.source in ("folder", "sign_mnist") and not (listing.images["split"] == "").any()
    if config.split != "group" or not own or listing.images["split"].nunique() < 2:
        return config
    return config.model_copy(update={"split": "column"})


_LOOKALIKES: Final = str.maketrans(
    "\u0430\u0432\u0435\u043a\u043c\u043d\u043e\u0440\u0441\u0442\u0443\u0445"  # Cyrillic
    "\u03b1\u03b2\u03b5\u03b6\u03b7\u03b9\u03ba\u03bc\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7",  # Greek
    "abekmhopctyxabezhikmnoptyx",
)
"""Letters whose capitals look like Latin ones, to those."""
_AROUND: Final = " '\"`.,;:_~-"


def _folded(label: str) -> str:
    """Return a name without what people take for no difference, or cannot see.

    Case, blanks, marks around it, code points, characters without width, 01 or 1.0 for 1, and of
    single letters the alphabet.
    """
    seen = "".join(one for one in label if unicodedata.category(one) not in ("Cf", "Cc", "Mn"))
    text = label if any(unicodedata.combining(one) for one in label) else seen
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    folded = folded.strip(_AROUND) or folded
    if len(folded) == 1:
        folded = folded.translate(_LOOKALIKES)
    number = folded.removesuffix(".0")
    return str(int(number)) if number.isascii() and number.isdigit() else folded


_FILLERS: Final = "\u115f\u1160\u2800\u3164\uffa0"
"""Letters and signs that are drawn as nothing."""


def hidden(label: str) -> str:
    """Return the characters of a class's name that nobody sees, and that mean nothing there.

    Inside words of other scripts joiners mean something, and after signs what chooses their form.
    """

    def chooses_form(one: str) -> bool:
        return "VARIATION SELECTOR" in unicodedata.name(one, "")

    def unseen(one: str) -> bool:
        return unicodedata.category(one) in ("Cf", "Cc") or one in _FILLERS or chooses_form(one)

    found = "".join(one for one in label if unseen(one))
    if "".join(one for one in label if not unseen(one)).isascii():
        return found
    return "".join(one for one in (label[0], label[-1]) if one in found and not chooses_form(one))


def _seen(label: str) -> str:
    """Return a label as it is told: of a single letter of another alphabet with its code point."""
    code = f" U+{ord(label):04X}" if len(label) == 1 and not label.isascii() else ""
    return f"{label!r}{code}"


def _require_group_spelling(rows: pd.DataFrame, where: str) -> None:
    """Refuse groups that differ only in case or blanks: one person would be on both sides."""
    spelled: dict[str, list[str]] = {}
    for group in sorted(set(rows["group"])):
        spelled.setdefault(_folded(group), []).append(group)
    twice = [" and ".join(map(repr, names)) for names in spelled.values() if len(names) > 1]
    if twice:
        raise DataError(
            f"{where} has groups that differ only in case, blanks or zeros in front: "
            f"{some(twice)}; spell each alike, so that one person stays in one split"
        )


def _require_spelling(labels: "pd.Series[str]", classes: tuple[str, ...], where: str) -> None:
    """Refuse labels that differ from each other or from a class only in case or blanks."""
    counts = Counter(labels.tolist())
    spelled: dict[str, list[str]] = {}
    for label in dict.fromkeys([*classes, *sorted(counts)]):
        spelled.setdefault(_folded(label), []).append(label)
    faults = [names for names in spelled.values() if len(names) > 1 and set(names) & set(classes)]
    if faults:
        told = "; ".join(
            " and ".join(f"{_seen(name)} ({counts[name]} images)" for name in names)
            for names in faults[:8]
        )
        more = f" and {len(faults) - 8} more" if len(faults) > 8 else ""
        raise DataError(
            f"{where} has labels that look alike, or differ from a class or from each other only "
            f"in case or blanks: {told}{more}; spell each as its class is spelled: rename the "
            "folder, or mend the column label"
        )
    for label in (one for one in sorted(counts) if one in classes and hidden(one)):
        codes = ", ".join(f"U+{ord(one):04X}" for one in dict.fromkeys(hidden(label)))
        raise DataError(
            f"{where} has a label with characters that cannot be seen, {codes}: {label!r} "
            f"({counts[label]} images); rename the folder, or mend the column label"
        )


def _everything(config: DataConfig) -> pd.DataFrame:
    if config.source == "synthetic":
        from asl_exp.data.sources.synthetic import list_synthetic

        return list_synthetic(config.synthetic, _synthetic_classes(config), external=False)
    if config.source == "manifest":
        return list_manifest(config.manifest or "", "data.manifest")
    if config.source == "sign_mnist":
        return sign_mnist.list_sign_mnist(config.root, config.cache_dir)
    if config.source == "asl_alphabet":
        return list_asl_alphabet(config.root)
    return list_folder(config.root or "", "data.root", wanted=parse_classes(config.classes))


def _synthetic_classes(config: DataConfig) -> tuple[str, ...]:
    classes = parse_classes(config.classes) or SIGNS
    for name in classes:
        if name not in SIGNS:
            raise DataError(
                f"data.classes: the embedded signer has no class '{name}'{nearest(name, SIGNS)}; "
                f"it has A-Z, del, nothing and space"
            )
    return classes


def _inside(everything: pd.DataFrame, config: DataConfig) -> pd.DataFrame:
    """Return the rows to train, validate and test on."""
    known = sorted(set(everything["source"]))
    for name in config.sources:
        if name not in known:
            raise DataError(
                f"data.sources: no image is of the source '{name}'{nearest(name, known)}; "
                f"'{config.manifest}' has {some(known)}"
            )
    wanted = config.sources or [name for name in known if name not in config.external]
    inside = everything[everything["source"].isin(wanted)].reset_index(drop=True)
    if inside.empty:
        raise DataError(
            f"data.external: {config.external} are all sources there are; "
            "nothing is left to train on"
        )
    return inside


def _external(
    name: str, everything: pd.DataFrame, classes: tuple[str, ...], config: DataConfig
) -> pd.DataFrame:
    """Return the rows of one set that is never trained on."""
    if name == SYNTHETIC_EXTERNAL:
        return _synthetic_external(config)
    if not name.strip():
        raise DataError("data.external: a name is empty; give a folder, a manifest or a source")
    if config.source == "manifest" and name in set(everything["source"]):
        return everything[everything["source"] == name].reset_index(drop=True)
    if name.lower().endswith(TABLES):
        return list_manifest(name, "data.external")
    if is_folder_at(name):
        return list_folder(name, "data.external", wanted=classes)
    known = [*sorted(set(everything["source"])), SYNTHETIC_EXTERNAL]
    raise DataError(
        f"data.external: '{name}' is no source of the manifest ({some(known)}), no folder and no "
        f"CSV file{nearest(name, known)}"
    )


def _synthetic_external(config: DataConfig) -> pd.DataFrame:
    from asl_exp.data.sources.synthetic import list_synthetic

    if not config.synthetic.external_signers:
        raise DataError(
            f"data.external: {SYNTHETIC_EXTERNAL} is asked for, but "
            "data.synthetic.external_signers=0; give a positive number or data.external=[]"
        )
    wanted = parse_classes(config.classes) or SIGNS
    classes = tuple(name for name in wanted if name in SIGNS)
    return list_synthetic(config.synthetic, classes, external=True)


def _require_elsewhere(given: str, rows: pd.DataFrame, inside: pd.DataFrame, root: str) -> None:
    """Refuse an external folder that lies in the folder that is trained on, or around it."""
    if not is_folder_at(given):
        return
    main, other = home_expanded(root).resolve(), home_expanded(given).resolve()
    shared = 0
    if other.is_relative_to(main):
        shared = _below(inside, other.relative_to(main).as_posix())
    elif main.is_relative_to(other):
        shared = _below(rows, main.relative_to(other).as_posix())
    if shared:
        raise DataError(
            f"data.external: '{given}' and data.root='{root}' share {shared:,} images; an external "
            "set is never trained on, so move it out of the folder, or name the classes to train "
            "on with data.classes"
        )


def _below(rows: pd.DataFrame, folder: str) -> int:
    """Return how many images of a listing lie below a folder of it; "." is all."""
    if folder == ".":
        return len(rows)
    return int(rows["key"].str.startswith(f"{folder}/").sum())


def _unique_name(given: str, config: DataConfig) -> str:
    name = set_name(given)  # some systems tell no case in the names of folders
    same = [one for one in config.external if set_name(one).casefold() == name.casefold()]
    if len(same) > 1:
        raise DataError(f"data.external: {some(same)} would all be called '{name}'; rename one")
    return name


def _classes(inside: pd.DataFrame, config: DataConfig) -> tuple[str, ...]:
    """Return the classes asked for, all of which must have images; or all that are found."""
    found = sorted(set(inside["label"]), key=natural)
    wanted = parse_classes(config.classes)
    where = f"data.{'manifest' if config.source == 'manifest' else 'root'}: the data"
    _require_spelling(inside["label"], tuple(wanted or found), where)
    if wanted is None:
        if len(found) < 2:
            raise DataError(f"only the class {some(found)} was found; at least two are needed")
        return tuple(found)
    missing = [name for name in wanted if name not in found]
    if missing:
        raise DataError(
            f"data.classes: no image is labelled {some(missing)}{nearest(missing[0], found)}; "
            f"the labels found are {some(found, limit=30)}"
        )
    return wanted


def _of_classes(rows: pd.DataFrame, classes: tuple[str, ...]) -> pd.DataFrame:
    return rows[rows["label"].isin(classes)].reset_index(drop=True)


def _required(rows: pd.DataFrame, classes: tuple[str, ...], name: str) -> pd.DataFrame:
    chosen = _of_classes(rows, classes)
    if chosen.empty:
        raise DataError(
            f"data.external: '{name}' has no image of the classes {some(classes)}; "
            f"its labels are {some(sorted(set(rows['label'])))}"
        )
    return chosen


def _closed(path: str) -> bool:
    """Return whether a file is in a folder that one may not enter."""
    try:
        Path(path).stat()
    except (OSError, ValueError) as error:  # a value error: a name with a zero byte
        return isinstance(error, PermissionError)
    return False


def _require_files(listing: Listing, config: DataConfig) -> None:
    tables = [listing.images, *listing.external.values()]
    paths = [path for rows in tables for path in rows["path"] if is_file_key(path)]
    missing = [path for path in paths if not there(path)]
    mend = "remove the links that lead nowhere"
    if config.source == "manifest" or any(
        name.lower().endswith(TABLES) for name in config.external
    ):
        mend = "mend the manifest (its paths are relative to its own folder)"
    seen = "are not there"
    if any(map(_closed, missing)):
        seen, mend = "cannot be reached", "give yourself the right to enter their folders"
    if len(missing) > config.max_unreadable:
        raise DataError(
            f"{len(missing)} of {len(paths)} images {seen}: "
            f"{some(map(shortened, missing), limit=5)}; "
            f"{mend}, or allow so many with data.max_unreadable={len(missing)}"
        )

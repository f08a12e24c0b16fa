"""What a folder's name says: a split, a person, a part, another version, or hardly a class.

Words alone; what lies in the folders is for folder.py.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

from asl_exp.config.classes import LETTERS, SIGNS

SPLITS: Final = {
    "train": "train", "training": "train", "valid": "val", "validation": "val", "val": "val",
    "dev": "val", "test": "test", "testing": "test",
    "entrenamiento": "train", "treino": "train", "entrainement": "train", "entraînement": "train",
    "apprentissage": "train", "addestramento": "train", "prueba": "test", "teste": "test",
    "validación": "val", "validacion": "val", "validação": "val", "validacao": "val",
    "validierung": "val",
}  # fmt: skip
"""Folders that are splits, by the names people give them."""

IGNORED: Final = {
    "__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found",
    "__pycache__", "logs", "lightning_logs", "mlruns", "mlartifacts", "wandb", "tensorboard",
    "node_modules", "venv", "ipynb_checkpoints", "@tmp", "@recycle", "@recently-snapshot",
    "@__thumb", "@synoresource", "@sharebin", "@appstore", "#snapshot", "recycler", "recycle bin",
    "network trash folder", "temporary items", "found.000", "_gsdata_", "tb_logs", "catboost_info",
    "site-packages", "clearml",
}  # fmt: skip
"""Folders that programs and file servers make beside photos."""

_NO_CLASSES: Final = {
    "backup", "backups", "copy", "new folder", "output", "outputs", "results", "result", "figures",
    "plots", "tmp", "temp", "raw", "unsorted", "misc", "images", "labels", "annotations", "runs",
    "checkpoints", "augmented", "samples", "sample_images", "deleted", "trash", "archive", "src",
    "preview", "previews", "thumbnails", "scripts", "notebooks", "weights", "cache", "screenshots",
    "untitled folder", "neuer ordner", "nouveau dossier",
}  # fmt: skip
_NO_LETTERS: Final = _NO_CLASSES | {
    "all", "annotated", "assets", "bad", "blurry", "build", "checkpoint", "csv", "data", "dataset",
    "datasets", "debug", "demo", "discarded", "dist", "doc", "docs", "download", "downloads",
    "dropbox", "dupes", "duplicates", "env", "errors", "eval", "evaluation", "events", "everything",
    "example", "examples", "extra", "extras", "faces", "folder", "frames", "garbage", "holdout",
    "icon", "icons", "ignore", "ignored", "image", "img", "imgs", "junk", "log", "metadata",
    "model", "models", "old", "onedrive", "photo", "photos", "pics", "picture", "pictures",
    "predictions", "readme", "rejected", "removed", "roll", "sample", "screenshot", "skipped",
    "sort", "source", "thumb", "thumbnail", "thumbs", "todo", "unlabeled", "unlabelled", "untitled",
    "unused", "upload", "uploads", "video", "videos", "drive", "check",
}  # fmt: skip
"""Words that may be signs of their own, but hardly beside letters."""
_FOLDER_WORDS: Final = (
    "ordner", "dossier", "cartella", "carpeta", "pasta", "mappe", "папка", "klasör", "文件夹",
    "資料夾", "フォルダ", "폴더",
)  # fmt: skip
"""Of names that systems give new folders."""
_VERSIONS: Final = {
    "rgb", "depth", "color", "colour", "gray", "grey", "grayscale", "greyscale", "raw", "processed",
    "preprocessed", "original", "originals", "orig", "resized", "cropped", "crops", "augmented",
    "aug", "mask", "masks", "masked", "edges", "canny", "binary", "segmented", "skeleton",
    "landmarks", "thumbnails", "normalized", "enhanced", "clean", "small", "large", "images",
    "background", "bg", "nobg",
}  # fmt: skip
_MADE_OF_OTHERS: Final = {
    "augmented", "resized", "cropped", "processed", "preprocessed", "flipped", "flip", "mirrored",
    "rotated", "noisy", "noise", "blurred", "blur", "scaled", "sharpened", "brightened", "darkened",
}  # fmt: skip
"""Words for images that were made of others; those beside them are their originals."""
_LANGUAGES: Final = {
    "asl", "arsl", "auslan", "bdsl", "bisindo", "bsl", "csl", "dgs", "fsl", "gsl", "hksl", "irsl",
    "isl", "jsl", "ksl", "libras", "lis", "lsa", "lse", "lsf", "lsm", "lsq", "ngt", "nzsl", "psl",
    "rsl", "sasl", "tid", "tsl", "usl", "vgt", "vsl",
}  # fmt: skip
"""Sign languages: the same letter is another sign in each."""
_SHARE: Final = re.compile(r"(\d{1,2}) ?_?(?:%|percent|pct)?", re.I)
_SIZE: Final = re.compile(r"\d{2,4}[x\u00d7]\d{2,4}(?:px)?|\d{2,4}px", re.I)
_OTHER_SIGNS: Final = {"blank", "none", "unknown", "background", "other", "delete", "empty", "null"}
_SPLIT_WORD: Final = re.compile(
    r"(?:^|[_\- ])(" + "|".join(SPLITS) + r")(?:[_\- ]?(?:set|data|images?|imgs?))?(?=$|[_\- \d])",
    re.I,
)
_PART: Final = re.compile(
    r"(?:fold|part|batch|chunk|shard|set)[ _-]?\d+|(?:left|right|both)(?:[ _-]?hands?)?"
    r"|day|night|(?:in|out)doors?|light|dark|bright|dim|easy|hard|near|far|close"
    r"|(?:fe)?male|m[ae]n|wom[ae]n|boys?|girls?|adults?|kids|children|(?:left|right)ies"
    r"|front|back|side|top|bottom|frontal|profile|morning|noon|afternoon|evening"
    r"|i?phone|android|webcam|kinect|camera|dslr|laptop|mobile|tablet|realsense|smartphone",
    re.I,
)
PERSON: Final = (
    r"(?:hand|user|person|people|subject|subj|signer|participant|actor|volunteer|student|speaker|"
    r"proband)[ _-]?\d+"
)
TAKE: Final = r"(?:session|sess|video|vid|clip|take|recording|rec|day|room|camera|scene)[ _-]?\d+"
_DATE: Final = re.compile(r"(?:19|20)\d\d([-_. ]?)(?:0\d|1[0-2])\1(?:[0-2]\d|3[01])(?:\D.*)?")
_COPY: Final = re.compile(
    r"(.+?)(?:[ _-]+(?:copy|backup|bak|old|new|aug|augmented|resized|cropped|orig|original))*"
    r"(?:[ _]*\(\d+\)| \d+)?",
    re.I,
)


_CAMEL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def _split_words(name: str) -> list[str]:
    """Return the words for splits in a name: of asl_train, TestSet, ASLTrain, trainA, tEsT."""
    found: list[str] = _SPLIT_WORD.findall(_CAMEL.sub(" ", name)) or _SPLIT_WORD.findall(name)
    return found


def splits_of(names: Sequence[str]) -> dict[str, str]:
    """Return the split of each folder, or nothing where one of them is no split."""
    matches = {name: _split_words(name) for name in names}
    if len(names) < 2 or not all(matches.values()):
        return {}
    return {name: SPLITS[words[-1].lower()] for name, words in matches.items()}


def is_split(name: str) -> bool:
    """Tell whether a name has a word for a split in it."""
    return bool(_split_words(name))


def is_person(folder: str) -> bool:
    """Tell whether a folder's name is a person's, such as signer3, P 12."""
    return bool(re.fullmatch(rf"{PERSON}|[ps][ _-]?\d+", folder.lower()))


def is_take(folder: str) -> bool:
    """Tell whether a folder's name is a recording's, such as session_2, video4, a date."""
    return bool(re.fullmatch(TAKE, folder.lower()) or _DATE.fullmatch(folder))


def are_recorded(names: Iterable[str]) -> bool:
    """Tell whether all names are those of people or of recordings: signer3, session_2, a date."""
    return all(is_person(name) or is_take(name) for name in names)


def are_parts(names: Iterable[str]) -> bool:
    """Tell whether all names are numbered parts that do not say who is in them, such as fold2."""
    return all(_PART.fullmatch(name) for name in names)


def is_better_group(name: str, than: str) -> bool:
    """Tell whether a folder inside another says better who is seen: a person in a session."""
    if is_person(than):
        return False
    return bool(re.fullmatch(PERSON, name.lower())) or (is_take(than) and not is_take(name))


def several_of_a_letter(names: Sequence[str]) -> list[str]:
    """Return the folders of a letter that has several, where all names begin with one: A1, A2."""
    letters: dict[str, list[str]] = {}
    for name in names:
        found = re.fullmatch(r"([A-Za-z])(?:[\W_]*\d.*|[\W_]+\w.*)?", name)
        if not found:
            return []
        letters.setdefault(found[1], []).append(name)
    return next((several for several in letters.values() if len(several) > 1), [])


def versions(names: Iterable[str]) -> list[str]:
    """Return the names that stand for other versions of the same images, such as rgb and depth."""
    named = list(names)
    found = [name for name in named if _is_version(name)]
    made = [name for name in named if _MADE_OF_OTHERS & set(re.split(r"[\W_]+", name.lower()))]
    return found if len(found) > 1 else made


def no_groups(names: Sequence[str]) -> tuple[list[str], str]:
    """Return the names that are no people's, sessions' or parts', and what they look like."""
    if found := [name for name in names if is_split(name)]:
        return found, "splits"
    if found := versions(names) or [one for one in names if is_copy(one, names)]:
        return found, "versions of the same images"
    languages = [n for n in names if _LANGUAGES & set(re.split(r"[\W_\d]+", n.lower()))]
    if len({name.lower() for name in languages}) > 1:
        return languages, "sign languages, in which letters differ"
    shares = [_SHARE.fullmatch(name) for name in names]
    if len(names) in (2, 3) and sum(int(one[1]) if one else 100 for one in shares) == 100:
        return list(names), "the shares of a split (name them such as train and test)"
    return [], ""


def _is_version(name: str) -> bool:
    plain = name.lower().strip(" _-")
    last = re.split(r"[\W_]+", plain)[-1]
    return bool({plain, last} & (_VERSIONS | _MADE_OF_OTHERS)) or bool(_SIZE.fullmatch(plain))


def letterlike(names: Sequence[str]) -> bool:
    """Tell whether names are those of signs: letters of any script, digits, space, del, nothing."""
    return sum(map(_is_sign, names)) >= 0.8 * len(names)


def hardly_class(name: str, among: Sequence[str]) -> bool:
    """Tell whether a folder is hardly a class: a split, a program's folder, a copy of another."""
    plain = name.lower().strip(" _-.")
    return (
        plain in _NO_CLASSES
        or is_split(name)
        or are_recorded([name])
        or is_copy(name, among)
        or (_is_no_letter(plain) and name in beside_letters(among))
    )


def is_copy(name: str, among: Sequence[str]) -> bool:
    """Tell whether a folder is a copy of another of these, by its name: "A - Kopie", "old_A"."""
    copied = _COPY.fullmatch(name)
    if copied and copied[1] != name and copied[1] in among:
        return True
    name = re.sub(r"^[\W_]+|[\W_]+$", "", name)  # these are a matter of spelling
    if len(name) < 2 or _is_sign(name):
        return False
    ends = [name[0]] if not name[1].isalpha() else []
    if not name[-2].isalnum():
        ends.append(name[-1])
    return any(one.upper() in LETTERS and one != "I" and one in among for one in ends)


def _is_no_letter(plain: str) -> bool:
    """Tell whether a name in small letters has a word of a folder that is no letter's."""
    words = re.split(r"[\W\d_]+", plain)
    return any(word in _NO_LETTERS for word in words) or any(w in plain for w in _FOLDER_WORDS)


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
    composed = unicodedata.normalize("NFC", name)
    return name.casefold() in _SIGNS or (len(composed) == 1 and composed.isalpha())

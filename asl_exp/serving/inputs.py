"""What a kept model is shown: files, folders, patterns, standard input, videos, a camera.

Which files of a folder or a pattern are images is the rule of training (data/sources/folder.py); a
file that was named itself is shown whatever it is called.
"""

import glob
import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from asl_exp.config.errors import UserError
from asl_exp.data.decode import UnreadableImageError
from asl_exp.data.sources.folder import image_files, is_image, is_junk, other_kinds

STANDARD_INPUT: Final = "-"
VIDEOS: Final = frozenset((".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg"))
EVERY_S: Final = 0.5
"""Seconds between the frames of a video or a camera that are shown."""

_LARGEST: Final = 500_000_000
"""Bytes of standard input."""

_CANNOT_OPEN: Final = {
    "video": "no video that OpenCV can read; it may be damaged, or of a format unknown here",
    "camera": "there is no such camera, or another program uses it, or you may not (on Linux: the "
    "group video)",
}


@dataclass(frozen=True)
class Shown:
    """One image, and what it is called in the answers.

    Attributes:
        name: a path, or ``clip.mp4 @ 1.50 s``.
        image: a path, or the bytes of an image file.
    """

    name: str
    image: Path | bytes


@dataclass
class Inputs:
    """All that was given, as a list of images as far as it can be listed.

    Attributes:
        shown: images, in the order in which they were given; none for a camera.
        passed_over: files of folders and patterns that are no images, by their ending.
        unreadable: ``path: reason`` of each video that could not be opened.
    """

    shown: list[Shown | Path] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)

    def images(self, every_s: float = EVERY_S) -> Iterator[Shown]:
        """Yield every image; a video is opened where its turn comes, a frame each ``every_s``."""
        for one in self.shown:
            if isinstance(one, Shown):
                yield one
                continue
            try:
                yield from frames(one, every_s)
            except UnreadableImageError as error:
                self.unreadable.append(str(error))


def inputs(given: Iterable[str]) -> Inputs:
    """List what the words of a command line mean.

    Args:
        given: files, folders, patterns, and ``-`` for standard input.

    Raises:
        UserError: a word that means nothing, unusable standard input, or a video without OpenCV.
    """
    found = Inputs()
    for name in given:
        if name == STANDARD_INPUT:
            found.shown += _standard_input()
        elif Path(name).is_file():
            found.shown.append(_one(Path(name)))
        else:
            found.shown += _listed(name, found.passed_over)
    if any(isinstance(one, Path) for one in found.shown):
        _opencv()  # before the model is loaded
    return found


def _one(path: Path) -> Shown | Path:
    return path if path.suffix.lower() in VIDEOS else Shown(str(path), path)


def _listed(name: str, passed_over: Counter[str]) -> list[Shown | Path]:
    """Return the images and videos of a folder or a pattern.

    Raises:
        UserError: there is none.
    """
    here: list[Path] = []
    others: Counter[str] = Counter()
    matches = [Path(name)] if Path(name).is_dir() else _matches(name)
    for match in matches:
        if match.is_dir():
            here += map(Path, image_files(match, others))
        elif is_image(match.name) or match.suffix.lower() in VIDEOS:
            here.append(match)
        elif not is_junk(match.name):
            others[match.suffix.lower() or "without ending"] += 1
    if not here and "://" in name:
        raise UserError(f"{name}: addresses are not fetched; save the image and give its file")
    if not here:
        beside = f" (but {other_kinds(others)})" if others else ""
        raise UserError(f"{name}: no such file, or no image in it{beside}")
    passed_over.update(others)
    return [_one(path) for path in sorted(dict.fromkeys(here))]


def _matches(pattern: str) -> list[Path]:
    return [Path(found) for found in glob.glob(pattern, recursive=True)]  # noqa: PTH207 - absolute


def told(passed_over: Counter[str]) -> str:
    """Return in words what was passed over; "" where nothing was."""
    return f"passed over, as they are no images: {other_kinds(passed_over)}" if passed_over else ""


def _standard_input() -> Sequence[Shown | Path]:
    """Return the image on standard input, or the files that its lines name."""
    if sys.stdin.isatty():
        raise UserError("-: standard input is the terminal; pipe an image, or names of files, in")
    content = sys.stdin.buffer.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise UserError(f"-: more than {_LARGEST / 1e6:.0f} MB on standard input")
    names = _names(content)
    if names is None:
        return [Shown(STANDARD_INPUT, content)]
    return [_one(Path(name)) for name in names]


def _names(content: bytes) -> list[str] | None:
    """Return the lines of a text whose first one is a file; None of anything else."""
    try:
        lines = [line for line in content.decode().splitlines() if line.strip()]
        return lines if lines and Path(lines[0]).is_file() else None
    except (UnicodeDecodeError, ValueError, OSError):  # an image, or no name of a file
        return None


def frames(source: Path | int, every_s: float) -> Iterator[Shown]:
    """Yield frames of a video file, or of a camera for as long as it is read.

    Args:
        source: a file, or the number of a camera.
        every_s: seconds between two frames; between two of a camera there are fewer where the
            caller is slower.

    Raises:
        UserError: OpenCV is missing.
        UnreadableImageError: it cannot open the source.
    """
    cv2 = _opencv()
    camera = isinstance(source, int)
    name = f"camera {source}" if camera else str(source)
    video = cv2.VideoCapture(source if camera else name)
    try:
        if not video.isOpened():
            raise UnreadableImageError(name, _CANNOT_OPEN["camera" if camera else "video"])
        started = time.monotonic()
        per_second = video.get(cv2.CAP_PROP_FPS) or 25.0
        due = 0.0
        for number in itertools.count():
            if not video.grab():
                return
            at = time.monotonic() - started if camera else number / per_second
            if at + 1e-9 >= due:
                due += every_s
                yield from _encoded(cv2, video, f"{name} @ {at:.2f} s")
    finally:
        video.release()


def _encoded(cv2: Any, video: Any, name: str) -> Iterator[Shown]:
    """Yield the grabbed frame as a BMP, which loses nothing; none where it is damaged."""
    read, frame = video.retrieve()
    if read:
        yield Shown(name, cv2.imencode(".bmp", frame)[1].tobytes())


def _opencv() -> Any:
    try:
        import cv2
    except ModuleNotFoundError as error:
        raise UserError(
            "videos and cameras are read by OpenCV, which comes with the extra 'explain': "
            "pip install 'asl-exp[explain]'"
        ) from error
    return cv2

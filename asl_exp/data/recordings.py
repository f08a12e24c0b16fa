"""Which images are of one recording, where nobody has said: by names, numbers and backgrounds.

Owns the evidence, from tables and small arrays alone; reading images is file_facts.py's. A group
that is cut makes a score too good, one that is joined to another only makes a split coarser: so
every doubt joins, and where too little is recognised the answer is "unknown".

Measured on four sources of real photos (6,792, of them 3,480 frames of the Kaggle ASL Alphabet in
four sessions), with the names of their groups hidden:

- Frames in the order of their numbers: the median background of eight frames before and after a
  change of session differs by 29, 73 and 96 of 255 (median over 29 classes), elsewhere by at most
  6; all four sessions come out to the frame.
- Backgrounds alone, nine Kaggle classes: at a distance of 10 the sessions come out, one of them in
  two parts; at 12 two sessions are joined and none is cut. A hazy webcam's single session is one
  component from 3 on; rooms photographed by hand fall into hundreds at any distance.
"""

import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from asl_exp.data.decode import Pixels
from asl_exp.data.decode_pool import n_cores
from asl_exp.data.near_duplicates import clusters
from asl_exp.data.sources import folder_names as words

Kind = Literal["given", "inferred", "unknown"]
Backgrounds = NDArray[np.uint8]
"""(N, SIDE, SIDE, 3): images made tiny."""

SIDE: Final = 8
NEEDED: Final = 3
"""Groups that a class must be in to be in train, val and test."""

_BORDER = np.zeros((SIDE, SIDE), bool)
_BORDER[:2, :] = True
_BORDER[: SIDE - 2, [0, -1]] = True  # an arm comes from below
_WINDOW: Final = 8
_JUMP: Final = 10.0
"""Of 255: by so much backgrounds differ where a recording ends."""
_AGREED: Final = 0.2
"""Share of the classes that need not show a change. A change of light in one class is none of all:
with the median instead, a quarter of all pairs of classes gave a session too many."""
_ENOUGH: Final = 5
"""Classes that make a common change sure: of two to four Kaggle classes one draw in eight still
gave a session too many or moved an end, of six or more none (25 draws each)."""
_ASTRAY: Final = 0.1
_FEWEST: Final = 12
_ALIKE: Final = (18, 15, 12)
"""Of 255: backgrounds of which half is nearer than this are of one recording. The first that leaves
enough recordings is taken."""
_SAMPLE: Final = 2_000
"""Images that are compared pair by pair; the others follow the nearest of them."""
_REPRESENTATIVES: Final = 200
_COVERED: Final = 0.95

_PERSON: Final = re.compile(rf"(?:^|[^a-z])({words.PERSON}|[ps]\d{{1,3}})(?=$|[^a-z0-9])")
_TAKE: Final = re.compile(rf"(?:^|[^a-z])({words.TAKE})(?=$|[^a-z0-9])")
_EXPORTED: Final = re.compile(r"_(?:jpe?g|png|bmp|webp)\.rf\.[0-9a-f]+$", re.IGNORECASE)
_NUMBER: Final = re.compile(r"(\d{1,9})(?=\D*$)")


@dataclass(frozen=True)
class Grouping:
    """What is known of the groups of an experiment's images.

    Attributes:
        kind: given by the data, inferred from evidence, or unknown: then near-duplicates alone
            are kept together.
        n_groups: how many there are; 0 where they are unknown.
        evidence: what they were inferred from, in words.
        sure: the evidence tells recordings or people apart, not only rooms.
        detail: why they are unknown, in words.
    """

    kind: Kind = "given"
    n_groups: int = 0
    evidence: str = ""
    sure: bool = True
    detail: str = ""

    @property
    def caution(self) -> str:
        """Return what must stand beside every score, or nothing where the data names its groups."""
        if self.kind == "given":
            return ""
        if self.kind == "unknown":
            return "groups unknown: may leak"
        doubt = "" if self.sure else "; may leak"
        return f"groups: inferred from {self.evidence}: {self.n_groups}{doubt}"


@dataclass(frozen=True)
class Recordings:
    """The name (N,) of each image's recording or person, and what told them apart."""

    names: NDArray[np.str_]
    evidence: str
    sure: bool


def made_tiny(pixels: Pixels) -> bytes:
    """Return an image (S, S, 3), S a multiple of SIDE, as the bytes of SIDE x SIDE pixels."""
    step = pixels.shape[0] // SIDE
    mean = pixels.reshape(SIDE, step, SIDE, step, 3).mean((1, 3))
    tiny: Pixels = mean.round().astype(np.uint8)
    return tiny.tobytes()


def find_recordings(
    keys: Sequence[str], labels: Sequence[str], backgrounds: Backgrounds, near: NDArray[np.int64]
) -> Recordings | None:
    """Return the recordings of N images of one source, or None where too little tells.

    Args:
        keys: paths within the source, with ``/``.
        labels: class names.
        backgrounds: (N, SIDE, SIDE, 3).
        near: (N,) cluster of near-duplicates; those are never told apart.
    """
    border = backgrounds[:, _BORDER]
    label_of = np.asarray(labels, str)
    found = (
        _by_folders(keys, label_of)
        or _by_names(keys, label_of)
        or _by_numbers(keys, label_of, border.astype(np.float32))
        or _by_background(label_of, border)
    )
    return found and Recordings(_joined(found.names, near), found.evidence, found.sure)


def _joined(names: NDArray[np.str_], near: NDArray[np.int64]) -> NDArray[np.str_]:
    """Join recordings that share near-duplicates, under the name of the first image."""
    import pandas as pd

    recording, cluster = pd.factorize(names)[0], pd.factorize(near)[0]
    side = len(names)
    component = clusters(2 * side, np.stack([cluster, side + recording], 1))[side + recording]
    _, first, inverse = np.unique(component, return_index=True, return_inverse=True)
    joined: NDArray[np.str_] = names[first][inverse]
    return joined


def _numbered(values: NDArray[np.int64]) -> NDArray[np.str_]:
    """Return recording1, recording2, ... by first image."""
    import pandas as pd

    return np.array([f"recording{place + 1}" for place in pd.factorize(values)[0]])


def _recurs(names: Sequence[str] | NDArray[np.str_], labels: NDArray[np.str_]) -> bool:
    """Tell whether names are those of people or recordings: known everywhere, in many classes.

    Names of which each has classes of its own, such as vowels and consonants, are those of parts.
    """
    named = np.asarray(names, str)
    if (named == "").any() or len(set(named)) < 2:
        return False
    import pandas as pd

    pairs = pd.DataFrame({"name": named, "label": labels})
    spread = pairs.groupby("name")["label"].nunique()
    several = spread.index[spread > 1]
    if (pairs.groupby("label")["name"].nunique() > 1).mean() < 0.5:
        return False
    return bool(pairs["name"].isin(several).mean() >= _COVERED)


def _by_folders(keys: Sequence[str], labels: NDArray[np.str_]) -> Recordings | None:
    """Folders above or below those of the classes, of the same names in many classes."""
    names = _owners([
        [p for p in PurePosixPath(key).parts[:-1] if p != label and not words.is_split(p)]
        for key, label in zip(keys, labels, strict=True)
    ])  # fmt: skip
    return Recordings(names, "folders", True) if _recurs(names, labels) else None


def _owners(paths: Sequence[Sequence[str]]) -> NDArray[np.str_]:
    """Return who is in each image, by the folders that it lies in: the person, else the recording.

    Of people and recordings in one path the person counts, who may be in several of them; of names
    that could be either, those that share one are joined.
    """
    times = Counter(name for path in paths for name in set(path))
    told = [
        [n for n in path if times[n] < len(paths) and not words.are_parts([n])] for path in paths
    ]
    people = [next((name for name in path if words.is_person(name)), "") for path in told]
    if all(people):
        return np.array(people)
    told = [[n for n in path if not (words.is_take(n) or n.isdigit())] or path for path in told]
    if not all(told):
        return np.array(["/".join(path) for path in told])
    outer = np.array([path[0] for path in told])
    below = ["/".join(path[1:]) for path in told]
    if not any(below) or all(words.is_take(name) for name in outer):
        return np.array(["/".join(path) for path in told])
    return _joined(outer, np.unique(below, return_inverse=True)[1])


def _by_names(keys: Sequence[str], labels: NDArray[np.str_]) -> Recordings | None:
    """Words such as signer3 in the files' names; else session2, video4."""
    stems = [PurePosixPath(key).stem.lower() for key in keys]
    for pattern in (_PERSON, _TAKE):
        matches = [pattern.search(stem) for stem in stems]
        names = [re.sub(r"[ _-]", "", match.group(1)) if match else "" for match in matches]
        if _recurs(names, labels):
            return Recordings(np.array(names), "file names", pattern is _PERSON)
    return None


def _numbers(keys: Sequence[str]) -> NDArray[np.int64] | None:
    """Return the running number in each file's name, or None where some have none."""
    stems = [_EXPORTED.sub("", PurePosixPath(key).stem) for key in keys]
    matches = [_NUMBER.search(stem) for stem in stems]
    if not all(matches):
        return None
    return np.array([int(match.group(1)) for match in matches if match], np.int64)


def _by_numbers(
    keys: Sequence[str], labels: NDArray[np.str_], border: NDArray[np.float32]
) -> Recordings | None:
    """Ranges of numbers at whose ends the background of nearly all classes changes."""
    numbers = _numbers(keys)
    if numbers is None:
        return None
    series = []
    for name in np.unique(labels):
        rows = np.flatnonzero(labels == name)
        rows = rows[np.argsort(numbers[rows], kind="stable")]
        if len(rows) >= _FEWEST and len(np.unique(numbers[rows])) >= 0.9 * len(rows):
            series.append(_Series(numbers[rows], border[rows]))
    if sum(len(one.numbers) for one in series) < 0.8 * len(labels):
        return None
    ends = _common_changes(series)
    if not ends:
        return None
    return Recordings(
        _numbered(np.searchsorted(np.array(ends), numbers, side="right")),
        "file numbering and background",
        len(series) >= _ENOUGH,
    )


@dataclass(frozen=True)
class _Series:
    """The images of one class by their numbers: (N,), and their borders (N, cells, 3)."""

    numbers: NDArray[np.int64]
    border: NDArray[np.float32]

    def jumps(self, grid: NDArray[np.int64], window: int) -> NDArray[np.float64]:
        """Return by how much the typical background before each number differs from that after."""
        step = 1 if window <= _WINDOW else window // 4
        starts = range(0, len(self.border) - window + 1, step)
        typical = np.stack([_middle(self.border[start : start + window]) for start in starts])
        away = window // step
        apart = _apart(typical[:-away], typical[away:], 0.75)
        places = [start + window for start in starts[: len(apart)]]
        return np.interp(grid, self.numbers[places], apart)

    def between(self, low: float, high: float) -> "_Series":
        inside = (self.numbers >= low) & (self.numbers < high)
        return _Series(self.numbers[inside], self.border[inside])


@dataclass(frozen=True)
class _Change:
    """Where a recording ends: the first number of the next, and the share of frames near it that
    look like those of the other side."""

    first: int
    astray: float

    @classmethod
    def near(cls, series: list[_Series], before: int, about: int, after: int) -> "_Change":
        """Find the number that parts the frames best, in all classes together.

        Each frame is compared with the typical background of the outer thirds of both sides.
        """
        low, high = (before + about) / 2, (about + min(after, 2 * about - before)) / 2
        gains, numbers = [], []
        for one in (whole.between(low, high) for whole in series):
            early, late = (
                one.between(low, about - (about - low) / 4),
                one.between(about + (high - about) / 4, high),
            )
            if len(early.numbers) and len(late.numbers):
                numbers.append(one.numbers)
                gains.append(
                    _apart(one.border, _middle(early.border), 0.75)
                    - _apart(one.border, _middle(late.border), 0.75)
                )
        if not numbers:
            return cls(about, 1.0)
        number, gain = np.concatenate(numbers), np.concatenate(gains)
        firsts = np.unique(number)
        wrong = [float(((gain > 0) != (number >= first)).mean()) for first in firsts]
        best = int(np.argmin(wrong))
        return cls(int(firsts[best]), wrong[best])


def _common_changes(series: list[_Series]) -> list[int]:
    """Return the numbers with which new recordings begin in nearly all classes."""
    window = _window(int(np.median([len(one.numbers) for one in series])))
    series = [one for one in series if len(one.numbers) > 2 * window]
    grid = np.unique(np.concatenate([one.numbers[window:-window] for one in series]))
    jumps = [one.jumps(grid, window) for one in series]
    jump = np.percentile(jumps, 100 * _AGREED, axis=0, method="lower")
    limit = max(_JUMP, 2.5 * float(np.median(jump)))
    coarse = []
    while jump.max() > limit:
        top = int(jump.argmax())
        coarse.append(int(grid[top]))
        jump[_hill(jump, top)] = 0.0
    edges = [-1, *sorted(coarse), int(grid[-1]) + 10**9]
    found = [_Change.near(series, *edges[i - 1 : i + 2]) for i in range(1, len(edges) - 1)]
    return sorted({change.first for change in found if change.astray <= _ASTRAY})


def _window(n_images: int) -> int:
    """Return how many images of a class, of so many, make a typical background."""
    if n_images < 40 * _WINDOW:
        return int(np.clip(n_images // 12, 3, _WINDOW))
    return int(np.clip(n_images // 200 * 4, _WINDOW, 5 * _WINDOW))


def _hill(heights: NDArray[np.float64], top: int) -> slice:
    """Return the stretch around a maximum in which the values fall; it is one change."""
    first, last = top, top
    while first > 0 and 0 < heights[first - 1] <= heights[first] * 1.05:
        first -= 1
    while last < len(heights) - 1 and 0 < heights[last + 1] <= heights[last] * 1.05:
        last += 1
    return slice(first, last + 1)


def _middle(borders: NDArray[np.float32]) -> NDArray[np.float32]:
    middle: NDArray[np.float32] = np.median(borders, 0)
    return middle


def _apart(
    one: NDArray[np.float32], other: NDArray[np.float32], share: float
) -> NDArray[np.float64]:
    """Return how far backgrounds (..., cells, 3) are apart, by their nearest cells alone.

    A hand hides some cells, so the farthest are left out.
    """
    cells = np.abs(one - other).max(-1)
    n_kept = max(1, int(cells.shape[-1] * share))
    kept = np.partition(cells, n_kept - 1, axis=-1)[..., :n_kept]
    apart: NDArray[np.float64] = kept.mean(-1, dtype=np.float64)
    return apart


def _by_background(labels: NDArray[np.str_], border: Backgrounds) -> Recordings | None:
    """Images before the same background, where nearly all of them share theirs with many."""
    n_images = len(labels)
    sample = np.unique(np.linspace(0, n_images - 1, min(n_images, _SAMPLE)).astype(np.int64))
    apart = _distances(border[sample], border[sample])
    coarsest = None
    for alike in _ALIKE:
        component = clusters(len(sample), np.argwhere(apart <= alike))
        large = _large(component, labels[sample])
        kept = np.isin(component, large)
        if kept.mean() < _COVERED:
            break
        shown = _spread(component, large)
        of = component[shown][_distances(border, border[sample[shown]]).argmin(1)]
        of[sample[kept]] = component[kept]
        found = Recordings(_numbered(of), "background", False)
        if fewest(labels, found.names) >= NEEDED:
            return found
        coarsest = coarsest or found
    return coarsest


def fewest(
    labels: Sequence[str] | NDArray[np.str_], groups: Sequence[str] | NDArray[np.str_]
) -> int:
    """Return the number of groups of the class that is in the fewest."""
    import pandas as pd

    pairs = pd.DataFrame({"label": labels, "group": groups})
    return int(pairs.groupby("label")["group"].nunique().min())


def _large(component: NDArray[np.int64], labels: NDArray[np.str_]) -> NDArray[np.int64]:
    """Return the components that have many images of several classes."""
    import pandas as pd

    of = pd.Series(labels).groupby(component)
    large = (of.size() >= max(5, 0.01 * len(labels))) & (of.nunique() > 1)
    return large.index[large].to_numpy()


_BLOCK: Final = 64


def _typical(block: Backgrounds, others: Backgrounds) -> NDArray[np.uint8]:
    """Return (B, N) by how much half of the cells differ at most; a hand hides the others."""
    cells = np.zeros((len(block), len(others), block.shape[1]), np.uint8)
    for channel in range(3):
        one, other = block[:, None, :, channel], others[None, :, :, channel]
        np.maximum(cells, np.maximum(one, other) - np.minimum(one, other), out=cells)
    middle = cells.shape[2] // 2
    return np.partition(cells, middle, axis=2)[:, :, middle]


def _distances(border: Backgrounds, others: Backgrounds) -> NDArray[np.uint8]:
    """Return (N, M) by how much backgrounds differ, see _typical."""
    blocks = [border[start : start + _BLOCK] for start in range(0, len(border), _BLOCK)]
    with ThreadPoolExecutor(n_cores()) as pool:  # NumPy computes without the interpreter's lock
        return np.concatenate(list(pool.map(partial(_typical, others=others), blocks)))


def _spread(component: NDArray[np.int64], large: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a few images of each large component: the others are compared with them alone."""
    each = max(5, _REPRESENTATIVES // len(large))
    chosen = []
    for one in large:
        rows = np.flatnonzero(component == one)
        chosen.append(rows[np.unique(np.linspace(0, len(rows) - 1, each).astype(np.int64))])
    return np.concatenate(chosen)

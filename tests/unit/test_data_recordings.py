"""Recordings that nobody named: what finds them, and what is said where nothing does.

Whatever the evidence, no recording may be cut unless "may leak" stands beside the scores.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_images import detailed, listed_in, picture, save
from PIL import Image

from asl_exp.config.schema import DataConfig
from asl_exp.data.dataset import load_letters
from asl_exp.data.letters import LetterData

LETTERS = "ABCDE"
FRAMES = 16
Named = Iterator[tuple[Path, Image.Image, str]]
"""Path below the root, image, and the recording that nobody tells."""


def frame(room: int, letter: int, number: int) -> Image.Image:
    """Return a hand, a plain patch that moves a little, before the wall of a room."""
    generator = np.random.default_rng([room, letter, number])
    wall = np.asarray(picture(900 + room, 64, 64), int) + generator.integers(-4, 5, (64, 64, 3))
    left, top = 16 + generator.integers(0, 12), 22 + generator.integers(0, 6)
    wall[top : top + 36, left : left + 20] = np.asarray(detailed(letter, 64))[:36, :20]
    return Image.fromarray(np.clip(wall, 0, 255).astype(np.uint8))


def rooms(n_rooms: int) -> Iterator[tuple[int, int, int]]:
    for letter in range(len(LETTERS)):
        for room in range(n_rooms):
            for number in range(FRAMES):
                yield letter, room, number


def numbered(n_rooms: int = 4) -> Named:
    for letter, room, number in rooms(n_rooms):
        name = f"{LETTERS[letter]}{room * FRAMES + number + 1}.png"
        yield Path(LETTERS[letter], name), frame(room, letter, number), f"r{room}"


def numbered_by_nobody() -> Named:
    for letter, room, number in rooms(4):
        name = np.random.default_rng([letter, room, number]).bytes(6).hex()
        letters = "".join("ghijklmnopqrstuv"[int(digit, 16)] for digit in name)
        yield Path(LETTERS[letter], f"{letters}.png"), frame(room, letter, number), f"r{room}"


def signers_in_names() -> Named:
    for letter, room, number in rooms(4):
        name = f"signer{room}_{LETTERS[letter]}_{number:03}.png"
        yield Path(LETTERS[letter], name), frame(room, letter, number), f"r{room}"


def hands_in_names() -> Named:
    for letter, room, number in rooms(4):
        for light in ("top", "left"):
            name = f"hand{room}_{LETTERS[letter].lower()}_{light}_seg_{number}_cropped.png"
            image = frame(room, letter, number + 500 * (light == "top"))
            yield Path(LETTERS[letter], name), image, f"r{room}"


def signers_in_folders() -> Named:
    for letter, room, number in rooms(4):
        path = Path(LETTERS[letter], f"anna{room}", f"{number}.png")
        yield path, frame(room, letter, number), f"r{room}"


def one_room() -> Named:
    for letter, room, number in rooms(4):
        name = f"{room * FRAMES + number}.png"
        yield Path(LETTERS[letter], name), frame(0, letter, 100 * room + number), "r"


def two_rooms() -> Named:
    return numbered(2)


def pictures_from_everywhere() -> Named:
    for letter, room, number in rooms(4):
        name = f"{LETTERS[letter]}{room * FRAMES + number}.png"
        one = 10_000 * letter + 100 * room + number
        yield Path(LETTERS[letter], name), detailed(one), f"r{one}"


KINDS: list[tuple[Callable[[], Named], str]] = [
    (numbered, "groups: inferred from file numbering and background: 4"),
    (numbered_by_nobody, "groups: inferred from background: 4; may leak"),
    (signers_in_names, "groups: inferred from file names: 4"),
    (hands_in_names, "groups: inferred from file names: 4"),
    (signers_in_folders, "groups: inferred from folders: 4"),
    (one_room, "groups unknown: may leak"),
    (two_rooms, "groups unknown: may leak"),
    (pictures_from_everywhere, "groups unknown: may leak"),
]


def loaded(root: Path, split: str = "group") -> LetterData:
    config = DataConfig(
        source="folder", root=str(root), cache_dir=str(root.parent / "cache"), split=split
    )
    return load_letters(config, image_size=16, interpolation="bilinear", seed=0)


def recordings(data: LetterData, truth: dict[str, str]) -> dict[str, set[str]]:
    """Return the splits in which each recording is."""
    found: dict[str, set[str]] = {}
    for name, split in data.splits.items():
        for key in split.table["key"]:
            found.setdefault(truth[key], set()).add(name)
    return found


@pytest.mark.parametrize(("kind", "said"), KINDS, ids=[kind.__name__ for kind, _ in KINDS])
def test_what_is_recognised_is_said_and_is_not_cut(
    kind: Callable[[], Named], said: str, tmp_path: Path
) -> None:
    truth = {}
    for path, image, recording in kind():
        save(image, tmp_path / "in" / path)
        truth[path.as_posix()] = recording
    data = loaded(tmp_path / "in")
    assert data.caution == said
    assert data.cautions == {"val": said, "test": said}
    if "unknown" not in said:
        assert all(len(splits) == 1 for splits in recordings(data, truth).values())


def test_a_random_split_of_recordings_leaks_whatever_is_recognised(tmp_path: Path) -> None:
    for path, image, _ in numbered():
        save(image, tmp_path / "in" / path)
    data = loaded(tmp_path / "in", "random")
    assert data.leaks
    assert data.caution == "leaking split"


def test_groups_that_are_given_need_no_caution(tmp_path: Path) -> None:
    lines = ["path,label,group"]
    for path, image, recording in numbered():
        save(image, tmp_path / path)
        lines.append(f"{path.as_posix()},{path.parts[0]},{recording}")
    config = listed_in(tmp_path / "m.csv", *lines)
    data = load_letters(config, image_size=16, interpolation="bilinear", seed=0)
    assert (data.caution, data.cautions, data.grouping.kind) == ("", {}, "given")


def real_folder(photos: Path, source: str, root: Path, classes: str) -> dict[str, str]:
    """Link the photos of a source into a plain folder; return each one's true group."""
    table = pd.read_csv(photos / "manifest.csv")
    rows = table[(table["source"] == source) & table["label"].isin(list(classes))]
    truth = {}
    for row in rows.itertuples():
        key = Path(str(row.label), Path(str(row.path)).name)
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).symlink_to((photos / str(row.path)).resolve())
        truth[key.as_posix()] = str(row.group)
    return truth


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("kaggle_asl_alphabet", "groups: inferred from file numbering and background: 4"),
        ("massey_hgr", "groups: inferred from file names: 5"),
        ("t32rahman", "groups unknown: may leak"),
        ("roboflow_davidlee", "groups unknown: may leak"),
    ],
)
def test_the_recordings_of_real_photos(
    source: str, said: str, photos: Path, tmp_path: Path
) -> None:
    truth = real_folder(photos, source, tmp_path / "plain", "ABCDE")
    data = loaded(tmp_path / "plain")
    assert data.caution == said
    if "unknown" not in said:
        assert all(len(splits) == 1 for splits in recordings(data, truth).values())

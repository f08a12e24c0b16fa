"""Near-duplicates: found where they are, and not between strangers."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_images import detailed
from numpy.typing import NDArray
from PIL import Image

from asl_exp.data import near_duplicates
from asl_exp.data.near_duplicates import (
    THRESHOLD,
    clusters,
    hash_of_pixels,
    hashes_of,
    near_pairs,
    small_pixels,
)


def distance(one: Image.Image, other: Image.Image) -> int:
    hashes = hashes_of([hash_of_pixels(np.asarray(image)) for image in (one, other)])
    return int(np.bitwise_count(hashes[0] ^ hashes[1]).sum())


def recompressed(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=50)
    return Image.open(buffer)


@pytest.mark.parametrize("seed", range(5))
def test_copies_are_near_and_others_far(seed: int) -> None:
    image = detailed(seed, 128)
    assert distance(image, recompressed(image)) <= THRESHOLD
    assert distance(image, image.resize((64, 64))) <= THRESHOLD
    assert distance(image, image.point(lambda value: value * 0.8)) <= THRESHOLD
    assert distance(image, detailed(seed + 100, 128)) > 80  # strangers: 128 of 256 expected


def brute_force(hashes: NDArray[np.uint64], threshold: int) -> set[tuple[int, int]]:
    bits = np.bitwise_count(hashes[:, None] ^ hashes[None]).sum(2)
    first, second = np.nonzero(np.triu(bits <= threshold, 1))
    return set(zip(first.tolist(), second.tolist(), strict=True))


def test_pairs_are_those_of_brute_force() -> None:
    generator = np.random.default_rng(0)
    hashes = generator.integers(0, 2**63, (2500, 4)).astype(np.uint64)
    for row in range(0, 2400, 7):  # plant neighbours at 1 to 60 bits, across blocks
        bits = np.zeros(256, np.uint8)
        bits[generator.permutation(256)[: row % 60 + 1]] = 1
        hashes[2499 - row] = hashes[row] ^ np.packbits(bits).view(np.uint64)
    found = {tuple(pair) for pair in near_pairs(hashes).tolist()}
    assert found == brute_force(hashes, THRESHOLD)
    assert len(found) > 50


def test_clusters_join_what_is_linked_by_others() -> None:
    pairs = np.array([[1, 2], [2, 5], [3, 4]])
    assert clusters(7, pairs).tolist() == [0, 1, 1, 3, 3, 1, 6]
    assert clusters(3, np.empty((0, 2), np.int64)).tolist() == [0, 1, 2]
    assert clusters(0, np.empty((0, 2), np.int64)).tolist() == []


def test_clusters_are_those_of_all_pairs_and_take_few_links(tmp_path: Path) -> None:
    """Frames of a hand that is held still are all near each other."""
    generator = np.random.default_rng(0)
    hands = generator.integers(0, 2**63, (4, 4)).astype(np.uint64)[generator.integers(0, 4, 1200)]
    moved = np.uint64(1) << generator.integers(0, 63, hands.shape).astype(np.uint64)
    hashes = np.concatenate(
        [hands ^ moved, generator.integers(0, 2**63, (400, 4)).astype(np.uint64)]
    )
    pairs = near_pairs(hashes)
    found = near_duplicates.near_clusters(hashes, "e" * 64, str(tmp_path))
    assert found.tolist() == clusters(len(hashes), pairs).tolist()
    links = near_duplicates._of_blocks(near_duplicates._links_from, hashes)
    assert len(links) < len(pairs) / 20


def test_clusters_are_kept_and_damaged_ones_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = np.random.default_rng(0).integers(0, 2**63, (50, 4)).astype(np.uint64)
    hashes[9] = hashes[4]
    first = near_duplicates.near_clusters(hashes, "d" * 64, str(tmp_path))
    assert first.tolist() == [4 if n == 9 else n for n in range(50)]
    monkeypatch.setattr(near_duplicates, "_pairs_from", None)
    assert near_duplicates.near_clusters(hashes, "d" * 64, str(tmp_path)).tolist() == first.tolist()
    monkeypatch.undo()
    (kept,) = (tmp_path / "near").iterdir()
    whole = kept.read_bytes()
    for content in (whole[:-9], b"", whole[:-8] + b"\x07" * 8, b"nonsense"):
        kept.write_bytes(content)
        again = near_duplicates.near_clusters(hashes, "d" * 64, str(tmp_path))
        assert again.tolist() == first.tolist()


@pytest.mark.parametrize("source", ["kaggle_asl_alphabet", "massey_hgr"])
def test_no_cluster_joins_two_sessions_or_people(photos, source: str) -> None:  # type: ignore[no-untyped-def]
    table = pd.read_csv(photos / "manifest.csv")
    table = table[(table["source"] == source) & table["label"].isin(["A", "E", "S", "nothing"])]
    pixels = map(small_pixels, [str(photos / path) for path in table["path"]])
    pairs = near_pairs(hashes_of([hash_of_pixels(image) for image in pixels]))
    groups = table["group"].to_numpy(str)
    assert len(pairs) > 10
    assert (groups[pairs[:, 0]] == groups[pairs[:, 1]]).all()

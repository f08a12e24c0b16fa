"""Stored pixels: made once, checked, rebuilt when damaged, and never left half-written."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from made_images import picture, save

from asl_exp.config.errors import DataError
from asl_exp.config.schema import DataConfig
from asl_exp.data import pixel_store as store_module
from asl_exp.data.decode import Geometry
from asl_exp.data.pixel_store import Store, StoredPixels

GEOMETRY = Geometry(16, "squash", "bilinear")


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    return [str(save(picture(n), tmp_path / "in" / f"{n}.png")) for n in range(5)]


def make(tmp_path: Path, paths: list[str], digest: str = "a" * 64) -> Store:
    return Store(tmp_path / "cache", paths, digest, GEOMETRY)


def opened(store: Store, limit_gb: float = 1.0) -> StoredPixels:
    return store.open(DataConfig(workers=1, cache_limit_gb=limit_gb))


def everything(pixels: StoredPixels, n_images: int = 5) -> bytes:
    return pixels.gather(np.arange(n_images)).tobytes()


def files(store: Store) -> list[str]:
    return sorted(file.suffix for file in store.folder.iterdir() if file.suffix != ".lock")


class Counter:
    """Counts the images that are decoded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        decode = store_module.pixels_of

        def counted(path: str, geometry: Geometry, max_megapixels: float) -> np.ndarray:
            self.count += 1
            return decode(path, geometry, max_megapixels)

        monkeypatch.setattr(store_module, "pixels_of", counted)


def test_rows_are_the_images_in_order(tmp_path: Path, paths: list[str]) -> None:
    pixels = opened(make(tmp_path, paths))
    gathered = pixels.gather(np.array([3, 0, 3]))
    assert gathered.shape == (3, 16, 16, 3)
    assert np.array_equal(gathered[0], store_module.pixels_of(paths[3], GEOMETRY, 100))
    assert np.array_equal(gathered[1], store_module.pixels_of(paths[0], GEOMETRY, 100))
    assert np.array_equal(gathered[0], gathered[2])


def test_an_image_is_decoded_once(
    tmp_path: Path, paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = Counter(monkeypatch)
    first = everything(opened(make(tmp_path, paths)))
    assert everything(opened(make(tmp_path, paths))) == first
    assert counter.count == 5
    opened(Store(tmp_path / "cache", paths, "a" * 64, Geometry(17, "squash", "bilinear")))
    opened(make(tmp_path, paths, digest="b" * 64))
    assert counter.count == 15


def damage(store: Store, how: str) -> None:
    file = store.file.bytes_file
    if how == "bytes":
        with file.open("r+b") as opened_file:
            opened_file.seek(1000)
            opened_file.write(b"\x00\xff\x00\xff")
    elif how == "shortened":
        os.truncate(file, 100)
    elif how == "pixels gone":
        file.unlink()
    elif how == "description gone":
        store.file.description_file.unlink()
    elif how == "description broken":
        store.file.description_file.write_text('{"n_bytes": 5, "sha')
    else:
        store.file.description_file.write_text("[]")


@pytest.mark.parametrize(
    "how",
    ["bytes", "shortened", "pixels gone", "description gone", "description broken", "description"],
)
def test_a_damaged_store_is_built_again(how: str, tmp_path: Path, paths: list[str]) -> None:
    store = make(tmp_path, paths)
    before = everything(opened(store))
    damage(store, how)
    assert everything(opened(store)) == before
    assert files(store) == [".json", ".u8"]


def test_a_copied_store_is_checked_once_and_used(
    tmp_path: Path, paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make(tmp_path, paths)
    opened(store)
    os.utime(store.file.bytes_file, ns=(1, 1))
    counter = Counter(monkeypatch)
    opened(store)
    assert counter.count == 0
    assert json.loads(store.file.description_file.read_text())["changed_ns"] == 1


def test_unreadable_rows_are_listed_with_reasons(tmp_path: Path, paths: list[str]) -> None:
    Path(paths[2]).write_bytes(b"")
    for _ in range(2):
        assert opened(make(tmp_path, paths)).unreadable == {2: "the file is empty"}


@pytest.mark.parametrize(
    ("number", "way_on"),
    [(errno.ENOSPC, "make room"), (errno.EDQUOT, "make room"), (errno.EFBIG, r"\(ulimit -f\)")],
)
def test_a_full_disk_is_said_and_leaves_nothing(
    number: int, way_on: str, tmp_path: Path, paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    store = make(tmp_path, paths)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(
        DataError, match=rf"data\.cache_dir: no room in .*{way_on}, .* data\.store=false"
    ):
        opened(store)
    assert files(store) == []
    monkeypatch.undo()
    assert len(everything(opened(store))) == store.file.n_bytes


def test_a_disk_that_fills_while_writing(
    tmp_path: Path, paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> dict[str, str]:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = make(tmp_path, paths)
    monkeypatch.setattr(store_module, "fill_pixels", full)
    with pytest.raises(DataError, match="no room"):
        opened(store)
    assert files(store) == []


def test_an_interrupt_leaves_nothing(
    tmp_path: Path, paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> dict[str, str]:
        raise KeyboardInterrupt

    store = make(tmp_path, paths)
    monkeypatch.setattr(store_module, "fill_pixels", interrupted)
    with pytest.raises(KeyboardInterrupt):
        opened(store)
    assert files(store) == []


def test_what_a_killed_process_left_is_removed(tmp_path: Path, paths: list[str]) -> None:
    store = make(tmp_path, paths)
    store.folder.mkdir()
    (store.folder / f"{store.name}.99999.part").write_bytes(b"half")
    opened(store)
    assert files(store) == [".json", ".u8"]


def test_the_least_recently_used_store_goes_first(tmp_path: Path, paths: list[str]) -> None:
    old, used, new = (make(tmp_path, paths, digest=name * 64) for name in "abc")
    limit_gb = 2.5 * old.file.n_bytes / 1e9
    for age, store in ((3, old), (2, used)):
        opened(store, limit_gb)
        os.utime(store.file.description_file, (age, age))
    opened(old, limit_gb)  # used again, so that the other is the oldest
    opened(new, limit_gb)
    assert old.file.bytes_file.exists()
    assert not used.file.bytes_file.exists()
    assert new.file.bytes_file.exists()


def test_a_limit_that_is_too_small_is_refused(tmp_path: Path, paths: list[str]) -> None:
    with pytest.raises(DataError, match=r"data\.cache_limit_gb: 1e-06 is too little"):
        opened(make(tmp_path, paths), 1e-6)


def test_pixels_outlive_the_deletion_of_the_cache(tmp_path: Path, paths: list[str]) -> None:
    store = make(tmp_path, paths)
    pixels = opened(store)
    before = everything(pixels)
    for file in store.folder.iterdir():
        file.unlink()
    store.folder.rmdir()
    assert everything(pixels) == before


def test_a_store_cut_short_while_in_use_is_an_error(tmp_path: Path, paths: list[str]) -> None:
    store = make(tmp_path, paths)
    pixels = opened(store)
    os.truncate(store.file.bytes_file, 1000)
    with pytest.raises(DataError, match="was cut short while it was in use"):
        pixels.gather(np.array([4]))


def test_a_cache_folder_that_cannot_be_made(tmp_path: Path, paths: list[str]) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DataError, match=r"data\.cache_dir: .* cannot be written"):
        opened(make(tmp_path, paths))

"""``python -m asl_exp.data cache``: lists what is kept, clears it, and touches nothing else."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import environment
from filelock import FileLock

from asl_exp.config.errors import UserError
from asl_exp.data.cache_files import CacheFile, Rows
from asl_exp.data.cache_listing import asked_kinds

PIXELS = {"shape": [3480, 100, 100, 3], "unreadable": {}}
FEATURES = {
    "backbone": "vgg16", "images": 1234, "view": 0, "augmentation": {"rotation": 20.0},
    "cut": ["", 512],
}  # fmt: skip


def kept(cache: Path, kind: str, name: str, about: Mapping[str, Any]) -> CacheFile:
    ending = {"pixels": "u8", "features": "f32"}[kind]
    file = CacheFile(cache / kind, name, ending, 2_000_000, kind, "go without")

    def fill(part: Path) -> Mapping[str, Any]:
        part.write_bytes(bytes(range(200)) * 10_000)
        return about

    file.open(fill, limit_gb=1.0)
    return file


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    kept(tmp_path / "cache", "pixels", "one", PIXELS)
    for view in range(3):
        kept(tmp_path / "cache", "features", f"view{view}", {**FEATURES, "view": view})
    (tmp_path / "cache" / "pixels" / "mine.txt").write_text("not the cache's")
    (tmp_path / "cache" / "facts.sqlite").write_text("digests")
    return tmp_path / "cache"


def run(cache: Path, *words: str, options: tuple[str, ...] = ()) -> str:
    command = [sys.executable, *options, "-m", "asl_exp.data", "cache", *words]
    done = subprocess.run(
        [*command, f"data.cache_dir={cache}", "data.cache_limit_gb=4"], capture_output=True,
        text=True, timeout=60, check=False, env=environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def left(cache: Path) -> list[str]:
    files = (path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock")
    return sorted(path.name for path in files)


def test_lists_kind_origin_size_and_the_total_against_the_limit(cache: Path) -> None:
    said = run(cache, options=("-X", "importtime"))
    assert not any(line.split("|")[-1].strip() == "torch" for line in said.splitlines())
    pixels, features = (line for line in said.splitlines() if line.startswith("│"))
    assert "3,480 images, 100 x 100 pixels" in pixels
    assert "2.0 MB" in pixels
    assert "vgg16: 1,234 images x 3 augmented, 512 numbers each" in features
    assert "6.0 MB" in features
    assert f"8.0 MB of data.cache_limit_gb=4 in {cache}" in said


def test_clears_one_kind_or_all_and_no_other_files(cache: Path) -> None:
    assert "removed 3 files, 6.0 MB" in run(cache, "clear", "features")
    assert left(cache) == ["facts.sqlite", "mine.txt", "one.json", "one.u8"]
    assert "removed 1 files, 2.0 MB" in run(cache, "clear")
    assert left(cache) == ["facts.sqlite", "mine.txt"]
    assert "nothing is kept" in run(cache)


def test_a_file_in_use_stays_readable_where_it_is_open(cache: Path) -> None:
    rows = Rows(cache / "features" / "view1.f32", (200,), np.uint8)
    run(cache, "clear")
    assert rows.gather(np.array([0, 9_999]))[1, 199] == 199


def test_what_a_killed_process_left_goes_and_what_is_being_written_stays(cache: Path) -> None:
    dead, alive = cache / "pixels" / "dead.1.part", cache / "pixels" / "alive.2.part"
    for part in (dead, alive):
        part.write_bytes(b"half")
    with FileLock(cache / "pixels" / "alive.lock"):
        run(cache, "clear", "pixels")
    assert not dead.exists()
    assert alive.exists()


def test_another_word_is_refused_with_those_allowed() -> None:
    with pytest.raises(UserError, match=r"did you mean 'features'.*cache clear features"):
        asked_kinds(["clear", "feature"])
    with pytest.raises(UserError, match="allowed: cache, cache clear"):
        asked_kinds(["features"])

"""The data room among processes: started together, killed, interrupted; and on the real photos."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_images import class_folder, detailed, save

ROOT = Path(__file__).resolve().parent.parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "TERM": "dumb"}

LOAD = """
import sys, numpy as np
from asl_exp.config.schema import DataConfig
from asl_exp.data.dataset import load_letters
config = DataConfig(source="folder", root=sys.argv[1], cache_dir=sys.argv[2], split="random",
                    workers=int(sys.argv[3]))
data = load_letters(config, image_size=64, interpolation="bilinear", seed=0)
print(data.digest, data.store_digest, int(data.splits["train"].gather(np.arange(9)).sum()))
"""
"""A script without a guard for being imported, as users write them."""


def start(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *arguments], env=ENVIRONMENT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        # A shell's background job ignores Ctrl-C, and so would everything that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def load(root: Path, cache: Path, workers: int = 1) -> "subprocess.Popen[str]":
    script = cache.parent / "load.py"
    if not script.exists():  # another process may be reading it
        script.write_text(LOAD)
    return start(str(script), str(root), str(cache), str(workers))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,200 images: enough for worker processes, and for a kill to come in the middle."""
    root = tmp_path_factory.mktemp("photos")
    for name in "ABC":
        first = save(detailed(ord(name), 400), root / name / "0.jpg", quality=95).read_bytes()
        for number in range(1, 400):  # bytes after the end of a JPEG change its digest alone
            (root / name / f"{number}.jpg").write_bytes(first + number.to_bytes(2, "big"))
    return root


@pytest.fixture(scope="module")
def told(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What one process that nothing disturbs says of the folder."""
    process = load(folder, tmp_path_factory.mktemp("one") / "cache")
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return said


@pytest.mark.heavy
def test_ten_processes_do_the_work_once(tmp_path: Path) -> None:
    root = class_folder(tmp_path / "in", "AB", each=20)
    processes = [load(root, tmp_path / "cache") for _ in range(10)]
    said = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * 10, said
    assert len({out for out, _ in said}) == 1
    assert sum("storing pixels" in err for _, err in said) == 1
    assert sum("reading images" in err for _, err in said) == 1


def test_worker_processes_give_what_one_process_gives(
    folder: Path, tmp_path: Path, told: str
) -> None:
    process = load(folder, tmp_path / "cache", 2)
    assert process.communicate(timeout=120)[0] == told
    assert process.returncode == 0


def part_file(cache: Path, process: "subprocess.Popen[str]") -> Path:
    """Wait until the process is in the middle of storing pixels."""
    for _ in range(12_000):
        found = list(cache.glob("pixels/*.part"))
        if found:
            return found[0]
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    raise AssertionError("no store was begun within a minute")


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.heavy)])
def test_a_killed_process_leaves_nothing_that_is_read(
    workers: int, folder: Path, tmp_path: Path, told: str
) -> None:
    cache = tmp_path / "cache"
    process = load(folder, cache, workers)
    part_file(cache, process)
    process.kill()
    process.communicate()
    assert not list(cache.glob("pixels/*.u8"))
    again = load(folder, cache, workers)
    out, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    assert "storing pixels" in err
    assert not list(cache.glob("pixels/*.part"))
    assert out == told


def children(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def test_workers_end_with_a_killed_parent(folder: Path, tmp_path: Path) -> None:
    process = load(folder, tmp_path / "cache", 2)
    part_file(tmp_path / "cache", process)
    for _ in range(100):
        if len(workers := children(process.pid)) == 2:
            break
        time.sleep(0.02)
    assert len(workers) == 2
    process.kill()
    process.communicate()
    for _ in range(100):
        if not any(Path(f"/proc/{pid}/stat").exists() and _running(pid) for pid in workers):
            return
        time.sleep(0.1)
    raise AssertionError(f"workers {workers} are still running")


def _running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.heavy
def test_an_interrupt_ends_with_130_and_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    for attempt in range(5):  # storing takes half a second: on a busy machine it may win the race
        cache = tmp_path / f"cache{attempt}"
        process = start(
            "-m", "asl_exp.data", "prepare", "data=folder", f"data.root={folder}",
            "data.split=random", f"data.cache_dir={cache}", "backbone.image_size=64",
        )  # fmt: skip
        part_file(cache, process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        if process.returncode != 0:
            break
    assert process.returncode == 130
    assert "Traceback" not in err
    assert not list(cache.glob("pixels/*.part"))


@pytest.mark.heavy
@pytest.mark.parametrize(("split", "status"), [("random", 1), ("group", 0)])
def test_the_audit_of_the_kaggle_photos(
    split: str, status: int, photos: Path, tmp_path: Path
) -> None:
    process = start(
        "-m", "asl_exp.data", "audit", "data=manifest", f"data.manifest={photos / 'manifest.csv'}",
        "data.sources=[kaggle_asl_alphabet]", f"data.split={split}", "backbone.image_size=64",
        f"data.cache_dir={tmp_path / 'cache'}", f"runs_dir={tmp_path}",
    )  # fmt: skip
    _, err = process.communicate(timeout=300)
    assert process.returncode == status, err
    figures = json.loads((tmp_path / "audit" / "audit.json").read_text("utf-8"))
    assert sum(one["n_images"] for one in figures["splits"].values()) == 3480
    assert set(figures["splits"]["train"]["groups"]) <= {f"kaggle_s{n}" for n in range(1, 5)}
    if split == "group":
        assert figures["pairs"] == []
        assert figures["cut_groups"] == []
    else:
        assert len(figures["cut_groups"]) == 4
        assert len(figures["pairs"]) > 10
        for pair in figures["pairs"]:  # near-copies are within one session: no false positives
            assert len({image["group"] for image in pair["images"]}) == 1

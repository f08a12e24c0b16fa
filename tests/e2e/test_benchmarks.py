"""Each benchmark runs at its smallest size and keeps its figures."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

SMALLEST = {
    "startup": ("--rounds", "1"),
    "frozen": ("--epochs", "2", "--rounds", "1", "--classes", "A-B"),
    "finetune": ("--rounds", "1", "--classes", "A-B"),
    "study": ("--trials", "2", "--epochs", "2", "--classes", "A-B", "--both", "1",
              "--finetune", "1"),
    "tracking": ("--rounds", "1", "--epochs", "2", "--classes", "A-B"),
    "growth": ("--axes", "epochs"),
    "data": ("--small",),
    "devices": (),
}  # fmt: skip
SECONDS = ("data",)
"""Those that the heavy tier has time for."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.heavy if n in SECONDS else pytest.mark.exhaustive)
        for n in SMALLEST
    ],
)  # fmt: skip
def test_a_benchmark_runs_at_its_smallest_size(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / f"{name}.py", *SMALLEST[name]],
        env={**os.environ, "ASL_EXP_BENCH_RESULTS": str(tmp_path)}, cwd=tmp_path,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    kept = json.loads((tmp_path / f"{name}.json").read_text())
    assert kept["figures"]
    assert all(figure["values"] for figure in kept["figures"])
    assert kept["machine"]["cores"] >= 1
    assert kept["commit"]
    assert "| what" in done.stdout


@pytest.mark.exhaustive
def test_the_gpu_campaign_runs_every_line_on_a_cpu(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "gpu_campaign.py", "--tiny"],
        env={**os.environ, "ASL_EXP_BENCH_RESULTS": str(tmp_path)}, cwd=tmp_path,
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    kept = json.loads((tmp_path / "gpu_campaign.json").read_text())
    stages = ["tests", "frozen", "finetune", "timm", "memory", "profile"]
    assert list(dict.fromkeys(row["stage"] for row in kept["rows"])) == stages
    assert all(row["ratio"] > 0 for row in kept["rows"] if "ratio" in row)

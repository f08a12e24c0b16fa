"""The demo, whole: what a new user sees first."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from asl_exp.config import names

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.heavy
def test_demo_learns_letters_and_shows_the_gap(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "asl_exp", "experiment=demo"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (tmp_path / "runs").glob("*/result.json")
    result = json.loads(folder.read_text())
    metrics = result["metrics"]
    assert metrics[names.VAL_ACCURACY] > 0.8
    frozen, tuned = (
        float(re.findall(rf"(?m)^{phase} \d+/\d+: .*\| val [\d.]+ ([\d.]+) ", done.stdout)[-1])
        for phase in ("transfer", "finetune")
    )
    assert 0.5 < frozen < tuned, "each phase learns what it is there for"
    assert metrics["external/synthetic_external/accuracy"] < metrics["test/accuracy"] - 0.1
    for split in ("train", "val", "test", "external/synthetic_external"):
        assert re.search(rf"(?m)^ *{split} ", done.stdout), done.stdout
    run = MlflowClient(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}").get_run(
        result["mlflow_run_id"]
    )
    assert run.info.status == "FINISHED"
    assert set(names.EPOCH_METRICS) <= set(run.data.metrics)

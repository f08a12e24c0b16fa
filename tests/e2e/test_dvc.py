"""`dvc repro` with the demo profile, in a copy of the repository: only what changed runs again."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import forking_python

ROOT = Path(__file__).resolve().parents[2]
BACKBONES = ["efficientnet_b7", "efficientnetv2_b1", "vgg19", "xception"]


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Path]:
    """Copy what git knows or would add, as a repository of its own with the demo profile."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    copy = tmp_path / "repository"
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    subprocess.run(["git", "init", "--quiet"], cwd=copy, check=True)
    shutil.copy(copy / "params.demo.yaml", copy / "params.yaml")
    with forking_python(tmp_path / "bin"):
        yield copy


def dvc(repository: Path, *words: str) -> str:
    """Run DVC with no configuration but the repository's; return what it printed."""
    home = repository.parent
    environment = os.environ | {
        "PATH": f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "1",
        "DVC_GLOBAL_CONFIG_DIR": str(home / "global"),
        "DVC_SYSTEM_CONFIG_DIR": str(home / "system"),
        "DVC_SITE_CACHE_DIR": str(home / "site"),
    }
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *words],
        cwd=repository, env=environment, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def run_ids(repository: Path) -> dict[str, str]:
    """Return the MLflow run of each backbone: another one means that it was trained again."""
    results = {name: repository / f"runs/comparison/{name}/result.json" for name in BACKBONES}
    return {name: json.loads(path.read_text())["mlflow_run_id"] for name, path in results.items()}


def table(repository: Path) -> dict[str, dict[str, object]]:
    content = json.loads((repository / "runs/comparison/report.json").read_text())
    return {row["network"]: row for row in content["runs"].values()}


def stages(printed: str) -> set[str]:
    """Return what ran; of a dry run, what would run first: later stages wait for its results."""
    return set(re.findall(r"Running stage '(.*?)'", printed))


@pytest.mark.heavy
def test_repro_runs_what_changed_and_nothing_else(repository: Path) -> None:
    dvc(repository, "repro")
    assert (repository / "runs/comparison/data.txt").read_text().startswith("ready at 32 x 32")
    assert json.loads((repository / "runs/comparison/audit/audit.json").read_text())
    plots = json.loads(dvc(repository, "plots", "show", "--json"))
    assert "errors" not in plots
    assert set(plots["data"]) == {
        "learning curves",
        *(f"runs/comparison/{name}/evaluation/test/confusion_matrix.png" for name in BACKBONES),
    }
    assert "report.json" in dvc(repository, "metrics", "show")
    first, rows = run_ids(repository), table(repository)
    assert list(rows) == ["tf_efficientnet_b7", "tf_efficientnetv2_b1", "vgg19", "legacy_xception"]
    for row in rows.values():
        assert set(row["measured"]) == {
            "train", "val", "test", "external/synthetic_external",
        }  # fmt: skip
        assert set(row["published"]) == {"train", "val", "test", "external"}
    assert "| vgg19, random |" in (repository / "runs/comparison/report.md").read_text()

    assert "Running stage" not in dvc(repository, "repro")
    assert run_ids(repository) == first

    scores = repository / "asl_exp/evaluation/scores.py"
    scores.write_text(scores.read_text() + "# another line\n")
    assert stages(dvc(repository, "repro", "--dry")) == {f"evaluate@{name}" for name in BACKBONES}

    params = (repository / "params.yaml").read_text()
    changed = params.replace("vgg19: {transfer: 1.0e-4", "vgg19: {transfer: 5.0e-4")
    assert changed != params
    (repository / "params.yaml").write_text(changed)
    printed = dvc(repository, "repro", "--dry")
    assert stages(printed) - {f"evaluate@{name}" for name in BACKBONES} == {"train@vgg19"}
    assert "lr.transfer=0.0005 lr.finetune=1e-05" in printed

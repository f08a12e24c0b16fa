"""The lowest versions that pyproject.toml allows are enough: a part of the fast tests, run on them.

`make lowest` builds their environment, with torch and CUDA of .venv; `make test-lowest` runs all
fast tests in one that has the lowest torch too.
"""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "tests" / "lowest.lock"
PYTHON = ROOT / ".cache" / "lowest" / "bin" / "python"
QUICK = (
    "tests/unit/test_compat.py",
    "tests/unit/test_data_decode.py",
    "tests/unit/test_evaluation_curves.py",
    "tests/unit/test_study_outcome_figures.py::test_what_can_be_drawn_is_drawn_and_the_rest_is_said",
    "tests/integration/test_run_options.py",
)
"""What calls the most of other packages in the least time."""


def test_the_lock_has_the_lowest_version_of_each_package() -> None:
    locked = dict(re.findall(r"^([a-z0-9-]+)(?:\[.*\])?==(\S+)", LOCK.read_text("utf-8"), re.M))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for wanted in map(Requirement, project["dependencies"]):
        (floor,) = (one.version for one in wanted.specifier if one.operator == ">=")
        found = locked[wanted.name]
        assert found.startswith(floor), f"{wanted}: the lock has {found}; run make lock"


@pytest.mark.heavy
def test_fast_tests_pass_with_the_lowest_versions() -> None:
    if not PYTHON.exists():
        pytest.skip("no environment of the lowest versions: make lowest")
    # A record that this MLflow has made may be too new for the lowest.
    env = {key: value for key, value in os.environ.items() if key != "ASL_EXP_TEST_MADE"}
    done = subprocess.run(
        [PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "filterwarnings=default",
         "-m", "not heavy and not gpu and not exhaustive", *QUICK],
        cwd=ROOT, env={**env, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
        timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]

"""docs/extend.md is carried out: a copy of the project is changed so, and the commands run."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, TINY
from made_images import picture, save

pytestmark = pytest.mark.heavy

TEXT = (ROOT / "docs" / "extend.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
MOST_LINES = 9

Hunk = tuple[str, str, str]
"""A file, the text to find in it once, and what takes its place; nothing to find: a new file."""


def hunks(section: str) -> list[Hunk]:
    found: list[Hunk] = []
    for block in re.findall(r"```diff\n(.*?)```", section, re.DOTALL):
        for part in re.split(r"^(?=\+\+\+ )", block, flags=re.MULTILINE)[1:]:
            name, _, rest = part.partition("\n")
            for lines in re.split(r"^@@\n", rest, flags=re.MULTILINE):
                marked = [(line[:1], line[1:]) for line in lines.splitlines()]
                before = "".join(f"{text}\n" for mark, text in marked if mark != "+")
                after = "".join(f"{text}\n" for mark, text in marked if mark != "-")
                found.append((name.removeprefix("+++ "), before, after))
    return found


def commands(section: str) -> list[list[str]]:
    lines = re.findall(r"^    python -m asl_exp (.*)$", section, re.MULTILINE)
    return [shlex.split(line) for line in lines]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the project with all changes made."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("asl_exp", "conf", "sweeps", "hydra_plugins"):
        left_out = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=left_out)
    for section in SECTIONS.values():
        for name, before, after in hunks(section):
            file = folder / name
            text = file.read_text("utf-8") if before else ""
            assert before == "" or text.count(before) == 1, f"{name} has not once:\n{before}"
            file.write_text(text.replace(before, after) if before else after, "utf-8")
    for number in range(60):
        save(picture(number), folder / "photos" / f"{'ABC'[number % 3]}_{number}.png")
    return folder


def run(project: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "asl_exp", *arguments, f"data.cache_dir={project}/cache",
         "schedule.transfer.epochs=1", "schedule.finetune.epochs=0"],
        cwd=project, env={**os.environ, "PYTHONPATH": str(project)}, timeout=600,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", SECTIONS)
def test_each_is_a_change_of_few_lines_with_a_command(name: str) -> None:
    added = re.findall(r"^\+(?!\+\+ ) *\S.*$", SECTIONS[name], re.MULTILINE)
    assert 0 < len(added) <= MOST_LINES, added
    assert commands(SECTIONS[name])


def test_what_was_added_works_together(project: Path) -> None:
    added = [
        argument
        for name in ("A backbone", "An augmentation", "A data source", "An optimizer")
        for command in commands(SECTIONS[name])
        for argument in command
    ]
    tiny = [one for one in TINY if not one.startswith(("data.synthetic", "backbone."))]
    said = run(project, *tiny, "backbone.image_size=32", *added)
    assert "asl_tiny_cnn" in said
    saved = (next((project / "runs").glob("*/config/resolved.yaml"))).read_text()
    for key in ("name: asl_tiny_cnn", "grey: 0.3", "source: flat", "name: rmsprop"):
        assert key in saved


def test_the_study_runs(project: Path) -> None:
    (arguments,) = commands(SECTIONS["A study"])
    run(project, *arguments, *TINY)
    (written,) = (project / "runs").glob("*/outcome/trials.csv")
    assert len(written.read_text().splitlines()) == 3, "the names of the columns and two trials"

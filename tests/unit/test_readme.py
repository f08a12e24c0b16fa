"""Commands of the README and the pages compose, and the targets and presets are all named."""

import re
import shlex
from pathlib import Path

import pytest

from asl_exp.config.compose import compose_config
from asl_exp.config.study_plan import check_overrides

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TASKS = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
COMMANDS = sorted(
    {
        line.split("#")[0].strip()
        for line in re.findall(r"^    (?:srun .*)?python -m asl_exp (.*)$", README + TASKS, re.M)
    }
)


@pytest.mark.parametrize("command", COMMANDS)
def test_command_composes(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "num_nodes" in command and "rendezvous" not in command:
        monkeypatch.setenv("SLURM_JOB_ID", "1")  # srun sets it
    overrides = shlex.split(command)
    if "--multirun" in overrides:
        check_overrides([o for o in overrides if o != "--multirun"], multirun=True)
    else:
        compose_config(overrides)


def test_commands_are_found() -> None:
    assert len(COMMANDS) >= 20


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^    make ([a-z-]+)", README, re.MULTILINE)) <= targets


def test_every_preset_is_named() -> None:
    for preset in (ROOT / "conf" / "experiment").glob("*.yaml"):
        assert f"`{preset.stem}`" in README

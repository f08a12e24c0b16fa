"""The README's commands compose, and the files and targets that it names exist."""

import re
import shlex
from pathlib import Path

import pytest

from asl_exp.config.compose import check_overrides, compose_config

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line.split("#")[0])[3:]
    for line in re.findall(r"^    (python -m asl_exp .*)$", README, re.MULTILINE)
]


@pytest.mark.parametrize("overrides", COMMANDS, ids=" ".join)
def test_command_composes(overrides: list[str]) -> None:
    if "--multirun" in overrides:
        check_overrides([o for o in overrides if o != "--multirun"], multirun=True)
    else:
        compose_config(overrides)


def test_commands_are_found() -> None:
    assert len(COMMANDS) >= 5


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^    make ([a-z-]+)", README, re.MULTILINE)) <= targets


def test_linked_files_exist() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / link).exists(), link


def test_every_preset_is_named() -> None:
    for preset in (ROOT / "conf" / "experiment").glob("*.yaml"):
        assert f"`{preset.stem}`" in README

"""The Dockerfiles pass a linter, and copy what is there; none is built here."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
KNOWN = {
    "FROM", "ENV", "RUN", "WORKDIR", "COPY", "ARG", "USER", "EXPOSE", "HEALTHCHECK", "CMD",
    "VOLUME", "ENTRYPOINT",
}  # fmt: skip


def instructions(file: Path) -> Iterator[tuple[str, str]]:
    """Yield each instruction and its arguments, lines that go on joined."""
    lines = [line for line in file.read_text("utf-8").splitlines() if not line.startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word, rest.strip()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_dockerfile_parses_and_copies_what_is_there(file: Path) -> None:
    found = list(instructions(file))
    assert found[0][0] == "FROM"
    assert {word for word, _ in found} <= KNOWN
    arguments = {rest.partition("=")[0] for word, rest in found if word == "ARG"}
    for word, rest in found:
        assert rest, f"{word} without arguments"
        if word == "COPY":
            *sources, _ = rest.split()
            for source in sources:
                named = re.fullmatch(r"\$\{(\w+)\}", source)
                assert (named and named[1] in arguments) or (ROOT / source).exists(), source
        if rest.startswith("[") and word in ("CMD", "ENTRYPOINT"):
            command = json.loads(rest)
            assert command
            assert all(isinstance(part, str) for part in command)
        if word == "FROM":
            assert re.fullmatch(r"python:3\.1[1-9]-slim", rest)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_hadolint_has_nothing_to_say(file: Path) -> None:
    places = [str(Path(sys.executable).parent), os.environ["PATH"]]
    program = shutil.which("hadolint", path=os.pathsep.join(places))
    if program is None:
        pytest.skip("hadolint is not installed: it is in the extra dev, on Linux")
    told = subprocess.run([program, "--no-color", file], capture_output=True, text=True)
    assert (told.returncode, told.stdout) == (0, "")


def test_both_are_there() -> None:
    assert [file.name for file in FILES] == ["serve.Dockerfile", "train.Dockerfile"]

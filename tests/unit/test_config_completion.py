"""The shell completes groups, choices, keys and values, by what ``-sc install=bash`` prints."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from asl_exp.config.completion import candidates, completion

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("optim", {"optimizer=", "optimizer.name=", "optimizer.eps="}),
        ("optimizer=", {"optimizer=nadam", "optimizer=adamw", "optimizer=sgd"}),
        ("optimizer.name=n", {"optimizer.name=nadam"}),
        ("trainer.compile=", {"trainer.compile=true", "trainer.compile=cuda_graphs"}),
        ("schedule.finetune.ep", {"schedule.finetune.epochs="}),
        ("sweep=nadam", {"sweep=nadam_l2_dropout"}),
        ("--mul", {"--multirun"}),
        ("nothing", set()),
    ],
)
def test_a_word_is_gone_on_with(word: str, expected: set[str]) -> None:
    found = candidates(word)
    assert expected <= set(found)
    assert all(one.startswith(word) for one in found)


def test_bash_completes_a_choice(tmp_path: Path) -> None:
    """As bash does it: the line so far, and the word after the last '='."""
    line = f"{sys.executable} -m asl_exp seed=1 experiment=paper_v"
    script = [
        completion("install=bash"),
        f'COMP_LINE="{line}"; COMP_POINT=${{#COMP_LINE}}; COMP_WORDS=({line})',
        "_asl_exp_complete; echo ${COMPREPLY[*]}",
    ]
    ran = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ran.stdout.split() == ["paper_vgg19"]
    assert ran.stderr == ""

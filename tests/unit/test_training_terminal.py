"""What a run prints fits the terminal that it is read on."""

import pytest

from asl_exp.training import terminal

ROWS = {
    "train": {"images": 3960, "loss": 0.312, "accuracy": 0.995},
    "external/roboflow_davidlee": {
        "images": 251, "accuracy": 0.964, "f1_macro": 0.962, "ece": 0.022, "hands_found": 1.0,
    },
}  # fmt: skip
INTERVALS = {"external/roboflow_davidlee/accuracy": (0.93, 0.98)}


def shown(width: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(terminal.console, "width", width)
    with terminal.console.capture() as captured:
        terminal.show_result("a run", ROWS, INTERVALS)
    return captured.get()


@pytest.mark.parametrize("width", [80, 100, 200])
def test_no_name_of_a_set_is_broken_and_the_score_stands_beside_it(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = shown(width, monkeypatch).splitlines()
    (row,) = [line for line in lines if "external/roboflow_davidlee" in line]
    assert "0.964   0.93 to 0.98" in row
    assert row.split()[-1] == "1.000", "hands found"
    assert all(len(line) <= width for line in lines)


def test_a_wide_terminal_has_every_score(monkeypatch: pytest.MonkeyPatch) -> None:
    said = shown(200, monkeypatch)
    assert all(word in said for word in ("loss", "f1_macro", "ece", "0.962", "0.022"))
    assert "loss" not in shown(80, monkeypatch)

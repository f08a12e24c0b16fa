"""The README's five things are done, in its order, with a tiny network on a folder of pictures."""

import importlib
import os
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, TINY
from made_images import class_folder, picture, save
from processes import Forked, result_of, run_folders

pytestmark = pytest.mark.heavy

SECTION = re.search(
    r"^## Five things people do\n(.*?)^## ", (ROOT / "README.md").read_text("utf-8"), re.M | re.S
)
assert SECTION is not None
COMMANDS = re.findall(r"^    python -m (asl_exp\S*) (.*)$", SECTION[1], re.MULTILINE)
"""Those with arguments; the app, which has none, serves until it is ended and is tested apart."""
TINY_PHOTOS = [one for one in TINY if not one.startswith("data.synthetic")]
SHORT = [*TINY_PHOTOS, "schedule.transfer.epochs=1", "schedule.finetune.epochs=1"]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    class_folder(tmp_path / "photos", "ABC", each=8)
    shutil.copytree(tmp_path / "photos", tmp_path / "other_photos")
    save(picture(1), tmp_path / "more_photos" / "one.png")
    save(picture(2), tmp_path / "photo.jpg")
    return tmp_path


def train(folder: Path, *arguments: str) -> str:
    command = Forked(folder, *arguments)
    assert command.wait(300) == 0, command.text()
    return command.text()


def answer(module: str, arguments: list[str], said: Callable[[], str]) -> str:
    assert importlib.import_module(module).main(arguments) == 0
    return said()


def test_the_five_things(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [name for name, _ in COMMANDS] == [
        "asl_exp", "asl_exp.predict", "asl_exp.evaluate", "asl_exp", "asl_exp.report",
    ]  # fmt: skip
    typed = [shlex.split(arguments) for _, arguments in COMMANDS]

    train(photos, *typed[0], *SHORT)
    (run,) = run_folders(photos / "runs")
    assert result_of(run)["status"] == "FINISHED"

    def of(arguments: list[str], other: Path = run) -> list[str]:
        names = {"runs/RUN": run, "runs/OTHER": other}
        return [os.path.relpath(names.get(one, one)) for one in arguments if "=" not in one] + [
            one for one in arguments if "=" in one
        ]

    def said() -> str:
        return capsys.readouterr().out

    letters = answer("asl_exp.predict", of(typed[1]), said)
    assert "photo.jpg" in letters
    assert "one.png" in letters
    assert "accuracy" in answer("asl_exp.evaluate", of(typed[2]), said)

    told = train(photos, *typed[3], *SHORT, "sweep.n_trials=2")
    assert "Best: trial" in told
    trial = next(one for one in run_folders(photos / "runs") if one != run)
    assert run.name in answer("asl_exp.report", of(typed[4], trial), said)

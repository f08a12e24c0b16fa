"""The table that sets runs beside the paper's figures."""

import json
from pathlib import Path

import pytest

from asl_exp.config.compose import compose_config
from asl_exp.evaluation.comparison import main, markdown, read_row
from asl_exp.runs.result import Result
from asl_exp.runs.run_folder import write_config

CONFIG = [
    "backbone=vgg19", "backbone.image_size=100", "data=folder", "data.root=photos",
    "data.split=group", "lr.transfer=0.0001", "lr.finetune=0.00001",
]  # fmt: skip


def make_run(folder: Path, status: str = "FINISHED") -> Path:
    folder.mkdir()
    write_config(compose_config(CONFIG), folder)
    metrics = {
        "train/accuracy": 0.99, "val/accuracy": 0.9, "test/accuracy": 0.875,
        "test/f1_macro": 0.5, "external/kaggle/accuracy": 0.4321, "external/kaggle/ece": 0.1,
    }  # fmt: skip
    Result("run", "signature", status=status, metrics=metrics).write(folder)
    return folder


def test_row_has_measured_and_published_accuracies(tmp_path: Path) -> None:
    row = read_row(make_run(tmp_path / "run"))
    assert row["measured"] == {
        "train": 0.99, "val": 0.9, "test": 0.875, "external/kaggle/accuracy": 0.4321,
    }  # fmt: skip
    assert row["published"] == {"train": 1.0, "val": 0.92, "test": 0.93, "external": 0.44}


def test_markdown_shows_both_side_by_side(tmp_path: Path) -> None:
    line = markdown([read_row(make_run(tmp_path / "run"))]).splitlines()[-1]
    assert line == (
        "| vgg19 | pretrained | 100 | folder | group | 0.990 / 1.00 | 0.900 / 0.92 | "
        "0.875 / 0.93 | kaggle 0.432 / 0.44 |"
    )


def test_writes_both_tables(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    paths = [tmp_path / "table.md", tmp_path / "table.json"]
    assert main([*map(str, paths), str(run)]) == 0
    assert "kaggle 0.432" in paths[0].read_text()
    assert json.loads(paths[1].read_text())[0]["backbone"] == "vgg19"


@pytest.mark.parametrize(
    ("status", "said"), [("FAILED", "its status is FAILED"), (None, "not a run folder")]
)
def test_refuses_what_is_no_finished_run(
    status: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run", status) if status else tmp_path / "nothing"
    assert main([str(tmp_path / "t.md"), str(tmp_path / "t.json"), str(run)]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "t.md").exists()


def test_says_how_it_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().out.startswith("usage:")

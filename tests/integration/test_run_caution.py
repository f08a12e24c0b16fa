"""What a run says against its own scores: unknown groups, and a phase that lost on val."""

import json
from pathlib import Path

import pytest
from made_images import class_folder
from PIL import Image

from asl_exp.config.compose import compose_config
from asl_exp.data.__main__ import main as data_command
from asl_exp.evaluation.comparison import read_runs
from asl_exp.evaluation.comparison_page import html_page, markdown
from asl_exp.tracking.store import open_store
from asl_exp.training.run import run_experiment

CAUTION = "groups unknown: may leak"


@pytest.fixture(scope="module")
def overrides(tiny: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("unknown")
    photos = class_folder(folder / "photos", "ABC", each=10)
    kept = [one for one in tiny if "synthetic" not in one]
    return [
        *kept, "data=folder", f"data.root={photos}", "schedule.transfer.epochs=1",
        "schedule.finetune.epochs=1", f"runs_dir={folder / 'runs'}",
    ]  # fmt: skip


def test_every_place_of_a_run_has_the_caution(
    overrides: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    config = compose_config(overrides)
    folder = Path(config.runs_dir) / "one"
    run_experiment(config, folder)
    said = capsys.readouterr().out
    assert said.count(CAUTION) >= 2  # before training, and above the result table
    result = json.loads((folder / "result.json").read_text())
    assert result["cautions"] == {"val": CAUTION, "test": CAUTION}
    run = open_store(Path(config.runs_dir)).get_run(result["mlflow_run_id"])
    assert run.info.run_name == f"{result['name']} [may leak]"
    tags = run.data.tags
    assert CAUTION in tags["caution"]
    assert f"**{CAUTION} (val, test)**" in tags["mlflow.note.content"]
    test = folder / "evaluation" / "test"
    assert CAUTION in (test / "classification_report.txt").read_text()
    assert json.loads((test / "classification_report.json").read_text())["caution"] == CAUTION
    compared = read_runs([folder])
    assert markdown(compared, []).count(CAUTION) >= 2  # a warning, and beside the scores
    assert html_page(compared, []).count(CAUTION) >= 2
    assert CAUTION in (folder / "evaluation" / "certificate.json").read_text()
    for picture in [*test.glob("*.png"), folder / "learning_curves.png"]:
        with Image.open(picture) as image:
            assert CAUTION in image.info["Title"], picture


def test_the_audit_does_not_certify_what_it_cannot_know(
    overrides: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    kept = [one for one in overrides if not one.startswith("schedule")]
    assert data_command(["audit", *kept]) == 0
    said = capsys.readouterr().out
    assert CAUTION in said
    assert "group-mate" not in said
    folder = Path(compose_config(kept).runs_dir) / "audit"
    assert CAUTION in (folder / "audit.html").read_text()
    facts = json.loads((folder / "audit.json").read_text())
    assert (facts["groups"], facts["caution"]) == ("unknown", CAUTION)


@pytest.mark.parametrize(
    ("rate", "more", "lost"),
    [
        pytest.param("1e-1", (), True, id="made it worse"),
        pytest.param("1e-1", ("schedule.finetune.mix=true",), False, id="the mix is no worse"),
        pytest.param("1e-9", (), False, id="left it as it was"),
    ],
)
def test_a_last_phase_that_made_it_worse_is_told(
    tiny: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    rate: str,
    more: tuple[str, ...],
    lost: bool,
) -> None:
    phases = (
        "schedule.transfer.epochs=2", "schedule.transfer.monitor=val/loss",
        "schedule.finetune.epochs=1", "schedule.finetune.monitor=val/loss",
    )  # fmt: skip
    given = [*tiny, *phases, f"lr.finetune={rate}", *more, "tracking=off", "data.external=[]"]
    config = compose_config([*given, f"runs_dir={tmp_path}"])
    run_experiment(config, tmp_path / "run")
    told = [line for line in capsys.readouterr().out.splitlines() if "is worse than" in line]
    assert len(told) == lost
    if lost:
        assert told[0].startswith("finetune is worse than transfer by val/loss (")
        assert "schedule.finetune.mix=true" in told[0]
        assert "checkpoints/transfer.ckpt" in told[0]

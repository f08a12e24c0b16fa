"""``python -m asl_exp.report``: finished runs side by side, and certificates checked."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from asl_exp.config import readable
from asl_exp.config.compose import compose_config
from asl_exp.report import main
from asl_exp.training.run import run_experiment

LENGTH = ("schedule.transfer.epochs=2", "schedule.finetune.epochs=0", "tracking=off")


@pytest.fixture(scope="module")
def runs(tiny: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of one configuration, and another rate that leaks."""
    folder = tmp_path_factory.mktemp("runs")
    different = {"a": ("seed=0",), "b": ("seed=1",), "c": ("lr.transfer=1e-2", "data.split=random")}
    for name, words in different.items():
        run_experiment(compose_config([*tiny, *LENGTH, *words]), folder / name)
    return folder


def report(words: list[str], out: Path) -> tuple[str, str, dict]:
    assert main([*words, "--out", str(out)]) == 0
    content = json.loads((out / "report.json").read_text())
    return (out / "report.md").read_text(), (out / "report.html").read_text(), content


def test_runs_are_set_side_by_side(runs: Path, tmp_path: Path) -> None:
    text, page, content = report([str(runs)], tmp_path / "out")
    assert "| a and 1 more (repeated) | asl_small_cnn, random | group |" in text
    assert "| c | asl_small_cnn, random | random (leaking split) |" in text
    assert "c: leaking split (val, test)" in text
    assert "test: the runs were tested on different images" in text
    assert "| lr.transfer | 0.001 | 0.001 | 0.01 |" in text
    assert "on external/synthetic_external" in text
    assert page.count("<img") == 4  # curves, recall on test and on the external set, cost
    assert "http" not in page
    assert list(content["runs"]) == ["a", "b", "c"]
    assert {p["set"] for p in content["pairs"]} == {"test", "external/synthetic_external"}
    assert len(content["pairs"]) == 2  # a and b are one configuration
    assert "common images |" in text
    result = json.loads((runs / "c" / "result.json").read_text())
    told = readable.interval(result["intervals"]["val/accuracy"])
    assert f"{result['metrics']['val/accuracy']:.2f} ({told})" in text
    for name, row in content["runs"].items():
        scores = pd.read_parquet(runs / name / "evaluation/test/predictions.parquet")
        assert row["measured"]["test"] == pytest.approx(scores["correct"].mean())


def test_one_run_alone_has_a_report(runs: Path, tmp_path: Path) -> None:
    text, _, content = report([str(runs / "a")], tmp_path)
    assert len(content["runs"]) == 1
    assert "## Differences" not in text


def test_equal_names_are_told_apart(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "a", tmp_path / "other" / "a")
    _, _, content = report([str(runs / "a"), str(tmp_path / "other" / "a")], tmp_path / "out")
    assert len(content["runs"]) == 2


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda run: (run / "result.json").unlink(), "no finished run"),
        (lambda run: (run / "result.json").write_text("{"), "result.json"),
        (
            lambda run: (run / "evaluation/test/predictions.parquet").write_bytes(b"nonsense"),
            "these are no predictions",
        ),
    ],
)
def test_what_is_no_finished_run_is_refused(
    spoil, said: str, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs / "a", run)
    spoil(run)
    assert main([str(run), "--out", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err


def test_nothing_to_compare_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "give the runs to compare" in capsys.readouterr().err
    assert main(["no_such_run"]) == 2
    assert "no_such_run: no such folder" in capsys.readouterr().err


def test_a_certificate_holds_until_something_is_changed(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs / "a", run)
    file = run / "evaluation" / "certificate.json"
    assert main(["--verify", str(file)]) == 0
    assert "every score and interval holds" in capsys.readouterr().out

    content = json.loads(file.read_text())
    assert set(content["sets"]) == {"test", "external/synthetic_external"}
    splits = content["audit"]["splits"]
    assert "exact_copies_in_train" not in splits["train"]
    assert {name: one["of_groups_in_train"] for name, one in splits.items() if name != "train"} == {
        "val": 0, "test": 0, "external/synthetic_external": 0,
    }  # fmt: skip
    assert len({one["digest"] for one in splits.values()}) == 4
    assert content["calibration"]["temperature"] == 1.0
    true = content["sets"]["test"]["scores"]["accuracy"]
    content["sets"]["test"]["scores"]["accuracy"] = 0.99
    content["sets"]["test"]["intervals"]["f1_macro"] = [0.1, 0.2]  # of one group
    file.write_text(json.dumps(content))
    assert main(["--verify", str(file)]) == 1
    told = capsys.readouterr().out
    assert f"test: accuracy is certified as 0.9900, the predictions give {true:.4f}" in told
    assert "the interval of f1_macro is certified as 0.1000 to 0.2000, the predictions g" in told

    predictions = run / "evaluation/external/synthetic_external/predictions.parquet"
    pd.read_parquet(predictions).iloc[1:].to_parquet(predictions)
    assert main(["--verify", str(file)]) == 1
    told = capsys.readouterr().out
    assert "external/synthetic_external: predictions.parquet was changed" in told
    assert "12 images are certified, 11 are there" in told

    shutil.copytree(runs / "a", run, dirs_exist_ok=True)
    content = json.loads(file.read_text())
    content["versions"]["asl-exp"] = "0.0.9"
    one = content["sets"]["external/synthetic_external"]
    one["intervals"], one["intervals_method"] = {"accuracy": [0.1, 0.2]}, "percentiles"
    file.write_text(json.dumps(content))
    assert main(["--verify", str(file)]) == 1
    (told,) = capsys.readouterr().out.splitlines()
    assert "intervals were not checked: asl-exp 0.0.9 made them by another method" in told

    file.write_text("[]")
    assert main(["--verify", str(file)]) == 2

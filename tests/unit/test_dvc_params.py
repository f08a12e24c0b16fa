"""dvc.yaml and its two parameter files agree with the presets that they run."""

from pathlib import Path

import pytest
import yaml

from asl_exp.config.compose import compose_config

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("file", ["params.yaml", "params.demo.yaml"])
def test_params_are_valid_for_every_backbone(file: str) -> None:
    params = yaml.safe_load((ROOT / file).read_text())
    for name, rates in params["backbones"].items():
        own = compose_config([f"experiment=paper_{name}"]).lr
        assert rates == {"transfer": own.transfer, "finetune": own.finetune}
        compose_config([f"experiment=paper_{name}", *params["overrides"].split()])


def test_the_report_waits_until_every_backbone_is_scored() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    backbones = yaml.safe_load((ROOT / "params.yaml").read_text())["backbones"]
    runs = [f"runs/comparison/{name}" for name in backbones]
    [scored] = stages["evaluate"]["do"]["outs"][0]
    scores = [scored.replace("${key}", name) for name in backbones]
    assert set(scores) < set(stages["report"]["deps"])
    kept = {one for out in stages["train"]["do"]["outs"] for one in out}
    assert kept - {"runs/comparison/${key}/epochs.csv"} < set(stages["evaluate"]["do"]["deps"])
    assert stages["report"]["cmd"].split()[-6:-2] == runs


def test_what_the_stages_depend_on_is_there() -> None:
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    backbones = yaml.safe_load((ROOT / "params.yaml").read_text())["backbones"]
    stages = [stage.get("do", stage) for stage in pipeline["stages"].values()]
    named = {dep.replace("${key}", key) for s in stages for dep in s["deps"] for key in backbones}
    assert [dep for dep in named if dep[:5] != "runs/" and not (ROOT / dep).exists()] == []


def test_every_backbone_is_in_the_plots() -> None:
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    curves, *matrices = pipeline["plots"]
    runs = [f"runs/comparison/{name}" for name in yaml.safe_load(
        (ROOT / "params.yaml").read_text())["backbones"]]  # fmt: skip
    assert list(curves["learning curves"]["y"]) == [f"{run}/epochs.csv" for run in runs]
    assert matrices == [f"{run}/evaluation/test/confusion_matrix.png" for run in runs]

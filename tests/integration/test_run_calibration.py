"""A run fits the temperature on val, keeps it with the model, and leaves its own scores alone."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from asl_exp.config.compose import compose_config
from asl_exp.data.dataset import load_letters
from asl_exp.evaluation import calibration
from asl_exp.predict import main as predict
from asl_exp.training.run import run_experiment


def test_a_run_calibrates_what_predict_says(
    tiny: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Three signers have 36 images in val: the limits are lowered, the rest is as in any run."""
    monkeypatch.setattr(calibration, "FEWEST_IMAGES", 10)
    monkeypatch.setattr(calibration, "_FEWEST_ANSWERS", 1)
    overrides = (
        *tiny, "data.synthetic.signers=12", "data.val_fraction=0.25", "data.external=[]",
        "schedule.transfer.epochs=1", "schedule.finetune.epochs=0", "tracking=off",
        "evaluation.wanted_accuracy=0.3", f"runs_dir={tmp_path}",
    )  # fmt: skip
    config = compose_config(list(overrides))
    run_experiment(config, tmp_path / "run")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    low, high = result["intervals"]["val/accuracy"]
    assert low <= result["metrics"]["val/accuracy"] <= high
    kept = result["calibration"]
    assert "fitted on the 36 images of val" in kept["told"]
    assert kept["temperature"] != 1.0
    data = load_letters(config.data, image_size=32, interpolation="bilinear", seed=config.seed)
    test = data.splits["test"]
    folder = tmp_path / "photos"
    folder.mkdir()
    for row, pixels in enumerate(test.gather(np.arange(len(test)))):
        Image.fromarray(pixels).save(folder / f"{row:02}.png")
    capsys.readouterr()
    assert predict([str(tmp_path / "run"), str(folder), "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    scores = pd.read_parquet(tmp_path / "run" / "evaluation" / "test" / "predictions.parquet")
    plain = scores[[f"probability/{name}" for name in data.classes]].to_numpy()
    softened = plain ** (1 / kept["temperature"])
    softened /= softened.sum(1, keepdims=True)
    for row, expected in zip(told, softened, strict=True):
        given = [row["probabilities"][name] for name in data.classes]
        assert given == pytest.approx(expected.tolist(), abs=1e-5)
        sure = kept["abstain_below"] is None or max(expected) >= kept["abstain_below"]
        assert (row["letter"] != "not sure") == sure

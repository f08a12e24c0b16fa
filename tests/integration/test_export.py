"""``python -m asl_exp.export``: the file answers as the network does, and predict takes it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from made_images import class_folder

from asl_exp.config.compose import compose_config
from asl_exp.export import main
from asl_exp.model.checkpoint import save_kept_model
from asl_exp.model.classifier import build_classifier
from asl_exp.model.kept import checkpoint_metadata
from asl_exp.model.own_weights import resolve_preprocessing
from asl_exp.predict import main as predict

pytestmark = pytest.mark.heavy

pytest.importorskip("onnxscript", reason="the extra export is not installed")


def kept(folder: Path, *overrides: str) -> Path:
    """Write the checkpoint of a network that nobody trained, whose answers differ widely."""
    config = compose_config(overrides)
    preprocessing = resolve_preprocessing(config.backbone)
    torch.manual_seed(0)
    model = build_classifier(config, 3, preprocessing).eval()
    with torch.no_grad():
        list(model.head)[-1].weight.mul_(20)
    about = checkpoint_metadata(config, ("A", "B", "C"), preprocessing)
    save_kept_model(model, {**about, "phase": "finetune", "epoch": 3}, folder / "kept.ckpt")
    return folder / "kept.ckpt"


def test_a_file_with_preprocessing_and_its_int8_form_predict_as_the_checkpoint(
    tiny: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import onnx
    import onnxruntime

    checkpoint = kept(tmp_path, *tiny, "augmentation=none")
    out = tmp_path / "out" / "net.onnx"
    words = [str(checkpoint), "--with-preprocessing", "--int8", "--output", str(out)]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "compared on 12 images of the test set; accuracy on all 12" in said
    spread = r"(95 % -?\d+\.\d to -?\d+\.\d|not one answer changed|no interval: .*)"
    assert re.search(rf"int8 costs -?\d+\.\d points of accuracy on the test set \({spread}\)", said)
    assert "95 %" in said.splitlines()[1]
    assert sorted(path.name for path in out.parent.iterdir()) == ["net.int8.onnx", "net.onnx"]
    small = out.with_suffix(".int8.onnx")
    assert small.stat().st_size < 0.6 * out.stat().st_size
    told = {entry.key: entry.value for entry in onnx.load(small).metadata_props}
    about = json.loads(told["asl_exp"])
    assert about["classes"] == ["A", "B", "C"]
    assert len(about["weights_sha256"]) == 64
    session = onnxruntime.InferenceSession(out)
    axes = session.get_inputs()[0].shape, session.get_outputs()[0].shape
    assert axes == (["batch", "height", "width", 3], ["batch", 3])
    for batch, high, wide in ((1, 40, 56), (3, 100, 33)):  # any number of photos of any size
        given = np.zeros((batch, high, wide, 3), np.uint8)
        assert session.run(None, {"images": given})[0].shape == (batch, 3)

    photos = class_folder(tmp_path / "photos", "AB", 3)
    answers = []
    for model in (checkpoint, out, small):
        assert predict([str(model), str(photos)]) == 0
        lines = capsys.readouterr().out.strip().splitlines()
        answers.append([line.split("\t")[1:3] for line in lines])
    assert answers[0] == answers[1]
    assert len({letter for letter, _ in answers[0]}) > 1  # the answers tell the photos apart
    same = [a == b for (a, _), (b, _) in zip(answers[0], answers[2], strict=True)]
    assert sum(same) >= 4  # of 6: eight bits move answers that are near each other


def test_over_the_tolerance_nothing_is_kept(
    tiny: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a network with two inputs, whose probabilities differ by rounding alone."""
    hand = ("hand=both", "hand.detector=exact", "augmentation=none")
    checkpoint = kept(tmp_path, *tiny, *hand)
    assert main([str(checkpoint), "--tolerance", "1e-12"]) == 1
    said = capsys.readouterr().err
    difference = re.search(r"network differs by (\S+) from PyTorch's", said)
    assert difference is not None
    assert 1e-12 < float(difference[1]) < 1e-4
    assert [path.name for path in tmp_path.iterdir()] == ["kept.ckpt"]


def test_what_cannot_be_exported_is_said(
    tiny: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hand = ("hand=joints", "hand.detector=exact", "hand.on_missing=reject", "augmentation=none")
    checkpoint = kept(tmp_path, *tiny, *hand)
    assert main([str(checkpoint), "--with-preprocessing"]) == 2
    assert "hand=joints sees no images" in capsys.readouterr().err
    monkeypatch.setattr("asl_exp.serving.export._samples", None)  # nothing is read before
    assert main([str(checkpoint), "--output", "/proc/x.onnx"]) == 2
    assert "'/proc/x.onnx': no such file or directory; give another path" in capsys.readouterr().err
    monkeypatch.setattr("asl_exp.serving.export._LARGEST", 1000)
    assert main([str(checkpoint)]) == 2
    assert "GB of weights, and an ONNX file holds" in capsys.readouterr().err

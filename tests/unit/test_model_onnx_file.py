"""What is no exported network is refused in a sentence, by every command that takes a model."""

from pathlib import Path

import pytest

from asl_exp.config.errors import UserError, require_extra
from asl_exp.export import main as export
from asl_exp.model.checkpoint import load_kept_model
from asl_exp.predict import main as predict

onnx = pytest.importorskip("onnx", reason="the extra export is not installed")
pytest.importorskip("onnxruntime", reason="the extra export is not installed")


def graph(path: Path, metadata: dict[str, str]) -> Path:
    """Write a network of one operator, which is none of ours."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    node = helper.make_node("Flatten", ["images"], ["scores"])
    ends = [helper.make_tensor_value_info(name, kind, None) for name in ("images", "scores")]
    model = helper.make_model(
        helper.make_graph([node], "g", ends[:1], ends[1:]),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({}, "no network of asl_exp"),
        ({"asl_exp": "{"}, "its metadata cannot be read"),
        ({"asl_exp": "[1]"}, "its metadata cannot be read"),
        ({"asl_exp": '{"format": 99}'}, "of format 99"),
        ({"asl_exp": '{"format": 1}'}, "its configuration is no table of keys"),
    ],
)
def test_a_strangers_network_is_refused(
    metadata: dict[str, str], said: str, tmp_path: Path
) -> None:
    file = graph(tmp_path / "net.onnx", metadata)
    with pytest.raises(UserError, match=said):
        load_kept_model(file)


def test_a_damaged_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "net.onnx"
    file.write_bytes(b"no network")
    assert predict([str(file), str(file)]) == 2
    assert "damaged or no ONNX network" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tolerance", "0"], "--tolerance: got 0.0"),
        (["--output", "net.pt"], "must end in .onnx"),
        ([], "nowhere: no such folder, and no run of the store in"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(["nowhere", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_missing_extra_is_named() -> None:
    with pytest.raises(UserError, match=r"pip install 'asl-exp\[export\]' \(not installed: absent"):
        require_extra("export", "json", "absent_package")

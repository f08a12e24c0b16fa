"""What a run's folder says, and how it is read back where it is damaged."""

import errno
import json
import os
from pathlib import Path

import pytest

from asl_exp.config.compose import compose_config
from asl_exp.config.errors import StorageError, UserError
from asl_exp.runs.result import Result, outcome_of
from asl_exp.runs.run_folder import read_config, run_folders, write_config
from asl_exp.runs.writing import full_disk_named, replaced


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "one"
    folder.mkdir(parents=True)
    Result("one", "signature", metrics={"val/loss": float("nan"), "val/accuracy": 1}).write(folder)
    write_config(compose_config(["backbone.pretrained=false"]), folder)
    return folder


def test_a_result_and_a_configuration_come_back_as_they_were_written(run: Path) -> None:
    result = Result.read(run)
    assert result is not None
    assert (result.name, result.metrics["val/accuracy"]) == ("one", 1)
    assert read_config(run) == compose_config(["backbone.pretrained=false"])


@pytest.mark.parametrize("name", ["result.json", "folds.json"])
@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[]", "null", '{"name": "one"}', b"\xff\xfe",
        '{"name": "one", "signature": "s", "metrics": "many"}',
        '{"name": "one", "signature": "s", "checkpoints": ["transfer.ckpt"]}',
        '{"name": "one", "signature": "s", "unknown": 1}',
    ],
)  # fmt: skip
def test_a_damaged_result_is_one_sentence_that_names_the_file(
    run: Path, name: str, content: str | bytes
) -> None:
    file = run / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as said:
        outcome_of(run)
    assert str(said.value).startswith(f"{file}: damaged, or of another version of asl_exp (")
    assert "\n" not in str(said.value)
    assert "MLflow artifacts" in str(said.value)


@pytest.mark.parametrize("name", ["result.json", "folds.json"])
def test_a_result_that_the_disk_does_not_give_is_a_sentence(
    run: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(file: Path) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(file))

    (run / name).write_text("{}")
    monkeypatch.setattr(Path, "read_bytes", refuses)
    with pytest.raises(UserError, match=rf"{name}: damaged.*Input/output error"):
        outcome_of(run)


def test_a_folder_without_a_configuration(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"it has no config/resolved\.yaml"):
        read_config(tmp_path)


def test_runs_are_found_above_a_file_and_below_a_folder(run: Path) -> None:
    nested = run.parent / "study" / "0"
    nested.mkdir(parents=True)
    Result("0", "signature").write(nested)
    assert run_folders(run / "config" / "resolved.yaml") == [run]
    assert run_folders(run.parent) == [run, nested]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    file.write_text("old")
    with pytest.raises(TypeError), replaced(file) as part, part.open("w") as opened:
        json.dump({"ne": object()}, opened)
    assert file.read_text() == "old"
    with replaced(file) as part:
        part.write_text(json.dumps("new"))
        assert file.read_text() == "old"
    assert file.read_text() == '"new"'
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_is_gone_is_said_with_the_way_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()

    def write() -> None:
        with full_disk_named(folder):
            folder.rename(tmp_path / "elsewhere")
            (folder / "state").write_text("")

    with pytest.raises(StorageError, match=r"was moved or deleted while.*resume=FOLDER"):
        write()

"""The app's pages, run by Streamlit without a browser; what a person sees is asserted in words."""

import base64
import io
import json
import re
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from asl_exp.app import main as app
from asl_exp.model.recognizer import Recognizer
from asl_exp.serving.app.choices import all_choices
from asl_exp.serving.app.confusion_page import cells_of, said
from asl_exp.serving.app.pictures import confused_with, encoded
from asl_exp.serving.app.spelling import Speller, answered

testing = pytest.importorskip("streamlit.testing.v1", reason="the extra app is not installed")

PAGE = Path(__file__).parents[2] / "asl_exp" / "serving" / "app" / "page.py"


@pytest.fixture
def two_runs(runs_dir: Path, tmp_path: Path) -> Path:
    """The run, and a copy that is called better and knows it."""
    shutil.copytree(runs_dir / "run0", tmp_path / "runs" / "run")
    shutil.copytree(runs_dir / "run0", tmp_path / "runs" / "better")
    result = tmp_path / "runs" / "better" / "result.json"
    better, key = result.read_text(), "external/synthetic_external/accuracy"
    assert f'"{key}"' in better
    better = re.sub(r'"name": "[^"]*"', '"name": "better"', better)
    content = json.loads(re.sub(rf'"{key}": [\d.]+', f'"{key}": 0.97', better))
    content["intervals"]["external/accuracy"] = [0.9, 0.989]
    result.write_text(json.dumps(content))
    return tmp_path / "runs"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Open the page on a folder of runs."""
    import streamlit as st

    def open_page(runs: Path, *models: Path) -> Any:
        monkeypatch.setattr(sys, "argv", [str(PAGE), str(runs), *map(str, models)])
        return testing.AppTest.from_file(str(PAGE), default_timeout=60).run()

    st.cache_data.clear()
    yield open_page
    st.cache_resource.clear()


def words(page: Any) -> str:
    """Return all that a person reads on a page."""
    assert not page.exception, page.exception
    kinds = ("header", "subheader", "markdown", "caption", "error", "info", "code")
    texts = [element.value for kind in kinds for element in getattr(page, kind)]
    texts += [element.proto.body for element in page.get("html")]
    return "\n".join(texts).replace("\\", "")


def test_without_a_model_it_says_how_to_train_one(opened: Any, tmp_path: Path) -> None:
    said = words(opened(tmp_path / "runs"))
    assert "No model yet" in said
    assert "python -m asl_exp experiment=demo" in said
    assert str(tmp_path / "runs") in said


def test_a_scored_picture_is_read_and_explained(opened: Any, two_runs: Path) -> None:
    """The best model comes first; its confidence never stands without its real-world score."""
    page = opened(two_runs)
    assert page.selectbox[0].options[0].startswith("97% other people")
    assert page.selectbox[0].options[0].endswith("better")
    page.radio[0].set_value("Pictures it was scored on").run()
    said = words(page)
    assert "97% (90% to 99%) of other people's pictures" in said
    assert "The picture shows **A**" in said
    table = pd.read_parquet(two_runs / "better/evaluation/test/predictions.parquet")
    first = table[table["label"] == "A"].iloc[0]
    assert f"asl-letter'>{first['predicted']}<" in said or "not sure" in said
    assert "Grad-CAM" in said
    assert len(page.image) == 1
    page.selectbox[3].select_index(1).run()
    assert len(page.image) == 2, "two models side by side"
    assert words(page).count("Grad-CAM") == 2


def test_the_matrix_leads_to_its_pictures(opened: Any, two_runs: Path) -> None:
    page = opened(two_runs)
    page.segmented_control[0].set_value("Confusions").run()
    name = "external/synthetic_external"
    table = pd.read_parquet(two_runs / "better/evaluation" / name / "predictions.parquet")
    assert f"{len(table)} pictures" in words(page)
    (chart,) = page.get("vega_lite_chart") or page.get("arrow_vega_lite_chart")
    spec = json.loads(chart.proto.spec)
    axes = [layer["encoding"][axis]["scale"]["domain"] for layer in spec["layer"] for axis in "xy"]
    assert axes == [["A", "B", "C"]] * 4, "a square, whatever was never answered"
    options = page.selectbox(key="cell").options
    assert sum(int(re.findall(r"\((\d+)\)$", option)[0]) for option in options) == len(table)
    label, predicted = cells_of(table).iloc[-1][["true letter", "answer"]]
    page.selectbox(key="cell").select_index(len(options) - 1).run()
    (images,) = page.image
    there = ((table["label"] == label) & (table["predicted"] == predicted)).sum()
    assert len(images.proto.imgs) == min(there, 12)
    assert options[-1] == f"{said((label, predicted))} ({there})"


def test_the_camera_page_can_be_opened(opened: Any, two_runs: Path) -> None:
    page = opened(two_runs)
    page.segmented_control[0].set_value("Spell").run()
    assert "97% (90% to 99%) of other people's pictures" in words(page)
    assert page.session_state["speller"].text == ""


def test_a_damaged_model_is_said_in_words(opened: Any, two_runs: Path) -> None:
    for folder in ("checkpoints", "model"):
        for file in (two_runs / "better" / folder).rglob("*"):
            if file.suffix in (".ckpt", ".safetensors"):
                file.write_bytes(b"no weights")
    page = opened(two_runs)
    page.segmented_control[0].set_value("Spell").run()
    assert not page.exception
    assert any("better" in error.value.replace("\\", "") for error in page.error)


@pytest.mark.parametrize("name", ["photo.jpg", "![x](http://evil/x.png).jpg"])
def test_a_text_file_is_refused_by_name(name: str, opened: Any, two_runs: Path) -> None:
    page = opened(two_runs)
    page.file_uploader[0].set_value((name, b"hello", "image/jpeg")).run()
    (error,) = page.error
    assert "not an image that can be read" in error.value
    assert name in error.value.replace("\\", "")
    assert "](" not in error.value, "no link, no picture"


def test_a_run_whose_folder_is_gone_is_found_in_the_store(runs_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(runs_dir, tmp_path / "runs")
    shutil.rmtree(tmp_path / "runs" / "run0")
    artifacts = tmp_path / "runs" / "mlartifacts"
    choices = all_choices(tmp_path / "runs")
    (choice,) = (one for one in choices if one.path.is_relative_to(artifacts))
    assert choice.external is not None
    assert choice.sets == ["test", "external/synthetic_external"]
    assert set(Recognizer.load(choice.path).kept.classes) == set("ABC")


def test_runs_of_one_name_are_told_apart_by_their_folders(two_runs: Path) -> None:
    shutil.copytree(two_runs / "run", two_runs / "again" / "deeper")
    names = [choice.name for choice in all_choices(two_runs)]
    assert sorted(name.partition(": ")[0] for name in names) == ["again/deeper", "better", "run"]


def test_a_frame_of_the_camera_is_answered(runs_dir: Path) -> None:
    recognizer, speller = Recognizer.load(runs_dir / "run0"), Speller()
    jpeg = io.BytesIO()
    Image.fromarray(np.full((320, 320, 3), 90, np.uint8)).save(jpeg, "JPEG")
    frame = {"jpeg": base64.b64encode(jpeg.getvalue()).decode(), "at_ms": 1.0, "id": 7}
    answer = answered(recognizer, speller, frame)
    expected = recognizer.recognize([recognizer.look(jpeg.getvalue())]).iloc[0]
    assert (answer["id"], answer["letter"]) == (7, expected["letter"])
    for keys, text in ((["space"], " "), (["del"], ""), (["space", "space", "clear"], "")):
        frame = frame | {"at_ms": frame["at_ms"] + 10, "pressed": keys}
        assert answered(recognizer, speller, frame)["text"] == text
    for broken in ({"jpeg": "*" * 40}, {"jpeg": 5}, {"jpeg": "A" * 2_000_000}):
        with pytest.raises(ValueError, match="the browser sent"):
            answered(recognizer, speller, frame | broken)


def test_what_is_confused_is_counted_both_ways() -> None:
    answers = pd.DataFrame({"label": list("AAAASSB"), "predicted": list("ASSAABB")})
    assert confused_with(answers, "A") == [("S", 2, 1)]
    assert confused_with(answers, "S") == [("A", 1, 2), ("B", 1, 0)]
    assert confused_with(answers, "Z") == []


def test_a_port_that_is_taken_is_said_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert app(["--port", str(port), "--runs-dir", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert f"port {port} cannot be used" in said
    assert "is free" in said
    assert app(["--port", "70000"]) == 2
    assert app([str(tmp_path / "nothing")]) == 2
    assert "no such file or folder" in capsys.readouterr().err


def test_pictures_of_the_embedded_signer_are_drawn() -> None:
    drawn = Image.open(
        io.BytesIO(encoded("synthetic:synthetic/home/signer03/session1/A/0007@seed0"))
    )
    assert drawn.size == (320, 320)

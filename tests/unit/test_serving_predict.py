"""predict: what it is shown, what it passes over, what it cannot read, and how it answers."""

import csv
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from made_images import picture, save

from asl_exp.config.compose import compose_config
from asl_exp.model.backbone import Preprocessing
from asl_exp.model.classifier import build_classifier
from asl_exp.model.folder import write_model
from asl_exp.model.kept import KeptModel
from asl_exp.predict import main
from asl_exp.serving import predict

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = compose_config([
        "backbone.name=asl_small_cnn", "backbone.pretrained=false", "backbone.image_size=32",
        "head.hidden=[8]", "data.classes=A-C",
    ])  # fmt: skip
    preprocessing = Preprocessing(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bilinear")
    network = build_classifier(config, 3, preprocessing).eval()
    folder = tmp_path_factory.mktemp("kept") / "model"
    folder.mkdir()
    write_model(KeptModel(network, ("A", "B", "C"), preprocessing, config, "x", 0), folder)
    return folder


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten images, a text, what systems leave, and a folder of logs."""
    monkeypatch.chdir(tmp_path)
    for number in range(10):
        save(picture(number), tmp_path / "photos" / f"{number}.png")
    (tmp_path / "photos" / "notes.txt").write_text("not an image")
    (tmp_path / "photos" / "Thumbs.db").write_text("x")
    return Path("photos")


def answered(model: Path, capsys: Capture, *words: str, status: int = 0) -> list[dict[str, Any]]:
    assert main([str(model), *words, "--json"]) == status
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_stray_text_is_passed_over_with_a_count(
    model: Path, photos: Path, capsys: Capture
) -> None:
    for word, told in (("photos", True), ("photos/*", True), ("photos/*.png", False)):
        assert main([str(model), word]) == 0
        shown = capsys.readouterr()
        assert len(shown.out.splitlines()) == 10
        assert ("passed over, as they are no images: 1 .txt" in shown.err) == told
        assert "Thumbs" not in shown.err
    assert main([str(model), "photos/*.txt"]) == 2
    assert "photos/*.txt: no such file, or no image in it (but 1 .txt)" in capsys.readouterr().err


def test_all_kinds_that_are_passed_over_are_counted(
    model: Path, photos: Path, capsys: Capture
) -> None:
    for kind in ("eps", "heic", "pdf", "raw", "svg", "tga", "ico", "xcf", "psd"):
        (photos / f"x.{kind}").write_text("x")
    assert main([str(model), "photos"]) == 0
    said = capsys.readouterr().err
    assert " and 2 more; HEIC is read where pillow-heif is installed" in said


def test_what_was_named_itself_and_cannot_be_read_is_named_and_the_others_are_done(
    model: Path, photos: Path, capsys: Capture
) -> None:
    (photos / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    assert main([str(model), "photos/notes.txt", "photos/1.png", "photos"]) == 1
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 11
    assert "2 could not be read:" in shown.err
    assert "photos/notes.txt: not an image" in shown.err
    assert "photos/cut.jpg: " in shown.err


def test_batches_give_what_single_images_give_in_their_order(
    model: Path, photos: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(predict.BATCH, "cpu", 4)
    names = [f"photos/{number}.png" for number in (7, 3, 3, 0, 9, 1, 2, 8, 5)]
    together = answered(model, capsys, *names)
    assert [row["image"] for row in together] == names
    for name, row in zip(names, together, strict=True):
        (alone,) = answered(model, capsys, name)
        assert row["letter"] == alone["letter"]
        assert row["probabilities"] == pytest.approx(alone["probabilities"], abs=1e-6)
        assert row["probability"] == max(row["probabilities"].values())
        assert sum(row["probabilities"].values()) == pytest.approx(1)


def test_csv_has_a_column_for_each_class(model: Path, photos: Path, capsys: Capture) -> None:
    save(picture(3), Path("=formula.png"))
    assert main([str(model), "=formula.png", "photos/3.png", "--csv"]) == 0
    first, second = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert first.pop("image") == "'=formula.png"
    assert second.pop("image") == "photos/3.png"
    assert first == second
    numbers = [float(first[f"probability/{name}"]) for name in "ABC"]
    assert max(numbers) == float(first["probability"])


def given_on_standard_input(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = SimpleNamespace(buffer=io.BytesIO(content), isatty=lambda: False)
    monkeypatch.setattr(sys, "stdin", stream)


def test_standard_input_is_an_image_or_names(
    model: Path, photos: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (named,) = answered(model, capsys, "photos/4.png")
    given_on_standard_input((photos / "4.png").read_bytes(), monkeypatch)
    (piped,) = answered(model, capsys, "-")
    assert piped == {**named, "image": "-"}
    given_on_standard_input(b"photos/4.png\nphotos/5.png\n", monkeypatch)
    assert [row["image"] for row in answered(model, capsys, "-")] == [
        "photos/4.png",
        "photos/5.png",
    ]
    for nothing in (b"", b"no such name\n"):
        given_on_standard_input(nothing, monkeypatch)
        assert main([str(model), "-"]) == 1
        assert "-: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "give the model, then images (files, folders, patterns, videos, -) or --camera 0"),
        (["x.png", "--camera", "0"], "or --camera 0"),
        (["--camera", "0", "--explain", "why"], "--explain: not for a camera"),
        (["x.png", "--every", "-1"], "--every -1.0: it must be 0"),
        (["nowhere.png"], "nowhere.png: no such file, or no image in it"),
        (["http://127.0.0.1/1.png"], "http://127.0.0.1/1.png: addresses are not fetched"),
    ],
)
def test_a_wrong_command_line_is_a_sentence(
    words: list[str], told: str, photos: Path, capsys: Capture
) -> None:
    assert main(["no model", *words]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("given", ["photos/1.png", "photos", "."])
def test_images_in_the_place_of_the_model_are_told_apart(
    given: str, photos: Path, capsys: Capture
) -> None:
    assert main([given, "photos/2.png"]) == 2
    told = capsys.readouterr().err
    assert f"{given}: " in told
    assert "image" in told
    assert "the model comes first, then images" in told


def test_the_weights_file_means_its_model(model: Path, photos: Path, capsys: Capture) -> None:
    by_folder = answered(model, capsys, "photos/4.png")
    weights = next(model.rglob("weights.safetensors"))
    assert answered(weights, capsys, "photos/4.png") == by_folder


@pytest.mark.parametrize(
    "words", [["--csv", "photos/1.png"], ["photos/1.png", "--top", "2", "--csv", "photos/2.png"]]
)
def test_options_may_stand_before_and_among_images(
    words: list[str], model: Path, photos: Path, capsys: Capture
) -> None:
    assert main([str(model), *words]) == 0
    assert "photos/1.png" in capsys.readouterr().out


def test_frames_of_a_video_are_images(model: Path, photos: Path, capsys: Capture) -> None:
    cv2 = pytest.importorskip("cv2", reason="the extra explain is not installed")
    writer = cv2.VideoWriter("clip.avi", cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (40, 32))
    for _ in range(12):
        writer.write(np.asarray(picture(4))[..., ::-1].copy())
    writer.release()
    Path("broken.mp4").write_bytes(b"x" * 100)
    rows = answered(model, capsys, "broken.mp4", "clip.avi", "photos/4.png", status=1)
    *video, still = rows
    names = ["clip.avi @ 0.00 s", "clip.avi @ 0.50 s", "clip.avi @ 1.00 s"]
    assert [row["image"] for row in video] == names
    for row in video:  # as JPEG, so nearly the same
        assert row["probabilities"] == pytest.approx(still["probabilities"], abs=0.02)


def test_what_answers_rested_on_is_drawn(model: Path, photos: Path, capsys: Capture) -> None:
    pytest.importorskip("pytorch_grad_cam", reason="the extra explain is not installed")
    given = ["photos/4.png", "photos/5.png"]
    rows = answered(model, capsys, *given, "--explain", "why")
    drawn = [f"000{n}_{4 + n - 1}_{row['letter']}.png" for n, row in enumerate(rows, start=1)]
    assert sorted(path.name for path in Path("why").iterdir()) == drawn
    assert rows == answered(model, capsys, *given)


def test_without_opencv_a_sentence_names_the_extra(
    photos: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    Path("clip.mp4").write_bytes(b"x")
    assert main(["no model", "clip.mp4"]) == 2
    assert "pip install 'asl-exp[explain]'" in capsys.readouterr().err


class Camera:
    """Two frames, then nothing; or, with a number over 0, no camera."""

    def __init__(self, number: int) -> None:
        self.frames = [np.zeros((32, 40, 3), np.uint8)] * 2
        self.isOpened = lambda: number == 0
        self.get = lambda _: 25.0
        self.grab = lambda: bool(self.frames)
        self.retrieve = lambda: (True, self.frames.pop())
        self.release = lambda: None


def test_a_camera_is_watched_and_one_that_is_not_there_is_told(
    model: Path, photos: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    cv2 = pytest.importorskip("cv2", reason="the extra explain is not installed")
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    assert main([str(model), "--camera", "0", "--every", "0"]) == 0
    assert [line.partition(" @")[0] for line in capsys.readouterr().out.splitlines()] == [
        "camera 0", "camera 0",
    ]  # fmt: skip
    assert main([str(model), "--camera", "3"]) == 2
    assert "camera 3: there is no such camera" in capsys.readouterr().err


def test_not_sure_is_an_answer(model: Path, photos: Path, capsys: Capture) -> None:
    described = json.loads((model / "model.json").read_text())
    del described["digest"]
    described["calibration"] = {"temperature": 1.0, "abstain_below": 0.999, "told": "x"}
    unsure = photos.parent / "unsure"
    unsure.mkdir()
    (unsure / "model.json").write_text(json.dumps(described))
    (unsure / "weights.safetensors").hardlink_to(model / "weights.safetensors")
    (row,) = answered(unsure, capsys, "photos/0.png")
    assert row["letter"] == "not sure"
    assert len(row["probabilities"]) == 3
    main([str(unsure), "photos/0.png"])
    _, letter, probability, then = capsys.readouterr().out.rstrip("\n").split("\t")
    assert (letter, then.count(",")) == ("not sure", 1)
    assert float(probability) == pytest.approx(row["probability"], abs=1e-3)

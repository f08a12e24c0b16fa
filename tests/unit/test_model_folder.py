"""model/: JSON and safetensors, read back as they were, whole or not at all; no code runs."""

import hashlib
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Touches
from made_images import picture, save

from asl_exp.config.compose import compose_config
from asl_exp.config.errors import UserError
from asl_exp.model.backbone import Preprocessing
from asl_exp.model.checkpoint import load_kept_model, save_kept_model
from asl_exp.model.classifier import build_classifier
from asl_exp.model.folder import write_model
from asl_exp.model.kept import NOT_SURE, Calibration, KeptModel, checkpoint_metadata
from asl_exp.model.onnx_network import described
from asl_exp.model.recognizer import Recognizer, find_checkpoint
from asl_exp.tracking.model_folder import save_model_folder

CLASSES = ("A", "B", "C")


@pytest.fixture(scope="module")
def kept() -> KeptModel:
    config = compose_config([
        "backbone.name=asl_small_cnn", "backbone.pretrained=false", "backbone.image_size=32",
        "head.hidden=[8]", "data.classes=A-C", "data.resize=pad",
    ])  # fmt: skip
    preprocessing = Preprocessing(32, (0.5, 0.4, 0.3), (0.5, 0.25, 0.2), "bicubic")
    model = build_classifier(config, 3, preprocessing).eval()
    return KeptModel(
        model, CLASSES, preprocessing, config, "finetune", 7,
        calibration=Calibration(1.5, 0.9, "fitted on 200 images"),
    )  # fmt: skip


@pytest.fixture
def folder(kept: KeptModel, tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    write_model(kept, made)
    return made


def test_what_is_given_away_names_no_place_of_this_machine(kept: KeptModel, tmp_path: Path) -> None:
    own = compose_config([
        "data=manifest", "data.manifest=/home/me/signs/photos.csv", "data.cache_dir=/scratch/me",
        "data.external=[/mnt/theirs,synthetic_external]", "backbone.weights=/w/net.safetensors",
        "data.joints=[joints.csv]", "runs_dir=/home/me/runs", "tracking=server",
        "tracking.uri=http://intern:5000", "hand=both", "hand.model=/opt/hands.task",
    ])  # fmt: skip
    write_model(replace(kept, config=own), tmp_path)
    texts = [(tmp_path / "model.json").read_text(), described(replace(kept, config=own))]
    for text in texts:
        assert not [word for word in ("/me", "/mnt", "intern", "/w/", "/opt") if word in text]
        assert json.loads(text)["config"]["data"]["external"] == ["theirs", "synthetic_external"]


def test_who_may_read_the_description_may_read_the_weights(folder: Path) -> None:
    rights = {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()}
    assert rights["weights.safetensors"] == rights["model.json"]


def test_what_was_written_is_read_back(kept: KeptModel, folder: Path) -> None:
    back = load_kept_model(find_checkpoint(folder))
    assert {p.name for p in folder.iterdir()} == {"model.json", "weights.safetensors"}
    assert (back.classes, back.preprocessing, back.config) == (
        kept.classes, kept.preprocessing, kept.config,
    )  # fmt: skip
    assert (back.phase, back.epoch, back.calibration) == ("finetune", 7, kept.calibration)
    expected = kept.model.state_dict()
    assert {k: v.numpy().tobytes() for k, v in back.model.state_dict().items()} == {
        k: v.numpy().tobytes() for k, v in expected.items()
    }
    said = json.loads((folder / "model.json").read_text())
    assert said["preprocessing"]["resize"] == "pad"
    data = kept.config.data.model_copy(update={"root": "/home/me/photos"})
    machine = kept.config.model_copy(update={"data": data, "runs_dir": "/home/me/runs"})
    write_model(replace(kept, config=machine), folder)
    assert "/home" not in (folder / "model.json").read_text()
    assert load_kept_model(folder / "model.json").config.data.root == "photos"
    assert said["classes"] == list(CLASSES)


def test_an_mlflow_without_that_comparison_saves_models_too(
    kept: KeptModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asl_exp.compat.mlflow._CHECK", "of_another_version")
    save_model_folder(kept, tmp_path / "model", card="")
    assert (tmp_path / "model" / "model.json").is_file()


def test_saving_compares_nothing_with_all_that_is_installed(
    kept: KeptModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        "mlflow.utils.requirements_utils._check_requirement_satisfied", asked.append
    )
    save_model_folder(kept, tmp_path / "model", card="")
    assert asked == []
    needed = (tmp_path / "model" / "requirements.txt").read_text().splitlines()
    assert f"torch=={version('torch')}" in needed


def test_a_folder_of_before_is_still_read(kept: KeptModel, tmp_path: Path) -> None:
    about = checkpoint_metadata(kept.config, kept.classes, kept.preprocessing)
    old = tmp_path / "model" / "artifacts" / "checkpoint.ckpt"
    save_kept_model(kept.model, {**about, "phase": "finetune", "epoch": 1}, old)
    assert Recognizer.load(tmp_path / "model").kept.calibration == Calibration()
    assert Recognizer.load(tmp_path).kept.classes == CLASSES  # the run folder around it


def test_answers_are_calibrated_and_may_be_not_sure(folder: Path, tmp_path: Path) -> None:
    save(picture(0, 32, 32), tmp_path / "hand.png")
    sure = Recognizer.load(folder)
    seen = sure.look(tmp_path / "hand.png")
    inputs = torch.from_numpy(seen.pixels.copy()).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        expected = (sure.kept.model(inputs) / 1.5).softmax(1)[0].tolist()
    row = sure.recognize([seen]).iloc[0]
    assert [row[f"probability/{name}"] for name in CLASSES] == pytest.approx(expected)
    assert max(expected) < 0.9, "an untrained network is not that sure"
    assert row["letter"] == NOT_SURE


def test_a_model_takes_no_more_threads_than_its_container_has_cores(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for limit, threads in ((2, 2), (3, 2), (1, 1)):
            monkeypatch.setattr("asl_exp.model.recognizer.n_cores", lambda limit=limit: limit)
            Recognizer.load(folder)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


Change = Callable[[dict[str, Any]], Any]

CHANGES: dict[str, tuple[Change, str]] = {
    "newer format": (lambda c: c.update(format=2, made_by="asl_exp 9"),
                     "of format 2, made by a newer version (asl_exp 9)"),
    "older format": (lambda c: c.update(format=0), "not the description of a model"),
    "another size": (lambda c: c["preprocessing"].update(image_size=64), "its image_size is 64"),
    "no format": (lambda c: c.pop("format"), "not the description of a model"),
    "newer key": (lambda c: c["config"]["lr"].update(x=1), "unknown keys lr.x"),
    "other classes": (lambda c: c.update(classes=["A", "B"]), "names 2 classes, but its last"),
    "no digest": (lambda c: c.pop("files"), "it has no digest of weights.safetensors"),
    "resize": (lambda c: c["preprocessing"].update(resize="crop"), "resized by 'crop' in one"),
    "no resize": (lambda c: c["preprocessing"].pop("resize"), "how images become its input"),
    "no calibration": (lambda c: c.pop("calibration"), "how its probabilities are calibrated"),
    "temperature": (lambda c: c["calibration"].update(temperature=0), "the temperature 0;"),
    "NaN": (lambda c: c["calibration"].update(temperature=float("nan")), "the temperature nan"),
    "text": (lambda c: c["calibration"].update(abstain_below="high"), "the threshold high"),
    "absurd head": (lambda c: c["config"]["head"].update(hidden=[60_000, 60_000]),
                    "names a head of layers of 60000, 60000, 3, and holds 8, 3"),
    "no head": (lambda c: c["config"]["head"].update(hidden=[]), "layers of 3, and holds 8, 3"),
    "all pixels": (lambda c: c["config"]["head"].update(pooling="flatten"),
                   "its head takes 192 features of 768"),
    "outside": (lambda c: c["config"]["backbone"].update(name="hf-hub:a/b"), "no address"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_description_is_refused_in_a_sentence(name: str, folder: Path) -> None:
    file = folder / "model.json"
    content = json.loads(file.read_text())
    change, told = CHANGES[name]
    change(content)
    file.write_text(json.dumps(content))
    refused(folder, file, told)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(classes=c["classes"][::-1]),
        lambda c: c["calibration"].update(temperature=9.0),
        lambda c: c["preprocessing"].update(mean=[0.0, 0.0, 0.0]),
        lambda c: c.update(phase="transfer"),
        lambda c: c.update(more=1),
    ],
)
def test_a_description_that_would_answer_otherwise_is_refused(change: Change, folder: Path) -> None:
    file = folder / "model.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content))
    assert Recognizer.load(folder).kept.classes == CLASSES, "written otherwise, it says the same"
    change(content)
    file.write_text(json.dumps(content))
    refused(folder, file, "changed since it was written; copy the whole folder again")


def test_a_run_whose_model_is_not_whole_is_no_other_model(folder: Path) -> None:
    (folder / "model.json").unlink()
    for given in (folder, folder.parent):
        with pytest.raises(UserError, match=r"model.json: missing, and the model is nothing"):
            Recognizer.load(given)


@pytest.mark.parametrize("where", ["classes", "temperature", "sha256"])
def test_a_key_that_stands_twice_is_refused(where: str, folder: Path) -> None:
    file = folder / "model.json"
    file.write_text(file.read_text().replace(f'"{where}": ', f'"{where}": 1, "{where}": ', 1))
    refused(folder, file, f"'{where}' stands in it twice")


def refused(folder: Path, file: Path, told: str) -> None:
    with pytest.raises(UserError) as caught:
        Recognizer.load(folder)
    assert told in str(caught.value)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "[1]", "\xff", " " * 5_000_000])
def test_what_is_no_description_is_refused(text: str, folder: Path) -> None:
    (folder / "model.json").write_text(text, encoding="latin-1")
    refused(folder, folder / "model.json", "")


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped", "folder"])
def test_damaged_weights_are_refused(damage: str, folder: Path) -> None:
    weights = folder / "weights.safetensors"
    whole = weights.read_bytes()
    weights.unlink()
    if damage == "cut":
        weights.write_bytes(whole[:-100])
    elif damage == "flipped":
        weights.write_bytes(whole[:-4] + bytes(4))
    elif damage == "folder":
        weights.mkdir()
    told = {"missing": "missing", "folder": "missing"}.get(damage, "damaged or changed")
    refused(folder, weights, told)


@pytest.mark.parametrize("place", ["weights.safetensors", "python_model.pkl", "checkpoint"])
def test_a_strangers_folder_runs_nothing(place: str, folder: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    content = pickle.dumps(Touches(made))
    described = folder / "model.json"
    if place == "weights.safetensors":  # a description that fits: right digest of wrong content
        (folder / place).write_bytes(content)
        said = json.loads(described.read_text())
        digest = hashlib.sha256(content).hexdigest()
        said["files"][place] = {"bytes": len(content), "sha256": digest}
        described.write_text(json.dumps(said))
    else:
        described.unlink()
        (folder / "MLmodel").write_text("flavors: {python_function: {loader_module: os}}")
        (folder / "artifacts").mkdir()
        name = "python_model.pkl" if place == "python_model.pkl" else "artifacts/checkpoint.ckpt"
        (folder / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        Recognizer.load(folder)
    assert "\n" not in str(caught.value)
    assert not made.exists()
    pickle.loads(content)
    assert made.exists(), "the test's pickle does run where it is opened"


def test_a_pickle_beside_a_good_model_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (folder / "python_model.pkl").write_bytes(pickle.dumps(Touches(tmp_path / "made")))
    assert Recognizer.load(folder).kept.classes == CLASSES
    assert not (tmp_path / "made").exists()

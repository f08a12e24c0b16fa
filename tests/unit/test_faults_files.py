"""Files of strangers: a preset, a folder of presets, a checkpoint, a run folder. Nothing in them
runs, nothing reaches the network, and what is wrong is one sentence."""

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import faults_of

from asl_exp.config.compose import compose_config
from asl_exp.config.errors import UserError
from asl_exp.config.schema import Config
from asl_exp.model.backbone import Preprocessing
from asl_exp.model.checkpoint import load_kept_model, save_kept_model
from asl_exp.model.classifier import build_classifier
from asl_exp.model.kept import checkpoint_metadata
from asl_exp.runs.run_folder import read_config, write_config

RUNS = "{_target_: os.mkdir, path: made}"

PRESETS = {
    "hydra callbacks": (f"hydra: {{callbacks: {{x: {RUNS}}}}}", "what code is run"),
    "hydra sweeper": (f"hydra: {{sweeper: {RUNS}}}", "what code is run"),
    "hydra job": ("hydra: {job: {chdir: true}}", "a file cannot change Hydra"),
    "empty hydra": ("hydra: null\nseed: 1", "a file cannot change Hydra"),
    "target": (f"data: {RUNS}", "a file cannot say what code is run"),
    "deep target": (f"backbone: {{options: {{a: {RUNS}}}}}", "a file cannot say what code"),
    "partial": ("lr: {_partial_: true}", "a file cannot say what code is run"),
    "hydra in defaults": ("defaults: [{override /hydra/launcher: x}]", "is no group"),
    "hydra's folder": ("defaults: [/hydra/job_logging/none]", "override /group: choice"),
    "moved package": ("defaults: [{/lr@hydra.sweeper: cosine}]", "is no group"),
    "path as choice": ("defaults: [{override /lr: ../../etc/x}]", "is no choice"),
    "list of choices": ("defaults: [{override /lr: [constant, cosine]}]", "is no choice"),
    "optional": ("defaults: [{optional /lr: x}]", "is no group"),
    "environment": ("name: ${oc.env:HOME}", "is not read from a file"),
    "decode": ("seed: ${oc.decode:'1'}", "is not read from a file"),
    "create": ("lr: '${oc.create:{a: 1}}'", "is not read from a file"),
    "nested": ("name: ${${name}}", "is not read from a file"),
    "hydra resolver": ("name: ${hydra:runtime.cwd}", "is not read from a file"),
    "hydra key": ("name: ${hydra.runtime.cwd}", "is no key of an experiment"),
    "inside a text": ("name: a ${oc.env:PATH} b", "is not read from a file"),
    "in a list": ("data: {external: ['${oc.env:HOME}']}", "is not read from a file"),
    "python tag": ("name: !!python/object/apply:os.getcwd []", "the tag"),
    "path tag": ("name: !!python/object/apply:pathlib.Path [x]", "the tag"),
    "plain tag": ("name: !!str x", "the tag"),
    "own tag": ("name: !mine x", "the tag"),
    "bomb": (
        "a: &a [x, x]\nb: &b [*a, *a, *a]\nc: &c [*b, *b, *b]\nname: *c", "anchors",
    ),
    "merge": ("a: &a {seed: 1}\nlr: {<<: *a}", "anchors"),
    "deep": ("lr: " + "[" * 5000 + "]" * 5000, "nested deeper"),
    "huge": ("name: " + "x" * 2_000_000, "a configuration has at most"),
    "two documents": ("seed: 1\n---\nseed: 2", "cannot be read"),
    "no text": (b"\xff\xfe\x00\x01", "no text in UTF-8"),
    "control characters": (b"name: \x01", "cannot be read"),
    "unknown key": ("sede: 3", "unknown key; did you mean 'seed'?"),
    "a study": ("sweep: {storage: postgresql://x/y}", "sweep: unknown key"),
    "an experiment": ("experiment: demo", "experiment: unknown key"),
    "missing": ("name: ???", "has no value"),
    "a number": ("3", "cannot be read"),
    "text": ("just words", "just words: unknown key"),
    "nothing": ("", "holds no keys"),
    "a list": ("[1, 2]", "holds no keys"),
    "an open list": ("lr: [1,\n transfer: 2", "experiment=got.yaml: cannot be read"),
    "a key twice": ("lr: {}\nlr: {}", "experiment=got.yaml: cannot be read"),
    "a name in defaults": ("defaults: [demo]", "demo is not found from a file outside conf/"),
    "a table of defaults": ("defaults: {head: dense}", "'defaults' must be a list"),
    "key of a group": ("regularization: {dropuot: 0.3}", "regularization.dropuot: unknown key"),
    "no such choice": ("defaults: [{override /head: dens}]", "Could not find 'head/dens'"),
}  # fmt: skip


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_holds_keys_of_ours_alone(name: str, folder: Path) -> None:
    content, told = PRESETS[name]
    file = folder / "got.yaml"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    (said,) = faults_of("experiment=got.yaml")
    assert told in said
    assert "\n" not in said
    assert len(said) < 1000
    assert [p.name for p in folder.iterdir()] == ["got.yaml"], "nothing was run"


@pytest.mark.parametrize("kind", ["folder", "fifo", "device", "circle", "dangling"])
def test_a_preset_is_a_plain_file(kind: str, folder: Path) -> None:
    file = folder / "got.yaml"
    if kind == "folder":
        file.mkdir()
    elif kind == "fifo":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    else:
        file.symlink_to("got.yaml" if kind == "circle" else "nowhere")
    (said,) = faults_of("experiment=got.yaml")
    assert said.startswith("experiment=got.yaml: ")


@pytest.mark.parametrize(
    ("place", "content", "told"),
    [
        (
            "experiment/x.yaml",
            f"# @package _global_\nhydra: {{callbacks: {{x: {RUNS}}}}}",
            "what code",
        ),
        ("experiment/x.yaml", f"# @package hydra.callbacks\nx: {RUNS}", "what code is run"),
        ("lr/x.yaml", "# @package hydra.job\nchdir: true", "only _global_ is allowed"),
        ("lr/x.yaml", "defaults: [base]\ntransfer: ${oc.env:HOME}", "is not read from a file"),
        ("config.yaml", "seed: 3", "would stand for asl_exp's own"),
        ("hydra/launcher/x.yaml", f"x: {RUNS}", "cannot change Hydra"),
        ("data/x.yaml", f"synthetic: {RUNS}", "what code is run"),
        ("data/x.yaml", "defaults: [{override /hydra/launcher: joblib}]", "is no group"),
    ],
)
def test_a_folder_of_files_changes_keys_alone(
    place: str, content: str, told: str, folder: Path
) -> None:
    file = folder / "own" / place
    file.parent.mkdir(parents=True)
    file.write_text(content)
    searchpath = [f"file://{folder / 'own'}"]
    assert told in "\n".join(faults_of("seed=1", searchpath=searchpath))
    assert not (folder / "made").exists()


# What follows is of checkpoints.

SIZE = 32


@pytest.fixture(scope="module")
def config() -> Config:
    return compose_config([
        "backbone.name=asl_small_cnn", "backbone.pretrained=false", f"backbone.image_size={SIZE}",
        "head.hidden=[8]", "data.classes=A-C",
    ])  # fmt: skip


@pytest.fixture(scope="module")
def good(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    preprocessing = Preprocessing(SIZE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic")
    classes = ("A", "B", "C")
    about = checkpoint_metadata(config, classes, preprocessing) | {"phase": "finetune", "epoch": 1}
    path = tmp_path_factory.mktemp("good") / "kept.ckpt"
    save_kept_model(build_classifier(config, 3, preprocessing), about, path)
    return path


Change = Callable[[dict[str, Any]], Any]


def in_about(**values: Any) -> Change:
    return lambda content: content["asl_exp"].update(values)


def in_config(group: str, **values: Any) -> Change:
    return lambda content: content["asl_exp"]["config"][group].update(values)


def in_tensor(change: Callable[[torch.Tensor], Any]) -> Change:
    def changed(content: dict[str, Any]) -> None:
        name = next(n for n, t in content["state_dict"].items() if t.ndim > 1)
        content["state_dict"][name] = change(content["state_dict"][name])

    return changed


ALTERED: dict[str, tuple[Change, str]] = {
    "hub": (in_config("backbone", name="hf-hub:stranger/model"), "no address and no folder"),
    "hub of timm": (in_config("backbone", name="hf-hub:timm/resnet18"), "name of timm alone"),
    "folder": (in_config("backbone", name="local-dir:/tmp/x"), "no address and no folder"),
    "path": (in_config("backbone", name="../../x"), "a name of timm"),
    "unknown network": (in_config("backbone", name="resnet1x"), "resnet1x"),
    "loads a file": (in_config("backbone", options={"checkpoint_path": "/x"}), "checkpoint_path"),
    "loads weights": (in_config("backbone", options={"pretrained_cfg": "x"}), "pretrained_cfg"),
    "newer key": (in_config("backbone", telepathy=True), "newer version of asl_exp, or changed: "
                  "unknown keys backbone.telepathy"),
    "newer keys": (in_config("lr", a=1, b=2, c=3, d=4), "lr.a, lr.b, lr.c and 1 more"),
    "type": (in_config("head", hidden="many"), "damaged (head.hidden"),
    "absurd size": (in_config("head", hidden=[10**12]), "damaged (head.hidden"),
    "no configuration": (lambda c: c["asl_exp"].pop("config"), "its configuration is no table"),
    "list": (in_about(config=[1, 2]), "its configuration is no table"),
    "no classes": (lambda c: c["asl_exp"].pop("classes"), "its classes are not a list"),
    "numbers as classes": (in_about(classes=[1, 2, 3]), "its classes are not a list"),
    "equal classes": (in_about(classes=["A", "A", "B"]), "its classes are not a list"),
    "fewer classes": (in_about(classes=["A", "B"]), "names 2 classes, but its last layer has 3"),
    "no preprocessing": (lambda c: c["asl_exp"].pop("preprocessing"), "how images become"),
    "preprocessing's sizes": (
        lambda c: c["asl_exp"]["preprocessing"].update(image_size=10**9), "faulty image_size"),
    "preprocessing's NaN": (
        lambda c: c["asl_exp"]["preprocessing"].update(std=[float("nan")] * 3), "faulty std"),
    "preprocessing's key": (
        lambda c: c["asl_exp"]["preprocessing"].update(hand="crop2"), "newer version"),
    "another size": (
        lambda c: c["asl_exp"]["preprocessing"].update(image_size=2048), "image_size is 2048 in"),
    "far larger network": (
        in_config("backbone", name="vit_gigantic_patch14_clip_224"), "a network of 1,84"),
    "option of no number": (in_config("backbone", options={"x": 1e300}), "must be a number"),
    "no phase": (lambda c: c["asl_exp"].pop("phase"), "which phase"),
    "epoch": (in_about(epoch="last"), "which phase and epoch"),
    "no about": (lambda c: c.pop("asl_exp"), "not a checkpoint of asl_exp"),
    "about is text": (lambda c: c.update(asl_exp="x"), "not a checkpoint of asl_exp"),
    "no tensors": (lambda c: c.pop("state_dict"), "holds no weights"),
    "empty": (lambda c: c.update(state_dict={}), "holds no weights"),
    "text as tensor": (in_tensor(lambda t: "x"), "is no plain tensor"),
    "sparse": (in_tensor(lambda t: t.flatten(1).to_sparse()), "is no plain tensor"),
    "missing": (lambda c: c["state_dict"].pop(next(reversed(c["state_dict"]))), "lacks tensors"),
    "unknown": (lambda c: c["state_dict"].update({"model.x": torch.ones(1)}), "has unknown"),
    "misshapen": (in_tensor(lambda t: t.flatten()), "has misshapen"),
    "endless": (in_tensor(lambda t: torch.zeros(1).expand(10**9)), "has misshapen"),
    "integers": (in_tensor(lambda t: t.to(torch.int64)), "has integer"),
    "complex": (in_tensor(lambda t: t.to(torch.complex64)), "has integer"),
    "NaN": (in_tensor(lambda t: t * float("nan")), "infinite or NaN"),
    "infinite": (in_tensor(lambda t: t + float("inf")), "infinite or NaN"),
}  # fmt: skip


@pytest.mark.parametrize("name", ALTERED)
def test_an_altered_checkpoint_is_refused_in_a_sentence(
    name: str, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("reached the network"))
    content = torch.load(good, weights_only=True)
    change, told = ALTERED[name]
    change(content)
    path = tmp_path / "got.ckpt"
    torch.save(content, path)
    with pytest.raises(UserError) as caught:
        load_kept_model(path)
    assert told in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def damaged(kind: str, good: Path, path: Path) -> None:
    content = good.read_bytes()
    if kind == "empty":
        path.touch()
    elif kind == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "text":
        path.write_text("not a checkpoint")
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x/data.pkl", b"x")
    elif kind == "bomb":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x/data.pkl", b"\0" * 50_000_000)
    elif kind == "flipped":
        middle = len(content) // 3
        path.write_bytes(content[:middle] + bytes(64) + content[middle + 64 :])
    elif kind == "pickle":
        path.write_bytes(b"cos\nmkdir\n(S'made'\ntR.")
    elif kind == "list":
        torch.save([1, 2], path)
    elif kind == "code":
        torch.save({"asl_exp": Path("x")}, path)


@pytest.mark.parametrize(
    "kind", ["empty", "truncated", "text", "zip", "bomb", "pickle", "list", "code", "missing"]
)
def test_a_damaged_checkpoint_is_refused_in_a_sentence(kind: str, good: Path, folder: Path) -> None:
    path = folder / "got.ckpt"
    damaged(kind, good, path)
    with pytest.raises(UserError) as caught:
        load_kept_model(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert not (folder / "made").exists()


def test_an_older_checkpoint_goes_on_loading(good: Path, tmp_path: Path) -> None:
    content = torch.load(good, weights_only=True)
    for group, key in (("data", "max_megapixels"), ("trainer", "compile"), ("lr", "layer_decay")):
        del content["asl_exp"]["config"][group][key]
    path = tmp_path / "old.ckpt"
    torch.save(content, path)
    assert load_kept_model(path).classes == load_kept_model(good).classes == ("A", "B", "C")


SAVED = {
    "truncated": (lambda text: text[: len(text) // 2 - 3], "damaged"),
    "newer key": (lambda text: text + "telepathy: true\n", "unknown keys telepathy"),
    "hydra": (lambda text: text + "hydra: {job: {chdir: true}}\n", "unknown keys hydra"),
    "target": (lambda text: text.replace("lr:\n", "lr:\n  _target_: os.mkdir\n"), "what code"),
    "environment": (lambda text: text.replace("seed: 0", "seed: ${oc.env:HOME}"), "is not read"),
    "tag": (lambda text: text.replace("seed: 0", "seed: !!python/name:os.mkdir x"), "damaged"),
    "hub": (lambda text: text.replace("name: asl_small_cnn", "name: hf-hub:a/b"), "no address"),
    "binary": (lambda text: "\x00\x01", "damaged"),
    "empty": (lambda text: "", "damaged"),
    "type": (lambda text: text.replace("seed: 0", "seed: many"), "damaged"),
    "list": (lambda text: "[1, 2]", "damaged"),
}


@pytest.mark.parametrize("name", SAVED)
def test_a_saved_configuration_is_checked_too(name: str, config: Config, tmp_path: Path) -> None:
    change, told = SAVED[name]
    write_config(config, tmp_path)
    file = tmp_path / "config" / "resolved.yaml"
    assert read_config(tmp_path) == config
    file.write_text(change(file.read_text()))
    with pytest.raises(UserError, match=told) as caught:
        read_config(tmp_path)
    assert str(caught.value).startswith(f"{file}: ")
    assert "the run's MLflow artifacts have a copy" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "3", '{"name": 1}', '{"checkpoints": 3}', '"x"', "\x00", "null",
     "\ufeff{}", '{"name":' + "[" * 100_000, " " * 60_000_000,
     *(json.dumps({"name": "x", "signature": "y", "checkpoints": {"t": one}})
       for one in ("../../elsewhere.ckpt", "/etc/passwd", "a\0b", "", "\x1b[31m", "."))],
)  # fmt: skip
def test_predict_on_a_damaged_run_folder_is_a_sentence(
    content: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from asl_exp.predict import main

    run = folder / "run"
    run.mkdir()
    (run / "result.json").write_text(content)
    (folder / "a.png").write_bytes(b"x")
    assert main([str(run), str(folder / "a.png")]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert str(run) in said

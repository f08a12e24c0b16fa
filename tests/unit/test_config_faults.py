"""Every fault of a configuration is said: in the user's key, with what is allowed, all at once."""

import pynvml
import pytest
from conftest import faults_of

from asl_exp.config.errors import ConfigError
from asl_exp.config.machine_checks import visible_gpus
from asl_exp.config.study_plan import check_overrides

FAULTS = {
    "unknown key, the nearest named": (
        ["regularization.dropuot=0.3"],
        "regularization.dropuot: unknown key; did you mean 'regularization.dropout'?",
    ),
    "unknown group": (["backbon=vgg16"], "backbon: unknown key; did you mean 'backbone'?"),
    "unknown choice, all named": (
        ["optimizer=nadm"],
        "optimizer=nadm: no such choice; did you mean 'nadam'?; allowed: adamw, nadam, sgd",
    ),
    "no choice": (["lr=null"], "lr=null: no such choice; allowed: constant, cosine, plateau"),
    "unknown key inside a phase": (
        ["schedule.transfr.epochs=3"],
        "schedule.transfr.epochs: unknown key; did you mean 'schedule.transfer.epochs'?",
    ),
    "added key": (["+lr.foo=3"], "lr.foo: unknown key"),
    "deleted key": (["~lr.transfer"], "~lr.transfer: keys cannot be deleted"),
    "not key=value": (["lr.transfer"], "lr.transfer: is not of the form key=value"),
    "negative rate": (["lr.transfer=-1"], "lr.transfer: got -1; must be greater than 0"),
    "zero rate": (["lr.finetune=0"], "lr.finetune: got 0; must be greater than 0"),
    "nan": (["lr.transfer=nan"], "lr.transfer: got nan; must be a finite number"),
    "null": (["lr.transfer=null"], "lr.transfer: got None; must be a number"),
    "text for a number": (["lr.transfer=fast"], "lr.transfer: got 'fast'; must be a number"),
    "text for a count": (["seed=x"], "seed: got 'x'; must be a whole number"),
    "fraction for a count": (["seed=1.5"], "seed: got 1.5; must be a whole number"),
    "truth for a count": (["data.batch_size=true"], "data.batch_size: got True; must be a whole"),
    "text for a truth": (
        ["backbone.pretrained=maybe"],
        "backbone.pretrained: got 'maybe'; must be",
    ),
    "text for list": (
        ["data.external=others"],
        "data.external: got 'others'; must be a list (never trained on: names in the column "
        "source, folders or manifests); write data.external=[others]",
    ),
    "number for list": (["head.hidden=128"], "head.hidden: got 128; must be a list (widths"),
    "list for text": (["name=[3]"], "name: got [3]; must be text (quote it)"),
    "empty text": (["runs_dir="], "runs_dir: got ''; must have at least 1 character"),
    "probability": (
        ["augmentation.horizontal_flip=1.1"],
        "augmentation.horizontal_flip: got 1.1; must be less than or equal to 1 (probability)",
    ),
    "dropout": (
        ["regularization.dropout=1.5"],
        "regularization.dropout: got 1.5; must be less than 1",
    ),
    "dropout in a list": (
        ["regularization.dropout=[0.1,1.5]"],
        "regularization.dropout: got [0.1, 1.5]; must be",
    ),
    "batch size": (["data.batch_size=0"], "data.batch_size: got 0; must be greater than or equal"),
    "image size": (["backbone.image_size=8"], "backbone.image_size: got 8; must be greater than"),
    "three channels": (["backbone.mean=[0.5]"], "backbone.mean: got [0.5]; must have at least 3"),
    "a list in a list's place": (["head.hidden=256"], "head.hidden: got 256; must be a list"),
    "item of a list": (["head.hidden=[256,0]"], "head.hidden.1: got 0; must be greater than"),
    "two momenta": (["optimizer.betas=[0.9]"], "optimizer.betas: got [0.9]; must have at least 2"),
    "one of some words": (
        ["lr.shape=cosin"],
        "lr.shape: got 'cosin'; must be 'constant', 'cosine' or 'plateau'",
    ),
    "monitor": (
        ["schedule.transfer.monitor=val/acc"],
        "schedule.transfer.monitor: got 'val/acc'; must be 'val/loss', 'val/accuracy' or",
    ),
    "fewer epochs than none": (
        ["schedule.transfer.epochs=-1"],
        "schedule.transfer.epochs: got -1; must be greater than or equal to 0",
    ),
    "a number for a phase": (["schedule.transfer=3"], "schedule.transfer: got 3; must be a group"),
    "incomplete phase": (["+schedule.extra.epochs=1"], "schedule.extra.monitor: is missing"),
    "phase name": (["+schedule.Bad.epochs=1"], "schedule.Bad: got {'epochs': 1}; must be named"),
    "nested": (
        ["data.synthetic.signers=2"],
        "data.synthetic.signers: got 2; must be greater than or equal to 3 (people",
    ),
    "model option": (
        ["backbone.options.width=[1]"],
        "backbone.options.width: got [1]; must be true or false or a whole number or a number or",
    ),
    "reference to nothing": (
        ["lr.transfer=${lr.nope}"],
        "lr.transfer: '${lr.nope}' refers to no key",
    ),
    "grid without multirun": (
        ["lr.transfer=1e-3,1e-4"],
        "lr.transfer: got several values (lr.transfer=1e-3,1e-4); for a grid add --multirun, "
        "for a list write lr.transfer=[...]",
    ),
    "group grid without multirun": (["backbone=vgg16,vgg19"], "backbone: got several values"),
}

CONTRADICTIONS = {
    "weights but random": (
        ["backbone.weights=a.safetensors", "backbone.pretrained=false"],
        "backbone.weights: a file is given but backbone.pretrained=false",
    ),
    "dropouts and layers": (
        ["regularization.dropout=[0.1,0.2]"],
        "regularization.dropout: 2 values for 1 hidden layers (head.hidden=[256])",
    ),
    "no epoch at all": (
        ["schedule.transfer.epochs=0", "schedule.finetune.epochs=0"],
        "schedule: every phase has 0 epochs (transfer, finetune)",
    ),
    "last without a number": (
        ["schedule.finetune.trainable=last"],
        "schedule.finetune.last_layers: got None with trainable=last",
    ),
    "a number without last": (
        ["schedule.transfer.last_layers=2"],
        "schedule.transfer.last_layers: got 2 with trainable=head",
    ),
    "frozen but moving": (
        ["schedule.transfer.norm_statistics=trained"],
        "schedule.transfer.norm_statistics: 'trained' contradicts trainable=head",
    ),
    "views that nobody sees": (
        ["schedule.transfer.epochs=3", "schedule.transfer.views=4"],
        "schedule.transfer.views: 4 views in 3 epochs; epoch e sees view e mod views",
    ),
    "a mix with nothing": (
        ["schedule.transfer.mix=true"],
        "schedule.transfer.mix: no phase comes before it",
    ),
    "features of what changes": (
        ["schedule.finetune.features=always"],
        "schedule.finetune.features: always contradicts trainable=all",
    ),
    "half precision on the CPU": (
        ["trainer.precision=16-mixed", "trainer.accelerator=cpu"],
        "trainer.precision: 16-mixed needs a GPU",
    ),
    "unequal shares": (
        ["data.batch_size=9", "trainer.devices=2"],
        "data.batch_size: 9 images cannot be shared equally by 2 devices",
    ),
    "momentum": (["optimizer.momentum=0.9"], "optimizer.momentum: 0.9 has no meaning for nadam"),
    "folder without root": (["data=folder"], "data.root: not given, but data.source=folder"),
    "manifest without file": (["data=manifest"], "data.manifest: not given, but data.source="),
    "root that nobody reads": (["data.root=x"], "data.root: 'x' is given, but data.source=synth"),
    "manifest that nobody reads": (["data.manifest=x"], "data.manifest: 'x' is given, but"),
    "sources that nobody reads": (["data.sources=[a]"], "data.sources: ['a'] is given, but"),
    "trained on and external": (
        ["data=manifest", "data.manifest=x", "data.sources=[a,b]", "data.external=[b]"],
        "data.external: b is also in data.sources",
    ),
    "external twice": (["data.external=[a,a]"], "data.external: ['a', 'a'] names a set twice"),
    "classes": (["data.classes=I-A"], "data.classes: 'I-A' is not a range of capital letters"),
    "one class": (["data.classes=[A]"], "data.classes: ['A'] is fewer than two classes"),
    "class twice": (["data.classes=[A,B,A]"], "data.classes: ['A', 'B', 'A'] names A more than"),
    "nothing to train on": (
        ["data.val_fraction=0.5", "data.test_fraction=0.5"],
        "data.val_fraction: 0.5 and data.test_fraction=0.5 leave nothing to train on",
    ),
    "nobody left out": (["data.split=leave_out"], "data.leave_out: empty, but data.split"),
    "left out by another rule": (["data.leave_out=[a]"], "data.leave_out: ['a'] is given, but"),
    "no column": (["data.split=column"], "data.split: column needs a manifest"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_says_what_is_wrong(case: str) -> None:
    overrides, told = FAULTS[case]
    assert any(fault.startswith(told) for fault in faults_of(*overrides)), faults_of(*overrides)


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_says_what_does_not_go_together(case: str) -> None:
    overrides, told = CONTRADICTIONS[case]
    assert [fault[: len(told)] for fault in faults_of(*overrides)] == [told]


def test_says_everything_at_once() -> None:
    cases = [
        "unknown key, the nearest named", "unknown choice, all named", "negative rate",
        "text for a count", "dropout", "nested", "incomplete phase", "grid without multirun",
        "not key=value", "deleted key", "model option", "item of a list",
    ]  # fmt: skip
    overrides = [override for case in cases for override in FAULTS[case][0]]
    overrides.remove("lr.transfer")  # the same key as others here
    found = faults_of(*overrides, "lr")
    for case in cases:
        told = FAULTS[case][1].replace("lr.transfer: is not", "lr: is not")
        assert any(fault.startswith(told) for fault in found), (told, found)


@pytest.mark.parametrize("case", sorted(set(CONTRADICTIONS) - {"dropouts and layers"}))
def test_contradictions_are_said_beside_other_faults(case: str) -> None:
    overrides, told = CONTRADICTIONS[case]
    wrong = ["seed=x", "regularization.dropout=[0.1,1.5]", "augmentation.rotatoin=1"]
    found = faults_of(*overrides, *wrong)
    assert any(fault.startswith(told) for fault in found), found
    assert len(found) == 4, found


def test_a_wrong_field_is_not_judged_a_second_time_as_a_contradiction() -> None:
    assert faults_of("schedule.transfer.trainable=heads") == [
        "schedule.transfer.trainable: got 'heads'; must be 'head', 'last' or 'all' (the head; the "
        "head and the backbone's last layers; everything)"
    ]


def test_a_key_that_refers_to_a_wrong_one_is_not_a_second_fault() -> None:
    assert len(faults_of("lr.transfer=-1")) == 1  # schedule.transfer.lr is ${lr.transfer}


def test_each_value_of_a_grid_is_checked() -> None:
    found = faults_of(
        "lr.transfer=1e-3,-1,0", "regularization.dropout=choice(0.1,2)", "seed=range(-1,2)",
        "backbone=vgg16,vgg17", "lr.nope=1,2", "data.classes=A-I,I-A", multirun=True,
    )  # fmt: skip
    starts = [
        "lr.transfer: got -1;", "lr.transfer: got 0;", "regularization.dropout: got 2;",
        "seed: got -1", "backbone=vgg17: no such choice; did you mean", "lr.nope: unknown key",
        "data.classes: 'I-A'",
    ]  # fmt: skip
    for start in starts:
        assert [fault for fault in found if fault.startswith(start)], (start, found)
    assert len(found) == len(starts), found


def test_a_right_grid_passes(tmp_path: object) -> None:
    check_overrides(
        ["seed=1,2,3", "backbone=vgg16,vgg19", "lr.transfer=1e-3,1e-4", f"runs_dir={tmp_path}"],
        multirun=True,
    )


def test_a_contradiction_with_one_value_of_a_grid() -> None:
    found = faults_of(
        "data.batch_size=8,9", "trainer.devices=2", "trainer.accelerator=cpu", multirun=True
    )
    assert [f for f in found if f.startswith("data.batch_size: 9 images cannot be shared")]
    assert not [f for f in found if "8 images" in f]


def test_files_and_names_that_are_not_there() -> None:
    found = faults_of(
        "backbone.name=resnet500", "backbone.weights=/nowhere/w.pth", "trainer.devices=64"
    )
    assert any(f.startswith("backbone.name: timm has no model 'resnet500'; did you") for f in found)
    assert "backbone.weights: no file '/nowhere/w.pth'" in found
    assert any(f.startswith("trainer.devices: got 64, but this machine shows") for f in found)


def test_a_file_in_place_of_the_folder_of_runs(tmp_path: object) -> None:
    with pytest.raises(ConfigError, match=r"runs_dir: cannot write to '/dev/null/runs' \(Not a"):
        check_overrides(["runs_dir=/dev/null/runs"], multirun=False)


def test_a_function_of_timm_that_is_no_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="timm has no model 'forward'"):
        check_overrides(["backbone.name=forward"], multirun=False)


def test_cuda_graphs_need_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asl_exp.config.machine_checks.visible_gpus", lambda: 1)
    assert check_overrides(["trainer.compile=cuda_graphs"], multirun=False) is not None
    for accelerator, gpus in (("cpu", 1), ("auto", 0)):
        monkeypatch.setattr("asl_exp.config.machine_checks.visible_gpus", lambda gpus=gpus: gpus)
        with pytest.raises(ConfigError, match=r"trainer\.compile=cuda_graphs needs a GPU"):
            check_overrides(
                ["trainer.compile=cuda_graphs", f"trainer.accelerator={accelerator}"],
                multirun=False,
            )


@pytest.mark.parametrize(
    ("allowed", "count"),
    [
        (None, 4), ("", 0), ("-1", 0), ("0", 1), ("2,3", 2), ("0,7,1", 1), ("1,-1,2", 1),
        ("GPU-1b2c,GPU-9", 2), ("0, 1", 2), ("NoDevFiles", 0),
    ],
)  # fmt: skip
def test_gpus_are_counted_as_cuda_counts_them(
    allowed: str | None, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, answer in {"Init": None, "DeviceGetCount": 4, "Shutdown": None}.items():
        monkeypatch.setattr(pynvml, f"nvml{name}", lambda answer=answer: answer)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if allowed is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    assert visible_gpus() == count


def test_a_machine_without_a_driver_has_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", no_driver)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus() == 0

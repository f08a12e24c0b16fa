"""Every published system: its values as published, and all its phases on a few drawn hands.

The runs here are made small (three letters, tens of images, random weights); what they shrink is
checked at full size in the first half, without running.
"""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from asl_exp.config.compose import compose_config
from asl_exp.config.conf_folder import conf_dir
from asl_exp.config.schema import Config
from asl_exp.config.signature import flatten
from asl_exp.model.classifier import LetterClassifier, build_classifier
from asl_exp.model.own_weights import resolve_preprocessing
from asl_exp.training.run import run_experiment
from asl_exp.training.trainable import hold_frozen, set_trainable

PRESETS = sorted(path.stem for path in (conf_dir() / "experiment").glob("*.yaml"))
PAPER = {
    "paper_efficientnet_b7": "tf_efficientnet_b7",
    "paper_efficientnetv2_b1": "tf_efficientnetv2_b1",
    "paper_vgg19": "vgg19",
    "paper_xception": "legacy_xception",
}

OURS = ("anyone", "anyone_small")
"""Presets of no published system."""

PUBLISHED: dict[str, dict[str, Any]] = {
    **{
        name: {
            "backbone.name": backbone,
            "backbone.pretrained": True,
            "backbone.image_size": 100,
            "head.pooling": "avg",
            "head.activation": "leaky_relu",
            "regularization.l2_on": "all",
            "optimizer.name": "nadam",
            "optimizer.momentum_decay": 1.0,
            "data.classes": "A-I",
            "schedule.transfer.trainable": "head",
            "schedule.transfer.epochs": 100,
            "schedule.transfer.monitor": "val/loss",
            "schedule.finetune.trainable": "all",
            "schedule.finetune.monitor": "val/accuracy",
        }
        for name, backbone in PAPER.items()
    },
    "report_efficientnet_b0": {
        "backbone.name": "efficientnet_b0",
        "backbone.pretrained": True,
        "backbone.mean": None,
        "backbone.std": None,
        "head.pooling": "avg",
        "head.hidden": [],
        "regularization.dropout": 0.2,
        "regularization.l2": 0.0,
        "data.source": "asl_alphabet",
        "data.classes": "signs",
        "data.batch_size": 64,
        "data.resize": "crop",
        "schedule.transfer.epochs": 0,
        "schedule.finetune.trainable": "all",
        "schedule.finetune.epochs": 10,
        "schedule.finetune.lr": 1e-3,
    },
    "scratch_residual_cnn": {
        "backbone.name": "asl_residual_cnn",
        "backbone.pretrained": False,
        "backbone.image_size": 224,
        "head.pooling": "flatten",
        "head.hidden": [32],
        "head.activation": "relu",
        "regularization.dropout": 0.0,
        "regularization.l2": 0.0,
        "data.source": "asl_alphabet",
        "data.classes": "signs",
        "schedule.scratch.trainable": "all",
    },
    "resnet50_last4": {
        "backbone.name": "resnet50",
        "backbone.pretrained": True,
        "backbone.image_size": 224,
        "head.pooling": "flatten",
        "head.hidden": [256],
        "head.activation": "linear",
        "regularization.dropout": 0.5,
        "regularization.l2": 0.0,
        "data.source": "asl_alphabet",
        "data.classes": "signs",
        "schedule.last_layers.trainable": "last",
        "schedule.last_layers.last_layers": 2,
        "schedule.last_layers.norm_statistics": "trained",
    },
    "plain_cnn": {
        "backbone.name": "asl_plain_cnn",
        "backbone.pretrained": False,
        "head.pooling": "flatten",
        "head.hidden": [512],
        "head.activation": "relu",
        "data.classes": "static",
        "data.val_fraction": 0.25,
        "data.test_fraction": 0.25,
        "schedule.scratch.trainable": "all",
    },
    "vgg16_dense": {
        "backbone.name": "vgg16",
        "backbone.pretrained": True,
        "head.pooling": "flatten",
        "head.hidden": [512],
        "head.activation": "relu",
        "regularization.l2": 0.01,
        "regularization.l2_on": "hidden",
        "regularization.feature_dropout": pytest.approx(1 - 0.8 * 0.8),
        "regularization.dropout": 0.0,
        "data.classes": "static",
        "data.val_fraction": 0.25,
        "data.test_fraction": 0.25,
        "schedule.transfer.trainable": "head",
        "schedule.finetune.epochs": 0,
    },
    "vgg16_fc": {
        "backbone.name": "vgg16",
        "backbone.pretrained": True,
        "backbone.image_size": 224,
        "backbone.mean": [0.0, 0.0, 0.0],
        "backbone.std": [1.0, 1.0, 1.0],
        "head.pooling": "flatten",
        "head.hidden": [8192, 4096],
        "head.activation": "relu",
        "regularization.dropout": [0.8, 0.5],
        "regularization.l2": 0.0,
        "optimizer.name": "sgd",
        "optimizer.momentum": 0.0,
        "data.source": "asl_alphabet",
        "data.classes": "A-E",
        "data.batch_size": 32,
        "schedule.transfer.trainable": "head",
        "schedule.transfer.epochs": 15,
        "schedule.transfer.lr": 1e-3,
        "schedule.transfer.monitor": "val/loss",
        "schedule.transfer.keep_every_epoch": True,
        "schedule.finetune.epochs": 0,
    },
    "demo": {"data.source": "synthetic", "backbone.pretrained": True},
}


def preset(name: str, *overrides: str) -> Config:
    return compose_config([f"experiment={name}", *overrides])


def full_size_network(config: Config, n_classes: int) -> LetterClassifier:
    """Make the network without memory for its weights."""
    random_start = config.backbone.model_copy(update={"pretrained": False})
    with torch.device("meta"):
        return build_classifier(
            config.model_copy(update={"backbone": random_start}),
            n_classes,
            resolve_preprocessing(config.backbone),
        )


def dense_layers(model: LetterClassifier) -> list[tuple[int, int]]:
    return [(m.in_features, m.out_features) for m in model.head if isinstance(m, nn.Linear)]


def test_every_preset_has_its_published_values_here() -> None:
    assert sorted([*PUBLISHED, *OURS]) == PRESETS


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_has_the_published_values(name: str) -> None:
    composed = flatten(preset(name).model_dump())
    assert {key: composed[key] for key in PUBLISHED[name]} == PUBLISHED[name]


@pytest.mark.parametrize("name", PAPER)
def test_paper_rates_are_in_the_published_range(name: str) -> None:
    lr = preset(name).lr
    assert 1e-4 <= lr.transfer <= 1e-3
    assert lr.finetune < lr.transfer


@pytest.mark.parametrize("name", PRESETS)
def test_header_has_its_four_parts(name: str) -> None:
    text = (conf_dir() / "experiment" / f"{name}.yaml").read_text()
    header = text[: text.index("\ndefaults:")]
    parts = re.findall(r"^# (\w+) {2,}\S", header, re.MULTILINE)
    assert parts == ["Command", "Original", "Differs", "Measured"]


@pytest.mark.parametrize("name", PRESETS)
def test_header_command_is_a_valid_configuration(name: str) -> None:
    text = (conf_dir() / "experiment" / f"{name}.yaml").read_text()
    lines = re.search(r"^# Command +(.*(?<=\\)\n# +.*|.*)$", text, re.MULTILINE)
    assert lines is not None
    words = shlex.split(re.sub(r"\\\n#", "", lines[1]))
    assert words[:3] == ["python", "-m", "asl_exp"]
    overrides = [word for word in words[3:] if not word.startswith("trainer.devices")]
    assert f"experiment={name}" in overrides
    compose_config(overrides)


@pytest.mark.parametrize(
    ("name", "n_classes", "expected"),
    [
        ("report_efficientnet_b0", 29, [(1280, 29)]),
        ("scratch_residual_cnn", 29, [(14 * 14 * 32, 32), (32, 29)]),
        ("resnet50_last4", 29, [(7 * 7 * 2048, 256), (256, 29)]),
        ("plain_cnn", 24, [(2 * 2 * 512, 512), (512, 24)]),
        ("vgg16_dense", 24, [(4 * 4 * 512, 512), (512, 24)]),
        ("vgg16_fc", 5, [(7 * 7 * 512, 8192), (8192, 4096), (4096, 5)]),
    ],
)
def test_head_has_the_published_widths(
    name: str, n_classes: int, expected: list[tuple[int, int]]
) -> None:
    assert dense_layers(full_size_network(preset(name), n_classes)) == expected


def test_l2_of_vgg16_dense_is_on_the_hidden_kernel_alone() -> None:
    head = full_size_network(preset("vgg16_dense"), 24).head
    assert [tuple(kernel.shape) for kernel in head.penalised_kernels()] == [(512, 8192)]


def test_resnet50_last4_trains_the_last_convolution_its_norm_and_the_head() -> None:
    config = preset("resnet50_last4")
    model = full_size_network(config, 29)
    phase = config.schedule["last_layers"]
    set_trainable(model, phase)
    model.train()
    hold_frozen(model, phase)
    trained = {name for name, p in model.backbone.named_parameters() if p.requires_grad}
    assert trained == {"layer4.2.conv3.weight", "layer4.2.bn3.weight", "layer4.2.bn3.bias"}
    assert all(p.requires_grad for p in model.head.parameters())
    norms = {n: m for n, m in model.backbone.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert [name for name, module in norms.items() if module.training] == ["layer4.2.bn3"]


SMALL = [
    "data=synthetic",
    "data.classes=[A,B,L]",
    "data.batch_size=8",
    "data.workers=1",
    "data.synthetic.signers=3",
    "data.synthetic.images_per_letter=2",
    "data.synthetic.external_signers=1",
    "backbone.pretrained=false",
    "trainer.accelerator=cpu",
    "tracking=off",
]
SMALLER: dict[str, list[str]] = {
    **{
        name: ["hand.detector=exact", "data.drawn_signers=2", "backbone.image_size=32"]
        for name in ("anyone", "anyone_small")
    },
    "plain_cnn": ["backbone.image_size=94"],  # the least that five unpadded convolutions leave
    "vgg16_fc": ["head.hidden=[64,32]"],
}
HEAVY = {
    "anyone", "paper_efficientnet_b7", "paper_efficientnetv2_b1", "paper_vgg19", "paper_xception",
    "report_efficientnet_b0", "resnet50_last4", "vgg16_dense",
}  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.heavy) if n in HEAVY else n for n in PRESETS]
)
def test_runs_through_all_its_phases(name: str, tmp_path: Path, cache: Path) -> None:
    planned = [phase for phase, plan in preset(name).schedule.items() if plan.epochs]
    config = preset(
        name,
        *SMALL,
        f"data.cache_dir={cache}",
        f"runs_dir={tmp_path}",
        *SMALLER.get(name, ["backbone.image_size=32"]),
        *(["backbone.image_size=32"] if name == "vgg16_fc" else []),
        *(f"schedule.{phase}.epochs=1" for phase in planned),
        *(["schedule.transfer.views=1"] if name == "anyone" else []),
    )
    folder = tmp_path / "run"
    objective = run_experiment(config, folder)
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "FINISHED"
    assert list(result["checkpoints"]) == planned
    assert all((folder / path).is_file() for path in result["checkpoints"].values())
    assert objective == result["objective"]
    assert {"test/accuracy", "external/synthetic_external/accuracy"} <= set(result["metrics"])
    kept = list((folder / "checkpoints").glob("*_epochs/*.ckpt"))
    assert len(kept) == (1 if name == "vgg16_fc" else 0)


def test_demo_shows_both_phases_and_the_external_gap() -> None:
    config = preset("demo")
    assert list(config.schedule) == ["transfer", "finetune"]
    assert all(phase.epochs for phase in config.schedule.values())
    assert config.data.external == ["synthetic_external"]

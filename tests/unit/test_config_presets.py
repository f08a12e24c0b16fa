"""Every file in conf/ composes into a right configuration."""

from pathlib import Path

import pytest

from asl_exp.config.compose import compose_config

ROOT = Path(__file__).resolve().parents[2]

NEEDS = {
    "data/folder": ["data.root=x"],
    "data/manifest": ["data.manifest=x"],
    "tracking/server": ["tracking.uri=http://localhost:5000"],
}


def choices() -> list[str]:
    others = ("hydra", "sweep")  # of Hydra itself; of studies
    folders = sorted(p for p in (ROOT / "conf").iterdir() if p.is_dir() and p.name not in others)
    return [f"{folder.name}/{p.stem}" for folder in folders for p in sorted(folder.glob("*.yaml"))]


@pytest.mark.parametrize("choice", choices())
def test_composes(choice: str) -> None:
    group, _, name = choice.partition("/")
    config = compose_config([f"{group}={name}", *NEEDS.get(choice, [])])
    assert config.schedule


def test_names_are_those_of_timm() -> None:
    expected = {
        "efficientnet_b0": "efficientnet_b0", "efficientnet_b7": "tf_efficientnet_b7",
        "efficientnetv2_b1": "tf_efficientnetv2_b1", "vgg16": "vgg16", "vgg19": "vgg19",
        "xception": "legacy_xception", "resnet50": "resnet50",
        "mobilenetv2_035": "mobilenetv2_035", "mobilenetv2_100": "mobilenetv2_100",
        "efficientnet_lite0": "tf_efficientnet_lite0", "densenet169": "densenet169",
    }  # fmt: skip
    composed = {short: compose_config([f"backbone={short}"]).backbone.name for short in expected}
    assert composed == expected


def test_two_phases_as_published() -> None:
    schedule = compose_config([]).schedule
    assert list(schedule) == ["transfer", "finetune"]
    transfer, finetune = schedule.values()
    assert (transfer.trainable, transfer.monitor, transfer.epochs) == ("head", "val/loss", 100)
    assert (finetune.trainable, finetune.monitor) == ("all", "val/accuracy")
    assert finetune.lr < transfer.lr


def test_the_later_word_wins() -> None:
    config = compose_config(["lr=cosine", "lr.transfer=5e-4", "lr.warmup_epochs=0"])
    assert (config.lr.shape, config.lr.transfer, config.lr.warmup_epochs) == ("cosine", 5e-4, 0)

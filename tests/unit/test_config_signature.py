"""What an experiment is called: the same computation, the same signature, wherever it runs."""

import pytest

from asl_exp.config.compose import compose_config
from asl_exp.config.signature import flatten, signature

BASE = ("backbone.pretrained=false",)


@pytest.mark.parametrize(
    "override",
    [
        "trainer.accelerator=cpu", "data.cache_dir=/tmp/elsewhere", "data.cache_limit_gb=1",
        "data.workers=3", "data.store=false", "runs_dir=elsewhere", "name=mine", "tracking=off",
        "tracking.experiment=other", "trainer.devices=2",
    ],
)  # fmt: skip
def test_the_machine_is_not_in_it(override: str) -> None:
    assert signature(compose_config([*BASE, override])) == signature(compose_config(BASE))


@pytest.mark.parametrize(
    "override",
    [
        "seed=1", "lr.transfer=2e-3", "backbone=vgg16", "regularization.l2=0", "data.classes=A-I",
        "data.batch_size=32", "schedule.finetune.epochs=3", "trainer.precision=bf16-mixed",
        "trainer.deterministic=false", "head=linear", "augmentation=none", "optimizer=sgd",
        "data.synthetic.seed=1", "backbone.image_size=96", "data.resize=crop",
    ],
)  # fmt: skip
def test_everything_else_is(override: str) -> None:
    assert signature(compose_config([*BASE, override])) != signature(compose_config(BASE))


def test_settings_are_flat_and_whole() -> None:
    flat = flatten({"a": {"b": {"c": 1}, "d": [1, 2]}, "e": {}, "f": None})
    assert flat == {"a.b.c": 1, "a.d": [1, 2], "e": {}, "f": None}

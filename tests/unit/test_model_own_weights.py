"""``backbone.weights`` names a model of one's own: what of it a new network starts from is said."""

from pathlib import Path

import pytest
import safetensors.torch
import torch

from asl_exp.config.compose import compose_config
from asl_exp.config.errors import ConfigError, WeightsError
from asl_exp.config.schema import Config
from asl_exp.config.study_plan import check_overrides
from asl_exp.model.checkpoint import save_kept_model
from asl_exp.model.classifier import LetterClassifier, build_classifier
from asl_exp.model.kept import checkpoint_metadata
from asl_exp.model.own_weights import own_model, resolve_preprocessing, start_from
from asl_exp.training.run import run_experiment

NETWORK = ("backbone.name=asl_small_cnn", "backbone.image_size=32", "head.hidden=[16]")
CLASSES = ("A", "B", "C")


def network(config: Config, n_classes: int = 3, seed: int = 1) -> LetterClassifier:
    torch.manual_seed(seed)
    start = config.backbone.model_copy(update={"pretrained": False, "weights": None})
    random = config.model_copy(update={"backbone": start})
    return build_classifier(random, n_classes, resolve_preprocessing(start))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the checkpoint of a network of three classes, which normalises in its own way."""
    own = ("backbone.mean=[0.1,0.2,0.3]", "backbone.pretrained=false")
    config = compose_config([*NETWORK, *own])
    preprocessing = resolve_preprocessing(config.backbone)
    about = checkpoint_metadata(config, CLASSES, preprocessing)
    file = tmp_path_factory.mktemp("own") / "finetune.ckpt"
    save_kept_model(network(config, seed=7), {**about, "phase": "finetune", "epoch": 0}, file)
    return file


def equal(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    ("more", "classes", "told"),
    [
        ((), CLASSES, "(backbone and head)"),
        ((), ("A", "B", "D"), "(backbone; its head answers 3 other classes)"),
        (("head.hidden=[8]",), CLASSES, "(backbone; its head has other layers)"),
        (("head.hidden=[8]",), ("A", "B"), "(backbone; its head answers 3 other classes)"),
    ],
)
def test_the_head_is_taken_where_the_classes_agree(
    more: tuple[str, ...], classes: tuple[str, ...], told: str, checkpoint: Path
) -> None:
    config = compose_config([*NETWORK, *more, f"backbone.weights={checkpoint}"])
    own, model = own_model(config.backbone), network(config, len(classes))
    assert own is not None
    assert not equal(model.backbone, own.model.backbone)
    report = start_from(model, own, config.backbone, classes)
    assert equal(model.backbone, own.model.backbone)
    assert told in str(report)
    assert report.pretrained
    assert len(report.digest) == 64
    if "and head" in told:
        assert equal(model.head, own.model.head)


def test_images_become_inputs_as_they_did_for_it(checkpoint: Path) -> None:
    config = compose_config(
        ["backbone.name=asl_small_cnn", f"backbone.weights={checkpoint}", "backbone.std=[1,1,1]"]
    )
    prepared = resolve_preprocessing(config.backbone)
    assert (prepared.image_size, prepared.mean) == (32, (0.1, 0.2, 0.3))
    assert prepared.std == (1, 1, 1)


def test_another_network_is_named(checkpoint: Path) -> None:
    words = ("backbone.name=asl_residual_cnn", "backbone.image_size=32")
    config = compose_config([*words, f"backbone.weights={checkpoint}"])
    own = own_model(config.backbone)
    assert own is not None
    with pytest.raises(WeightsError, match=r"write backbone\.name=asl_small_cnn"):
        start_from(network(config), own, config.backbone, CLASSES)


@pytest.mark.parametrize("ending", [".ckpt", ".safetensors"])
def test_another_network_is_said_before_images_are_decoded(
    ending: str, checkpoint: Path, tmp_path: Path
) -> None:
    weights = checkpoint
    if ending == ".safetensors":
        weights = tmp_path / f"net{ending}"
        safetensors.torch.save_file({"x": torch.zeros(3)}, weights)
    for name in ("A/a.png", "B/b.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("no image")
    config = compose_config(
        ["backbone.name=asl_residual_cnn", "backbone.image_size=32", "data=folder", "tracking=off",
         f"data.root={tmp_path}", f"backbone.weights={weights}", "trainer.accelerator=cpu"]
    )  # fmt: skip
    with pytest.raises(WeightsError, match=r"another network|does not fit the network"):
        run_experiment(config, tmp_path / "run")


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a folder of no run and no model"):
        check_overrides([*NETWORK, f"backbone.weights={tmp_path}"], multirun=False)
    (tmp_path / "result.json").write_text('{"name": "x", "signature": ""}')
    config = compose_config([*NETWORK, f"backbone.weights={tmp_path}"])
    with pytest.raises(WeightsError, match=r"backbone\.weights: .*no kept model"):
        own_model(config.backbone)


def test_weights_of_others_are_left_to_their_own_loader(tmp_path: Path) -> None:
    config = compose_config([*NETWORK, f"backbone.weights={tmp_path / 'net.safetensors'}"])
    assert own_model(config.backbone) is None
    assert own_model(compose_config(NETWORK).backbone) is None

"""The networks that are registered with timm: published shapes, and timm's interface."""

import pytest
import timm
import torch
from torch import nn

from asl_exp.config.schema import BackboneConfig
from asl_exp.model.backbone import build_backbone
from asl_exp.model.own_weights import resolve_preprocessing
from asl_exp.model.scratch_networks import ResidualStem

OURS = ["asl_residual_cnn", "asl_plain_cnn", "asl_small_cnn", "asl_small_resnet"]
SMALLEST = dict(zip(OURS, (32, 94, 32, 32), strict=True))


def make(name: str, **options: object) -> nn.Module:
    return timm.create_model(name, pretrained=False, **options)


def convolutions(network: nn.Module) -> list[tuple[int, int, int]]:
    """Return (channels out, kernel side, stride) of every convolution, in order of the image."""
    return [
        (m.out_channels, m.kernel_size[0], m.stride[0])
        for m in network.modules()
        if isinstance(m, nn.Conv2d)
    ]


@pytest.mark.parametrize("name", OURS)
def test_has_the_interface_of_a_timm_network(name: str) -> None:
    size = SMALLEST[name]
    network = make(name, num_classes=7).eval()
    images = torch.rand(2, 3, size, size)
    features = network.forward_features(images)
    assert features.shape[:2] == (2, network.num_features)
    assert network(images).shape == (2, 7)
    assert network.forward_head(features, pre_logits=True).shape == (2, network.num_features)
    network.reset_classifier(4, "max")
    assert network.get_classifier().out_features == 4
    network.reset_classifier(0, "")
    assert torch.equal(network(images), features)


@pytest.mark.parametrize("name", OURS)
def test_is_a_backbone_like_any_other(name: str) -> None:
    config = BackboneConfig(name=name, pretrained=False)
    backbone = build_backbone(config, SMALLEST[name])
    assert backbone.feature_shape[0] == backbone.network.num_features
    owners = {m for m in backbone.network.modules() if list(m.parameters(recurse=False))}
    assert set(backbone.layers) == owners
    assert not list(backbone.network.get_classifier().parameters())


@pytest.mark.parametrize(("name", "size"), [(OURS[0], 224), (OURS[1], 128), (OURS[2], 64)])
def test_pixels_are_used_as_they_are(name: str, size: int) -> None:
    preprocessing = resolve_preprocessing(BackboneConfig(name=name, pretrained=False))
    assert preprocessing.image_size == size
    assert preprocessing.mean == (0.0, 0.0, 0.0)
    assert preprocessing.std == (1.0, 1.0, 1.0)


def test_residual_cnn_is_the_published_one() -> None:
    network = make("asl_residual_cnn")
    assert convolutions(network) == [
        (256, 3, 1), (256, 3, 1), (256, 1, 2), (128, 3, 1), (128, 3, 1),
        (64, 3, 1), (64, 3, 1), (32, 3, 1), (32, 3, 1),
    ]  # fmt: skip
    assert [m.p for m in network.modules() if isinstance(m, nn.Dropout)] == [0.3] * 4
    n_kernels = sum(p.numel() for p in network.features.parameters())
    # Counted by hand from the published listing: k * k * in * out + out for each convolution.
    assert (
        n_kernels == 7_168 + 590_080 + 65_792 + 295_040 + 147_584 + 73_792 + 36_928 + 18_464 + 9_248
    )


@pytest.mark.parametrize("size", [32, 33])
def test_residual_stem_adds_the_shortcut_after_pooling(size: int) -> None:
    stem = ResidualStem(3, width=4)
    images = torch.rand(2, 3, size, size)
    side = -(-size // 2)
    assert stem(images).shape == (2, 4, side, side)
    nn.init.zeros_(stem.shortcut.weight)
    nn.init.constant_(stem.shortcut.bias, -5.0)
    # No activation after the sum: it may be negative though both convolutions end in ReLU.
    assert stem(images).min() < 0


def test_residual_cnn_ends_where_its_dense_layer_begins() -> None:
    with torch.device("meta"):
        network = make("asl_residual_cnn")
        features = network.forward_features(torch.empty(1, 3, 224, 224))
    assert features.shape == (1, 32, 14, 14)


def test_plain_cnn_is_the_published_one() -> None:
    network = make("asl_plain_cnn")
    assert convolutions(network) == [(width, 3, 1) for width in (32, 64, 128, 256, 512)]
    assert sum(isinstance(m, nn.MaxPool2d) for m in network.modules()) == 5
    with torch.device("meta"):
        features = make("asl_plain_cnn").forward_features(torch.empty(1, 3, 128, 128))
    assert features.shape == (1, 512, 2, 2)


@pytest.mark.parametrize("name", OURS[:2])
def test_published_networks_start_as_keras_does(name: str) -> None:
    for module in make(name).features.modules():
        if isinstance(module, nn.Conv2d):
            area = module.kernel_size[0] ** 2
            limit = (6 / (area * (module.in_channels + module.out_channels))) ** 0.5
            assert 0.9 * limit < module.weight.abs().max() <= limit
            assert not module.bias.any()

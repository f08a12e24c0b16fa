"""Backbone, pooling and head together: what is built is what was asked, and all of it is used."""

import pytest
import torch
from torch import nn

from asl_exp.config.compose import compose_config
from asl_exp.config.errors import ConfigError
from asl_exp.model.classifier import LetterClassifier, build_classifier
from asl_exp.model.own_weights import resolve_preprocessing

SHORT = {
    "densenet169": 64, "efficientnet_b0": 64, "efficientnet_lite0": 64, "efficientnetv2_b1": 64,
    "mobilenetv2_035": 64, "mobilenetv2_100": 64, "resnet50": 64, "vgg16": 32, "vgg19": 32,
    "xception": 72, "efficientnet_b7": 64,
}  # fmt: skip


def classifier(*overrides: str, n_classes: int = 5) -> LetterClassifier:
    config = compose_config(["backbone.pretrained=false", *overrides])
    torch.manual_seed(0)
    return build_classifier(config, n_classes, resolve_preprocessing(config.backbone))


def tiny(*overrides: str) -> LetterClassifier:
    return classifier("backbone.name=asl_small_cnn", "backbone.image_size=32", *overrides)


def without_gradient(model: LetterClassifier, size: int) -> list[str]:
    """Return the parameters that a step of everything would leave alone."""
    model.train()
    for module in model.modules():  # residual branches that start at zero pass no gradient on
        if isinstance(module, nn.BatchNorm2d) and not module.weight.any():
            nn.init.ones_(module.weight)
    torch.manual_seed(1)
    labels = torch.tensor([0, 1, 2])
    nn.functional.cross_entropy(model(torch.rand(3, 3, size, size)), labels).backward()
    return [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]


SLOW = {"efficientnet_b7", "vgg16", "vgg19"}


@pytest.mark.parametrize(
    "backbone", [pytest.param(n, marks=pytest.mark.heavy) if n in SLOW else n for n in SHORT]
)
def test_every_short_name_builds_and_all_of_it_learns(backbone: str) -> None:
    size = SHORT[backbone]
    model = classifier(f"backbone={backbone}", f"backbone.image_size={size}")
    assert without_gradient(model, size) == []
    assert model.weights.pretrained is False
    assert model(torch.rand(2, 3, size, size)).shape == (2, 5)


def test_vggs_own_dense_layers_are_gone() -> None:
    model = classifier("backbone=vgg16", "backbone.image_size=32")
    linears = [m for m in model.modules() if isinstance(m, nn.Linear)]
    assert [m.out_features for m in linears] == [256, 5]  # 102 million parameters less
    convolutions = [m for m in model.backbone.modules() if isinstance(m, nn.Conv2d)]
    assert {m.kernel_size for m in convolutions} == {(3, 3)}
    assert len(convolutions) == 13


@pytest.mark.parametrize(
    ("name", "size", "width"),
    [("swin_tiny_patch4_window7_224", 224, 768), ("vit_tiny_patch16_224", 224, 192)],
)
def test_other_feature_maps_are_pooled_over_places(name: str, size: int, width: int) -> None:
    model = classifier(f"backbone.name={name}", "head=linear").eval()
    images = torch.rand(2, 3, size, size)
    with torch.inference_mode():
        raw = model.backbone.forward_features((images - model.mean) / model.std)  # type: ignore[operator]
        features = model.features(images)
    assert features.shape == (2, width)
    if raw.ndim == 4:  # (B, H, W, C)
        assert raw.shape[-1] == width
        by_hand = raw.mean((1, 2))
    else:  # (B, 1 class token + 196 patches, C)
        assert raw.shape[1] == 197
        by_hand = raw[:, 1:].mean(1)
    assert torch.equal(features, by_hand)


@pytest.mark.parametrize("pooling", ["avg", "max", "avgmax", "flatten"])
def test_pooling(pooling: str) -> None:
    model = tiny(f"head.pooling={pooling}", "head.hidden=[]").eval()
    images = torch.rand(2, 3, 32, 32)
    feature_map = model.backbone.forward_features((images - model.mean) / model.std)  # type: ignore[operator]
    by_hand = {
        "avg": feature_map.flatten(2).mean(2),
        "max": feature_map.flatten(2).max(2).values,
        "avgmax": (feature_map.flatten(2).mean(2) + feature_map.flatten(2).max(2).values) / 2,
        "flatten": feature_map.flatten(1),
    }[pooling]
    assert torch.allclose(model.features(images), by_hand, atol=1e-6)
    assert model.head[-1].in_features == by_hand.shape[1]  # type: ignore[union-attr]


def described(head: nn.Sequential) -> list[str]:
    names = []
    for layer in head:
        if isinstance(layer, nn.Linear):
            names.append(f"dense {layer.out_features}")
        elif isinstance(layer, nn.Dropout):
            names += [f"dropout {layer.p:g}"] if layer.p else []
        elif isinstance(layer, nn.LeakyReLU):
            names.append(f"leaky {layer.negative_slope:g}")
        else:
            names.append(type(layer).__name__.lower())
    return names


HEADS: dict[str, tuple[list[str], list[str]]] = {
    "published": (
        ["regularization.dropout=0.3"],
        ["dense 256", "leaky 0.3", "dropout 0.3", "dense 5"],
    ),
    "linear": (["head=linear", "regularization=none"], ["dense 5"]),
    "dropout and linear": (
        ["head=linear", "regularization.dropout=0.2"],
        ["dropout 0.2", "dense 5"],
    ),
    "flatten and two dense layers, a dropout each": (
        [
            "head=flatten", "head.hidden=[64,32]", "regularization.dropout=[0.8,0.5]",
            "head.activation=relu",
        ],
        ["dense 64", "relu", "dropout 0.8", "dense 32", "relu", "dropout 0.5", "dense 5"],
    ),
    "dropout before and after": (
        ["head=flatten", "head.hidden=[64]", "regularization.feature_dropout=0.2",
         "regularization.dropout=0", "head.activation=gelu"],
        ["dropout 0.2", "dense 64", "gelu", "dense 5"],
    ),
    "no activation": (
        ["head.hidden=[8]", "head.activation=linear", "regularization.dropout=0"],
        ["dense 8", "identity", "dense 5"],
    ),
    "another slope": (
        ["head.hidden=[8]", "head.negative_slope=0.01", "regularization.dropout=0"],
        ["dense 8", "leaky 0.01", "dense 5"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HEADS)
def test_the_head_is_what_was_asked(case: str) -> None:
    overrides, expected = HEADS[case]
    model = tiny(*overrides)
    assert described(model.head) == expected
    assert model.eval()(torch.rand(2, 3, 32, 32)).shape == (2, 5)


def test_kernels_start_as_in_keras() -> None:
    model = tiny("head.hidden=[400]")
    first = model.head[1]
    assert isinstance(first, nn.Linear)
    bound = (6 / (192 + 400)) ** 0.5  # Glorot: uniform within sqrt(6 / (in + out))
    assert first.weight.abs().max() <= bound
    assert first.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert not first.bias.any()


def test_the_penalty_is_on_kernels_alone() -> None:
    everything = tiny("head.hidden=[8,4]", "regularization.l2_on=all").head
    assert [tuple(k.shape) for k in everything.penalised_kernels()] == [(8, 192), (4, 8), (5, 4)]
    hidden = tiny("head.hidden=[8,4]", "regularization.l2_on=hidden").head
    assert [tuple(k.shape) for k in hidden.penalised_kernels()] == [(8, 192), (4, 8)]


def test_layers_are_in_the_order_of_an_image() -> None:
    model = classifier("backbone=resnet50", "backbone.image_size=64")
    names = {module: name for name, module in model.backbone.named_modules()}
    order = [names[layer] for layer in model.backbone_layers]
    assert order[:2] == ["conv1", "bn1"]
    assert order[-6:] == [f"layer4.2.{n}" for n in ("conv1", "bn1", "conv2", "bn2", "conv3", "bn3")]
    assert len(order) == len(set(order)) == 106  # 53 convolutions with a norm each
    owned = {id(p) for layer in model.backbone_layers for p in layer.parameters(recurse=False)}
    assert owned == {id(p) for p in model.backbone.parameters()}


def test_normalisation_is_the_weights_own_unless_given() -> None:
    model = tiny("backbone.mean=[0.5,0.4,0.3]", "backbone.std=[0.2,0.3,0.4]")
    assert model.mean.flatten().tolist() == pytest.approx([0.5, 0.4, 0.3])
    assert model.std.flatten().tolist() == pytest.approx([0.2, 0.3, 0.4])
    recorded = resolve_preprocessing(compose_config(["backbone=resnet50"]).backbone)
    assert (recorded.image_size, recorded.interpolation) == (224, "bicubic")
    assert recorded.mean == pytest.approx((0.485, 0.456, 0.406))
    given = resolve_preprocessing(
        compose_config(["backbone=resnet50", "backbone.interpolation=nearest"]).backbone
    )
    assert given.interpolation == "nearest"


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["backbone.name=asl_plain_cnn", "backbone.image_size=32"], "backbone.image_size: asl_pl"),
        (["backbone=resnet50", "backbone.options.widht=2"], "backbone.name: timm cannot make 'res"),
        (["backbone.name=resnet18", "backbone.options.act_layer=nope"], "backbone.name: timm cann"),
        (["backbone.name=resnet18", "backbone.options.block=3"], "backbone.name: timm cannot make"),
        (["backbone.name=resnet18", "backbone.options.block_reduce_first=0"], "backbone.name: ti"),
        (["backbone.name=resnet18", "backbone.options.avg_down=maybe"], "backbone.options.avg_do"),
        (["backbone.name=resnet18", "backbone.options.stem_type=nope"], "backbone.options.stem_ty"),
        (["backbone.name=resnet18", "backbone.options.stem_type=Deep"], "backbone.options.stem_ty"),
        (
            ["backbone.name=efficientnet_lite0", "backbone.options.pad_type=nope"],
            "backbone.options.pad_type: got 'nope', which efficientnet_lite0 does not know",
        ),
        (
            [
                "backbone.name=vit_tiny_patch16_224",
                "backbone.options.embed_dim=8190",
                "backbone.options.depth=30",
            ],
            "backbone.options: vit_tiny_patch16_224 with {",
        ),
    ],
)
def test_what_timm_cannot_make_is_told(overrides: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        classifier(*overrides)
    assert caught.value.faults[0].startswith(told)


@pytest.mark.parametrize("option", ["stem_type=deep", "act_layer=relu", "act_layer=gelu"])
def test_words_that_timm_knows_are_taken(option: str) -> None:
    classifier("backbone.name=resnet10t", f"backbone.options.{option}")


def test_the_trace_moves_no_statistic() -> None:
    model = tiny()
    norms = [m for m in model.backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    for norm in norms:
        assert not norm.running_mean.any()  # type: ignore[union-attr]
        assert norm.num_batches_tracked == 0


def test_scores_do_not_depend_on_the_rest_of_the_batch() -> None:
    model = tiny().eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        together, alone = model(images), model(images[:1])
    assert torch.allclose(together[:1], alone, atol=1e-6)

"""Pretrained weights: whole or not at all, from a file or a hub, and what is said of them."""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from conftest import Touches
from servers.one_file import OneFile

from asl_exp.config.errors import WeightsError
from asl_exp.config.schema import BackboneConfig
from asl_exp.model.backbone import build_backbone
from asl_exp.model.weights import licence_of, read_tensors, require_reachable

ROOT = Path(__file__).resolve().parents[2]
MOBILENET = {"pad_type": "same", "bn_eps": 0.001}

Tensors = dict[str, torch.Tensor]


def small(**changes: object) -> BackboneConfig:
    """A network of 30,000 parameters with a published architecture's names."""
    return BackboneConfig(**{"name": "mobilenetv2_035", **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    torch.manual_seed(5)
    network = timm.create_model("mobilenetv2_035", num_classes=7)
    return {name: torch.randn_like(t) if t.is_floating_point() else t
            for name, t in network.state_dict().items()}  # fmt: skip


def written(path: Path, content: object) -> BackboneConfig:
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(content, path)
    else:
        torch.save(content, path)
    return small(weights=str(path))


def headless(tensors: Tensors) -> Tensors:
    return {k: t for k, t in tensors.items() if not k.startswith("classifier.")}


@pytest.mark.parametrize(
    ("file", "wrap"),
    [
        ("w.safetensors", dict),
        ("w.pth", dict),
        ("w.pth", lambda t: {"state_dict": t, "epoch": 3}),
        ("w.pt", lambda t: {"model": {f"module.{k}": v for k, v in t.items()}}),
        ("w.bin", lambda t: {"model_state_dict": t}),
    ],
)
@pytest.mark.parametrize("head", [False, True])
def test_a_file_is_loaded_whole(
    tmp_path: Path, tensors: Tensors, file: str, wrap: Callable[[Tensors], object], head: bool
) -> None:
    given = headless(tensors)
    if head:  # another number of classes than timm's own
        given |= {"classifier.weight": torch.zeros(7, 1280), "classifier.bias": torch.zeros(7)}
    backbone = build_backbone(written(tmp_path / file, wrap(given)), 32)
    loaded = backbone.network.state_dict()
    assert loaded.keys() == headless(tensors).keys()
    for name, tensor in headless(tensors).items():
        assert torch.equal(loaded[name], tensor), name
    report = backbone.weights
    assert report.pretrained
    assert report.source == file
    assert len(report.digest) == 64
    assert report.n_tensors == len(headless(tensors))
    assert report.left_out == (("classifier.bias", "classifier.weight") if head else ())
    assert report.left_out_classes == (7 if head else 0)
    assert str(report).startswith(f"{report.n_tensors} tensors from {file}, sha256 ")
    assert ("its classifier of 7 classes left out" in str(report)) == head


def test_random_weights_are_called_that() -> None:
    report = build_backbone(small(pretrained=False), 32).weights
    assert not report.pretrained
    assert report.digest == ""
    assert "random initialisation" in str(report)


def complaint(config: BackboneConfig) -> str:
    with pytest.raises(WeightsError) as caught:
        build_backbone(config, 32)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "tensor", "told"),
    [
        ("blocks.1.0.bn1.running_mean", None, "missing in the file: blocks.1.0.bn1.running_mean"),
        ("aux.weight", torch.zeros(3), "unknown to the network: aux.weight"),
        ("conv_stem.weight", torch.zeros(16, 1, 3, 3),
         "of another shape: conv_stem.weight (16, 1, 3, 3) instead of"),
    ],
)  # fmt: skip
def test_one_tensor_that_does_not_fit_is_named(
    name: str, tensor: torch.Tensor | None, told: str, tmp_path: Path, tensors: Tensors
) -> None:
    given = {k: t for k, t in headless(tensors).items() if k != name}
    given |= {} if tensor is None else {name: tensor}
    said = complaint(written(tmp_path / "w.safetensors", given))
    assert f"1 tensors {told}" in said
    assert "w.safetensors does not fit the network of backbone.name" in said


def test_weights_of_another_network(tmp_path: Path) -> None:
    network = timm.create_model("resnet18", num_classes=0)
    told = complaint(written(tmp_path / "w.pth", network.state_dict()))
    assert "tensors missing in the file: " in told
    assert "tensors unknown to the network: " in told
    assert "choose the backbone.name (and backbone.options)" in told


def test_missing_file(tmp_path: Path) -> None:
    told = complaint(small(weights=str(tmp_path / "w.pth")))
    assert told == f"backbone.weights: no file '{tmp_path / 'w.pth'}'"


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("damage", ["empty", "page", "text", "cut"])
def test_damaged_file(tmp_path: Path, tensors: Tensors, suffix: str, damage: str) -> None:
    path = tmp_path / f"w{suffix}"
    config = written(path, headless(tensors))
    whole = path.read_bytes()
    wrong = {"empty": b"", "page": b"<html>404</html>", "text": b"some text", "cut": whole[:-1000]}
    path.write_bytes(wrong[damage])
    assert f"backbone.weights: cannot read '{path}'" in complaint(config)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_code_in_a_file_is_not_run(tmp_path: Path, how: str) -> None:
    path, trace = tmp_path / "w.pth", tmp_path / "trace"
    content = {"conv.weight": torch.zeros(1), "x": Touches(trace)}
    if how == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    assert "nothing but tensors" in complaint(small(weights=str(path)))
    assert not trace.exists()


def test_the_demos_network_brings_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise AssertionError("asked the network")

    monkeypatch.setattr("socket.create_connection", no_network)
    config = BackboneConfig(name="asl_small_resnet")
    require_reachable(config)
    first, again = build_backbone(config, 48), build_backbone(config, 48)
    report, loaded = first.weights, again.network.state_dict()
    assert report.pretrained
    assert report.source == "asl_small_resnet.safetensors"
    assert report.n_tensors == len(loaded)
    for name, tensor in first.network.state_dict().items():
        assert torch.equal(loaded[name], tensor), name
    assert licence_of(config) == "drawn hands, with asl_exp, licence mit"


@pytest.mark.parametrize(
    "name", ["mobilenetv2_035", "asl_small_cnn", "asl_plain_cnn", "asl_residual_cnn"]
)
def test_without_published_weights_both_ways_out_are_told(name: str) -> None:
    told = complaint(BackboneConfig(name=name))
    assert told.startswith(f"backbone.pretrained: no weights are published for '{name}'")
    assert "backbone.weights=FILE" in told
    assert "backbone.pretrained=false" in told


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {}, torch.zeros(3)])
def test_a_torch_file_without_a_state_dict(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="holds no state dict"):
        read_tensors(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("name", "size", "options"),
    [
        ("mobilenetv2_035", 96, MOBILENET),
        ("mobilenetv2_100", 96, {}),
        ("tf_efficientnet_lite0", 96, {}),
        ("densenet169", 96, {}),
    ],
)
def test_real_weights_give_the_features_of_timms_own_loading(
    real_weights: Callable[[str], Path], name: str, size: int, options: dict[str, object]
) -> None:
    path = real_weights(name)
    config = BackboneConfig(name=name, weights=str(path), options=options)  # type: ignore[arg-type]
    backbone = build_backbone(config, size)
    by_hand = timm.create_model(
        name, pretrained=True, num_classes=0, pretrained_cfg_overlay={"file": str(path)}, **options
    ).eval()
    torch.manual_seed(0)
    images = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        ours = backbone.network.eval().forward_features(images)  # type: ignore[operator]
        theirs = by_hand.forward_features(images)
    assert torch.equal(ours, theirs)
    held = safetensors.torch.load_file(path)
    assert backbone.weights.n_tensors + len(backbone.weights.left_out) == len(held)
    assert ours.std() > 0.01


HUB_SCRIPT = """
import json, sys, torch
from asl_exp.config.errors import WeightsError
from asl_exp.config.schema import BackboneConfig
from asl_exp.model.backbone import build_backbone
try:
    backbone = build_backbone(BackboneConfig(name="resnet10t"), 32)
except WeightsError as error:
    print(json.dumps({"error": str(error)}))
else:
    state = backbone.network.state_dict()
    print(json.dumps({
        "report": str(backbone.weights), "n": backbone.weights.n_tensors,
        "sum": float(sum(t.double().sum() for t in state.values())),
    }))
"""


@pytest.fixture
def hub() -> Iterator[OneFile]:
    server = OneFile("/resolve/main/model.safetensors")
    yield server
    server.end()


def ask_hub(endpoint: str, home: Path) -> dict[str, object]:
    """Build resnet10t in a process of its own: the hub's client reads its settings on import."""
    variables = {
        **{k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")},
        "PYTHONPATH": str(ROOT),
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
    }
    done = subprocess.run(
        [sys.executable, "-c", HUB_SCRIPT], env=variables, cwd=home, capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.mark.heavy
def test_the_hub_is_asked_and_its_weights_are_kept(hub: OneFile, tmp_path: Path) -> None:
    torch.manual_seed(11)
    network = timm.create_model("resnet10t")
    published = {k: torch.randn_like(t) if t.is_floating_point() else t
                 for k, t in network.state_dict().items()}  # fmt: skip
    hub.content = safetensors.torch.save(published)
    answer = ask_hub(hub.address, tmp_path)
    backbone = {k: t for k, t in published.items() if not k.startswith("fc.")}
    assert answer["sum"] == pytest.approx(float(sum(t.double().sum() for t in backbone.values())))
    assert answer["n"] == len(backbone)
    assert "timm/resnet10t" in str(answer["report"])
    assert "its classifier of 1000 classes left out" in str(answer["report"])
    assert any(asked.startswith("GET /timm/resnet10t") for asked in hub.asked), hub.asked
    hub.end()
    again = ask_hub("http://127.0.0.1:9", tmp_path)  # nothing answers there
    assert again == answer, "what was fetched once needs no hub"


@pytest.mark.heavy
def test_a_hub_out_of_reach_or_without_the_file(hub: OneFile, tmp_path: Path) -> None:
    for endpoint in ("http://127.0.0.1:9", hub.address):
        told = str(ask_hub(endpoint, tmp_path).get("error"))
        assert told.startswith("backbone.pretrained: the weights of 'resnet10t' (timm/resnet10t")
        assert "could not be fetched" in told
        assert "backbone.weights=FILE" in told
        assert "backbone.pretrained=false" in told


@pytest.mark.heavy
def test_a_hub_that_sends_something_else(hub: OneFile, tmp_path: Path) -> None:
    hub.content = b"<html>please log in</html>"
    told = str(ask_hub(hub.address, tmp_path).get("error"))
    assert "backbone.weights=FILE" in told
    hub.content = safetensors.torch.save({"conv.weight": torch.zeros(1)})
    (tmp_path / "other").mkdir()
    told = str(ask_hub(hub.address, tmp_path / "other").get("error"))
    assert "backbone.weights=FILE" in told

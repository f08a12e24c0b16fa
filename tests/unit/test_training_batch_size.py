"""data.batch_size=auto finds a size by measuring, and leaves the model as it was."""

import pytest
import torch

from asl_exp.config.compose import compose_config
from asl_exp.config.errors import ConfigError
from asl_exp.model.classifier import build_classifier
from asl_exp.model.own_weights import resolve_preprocessing
from asl_exp.training import batch_size
from asl_exp.training.batch_size import step_images, with_batch_size
from asl_exp.training.ranks import state_digest

SMALL = ["backbone.name=asl_small_cnn", "backbone.pretrained=false", "backbone.image_size=32"]
CPU = torch.device("cpu")


def found(n_train_images: int, *overrides: str, known: int | None = None) -> int:
    config = compose_config([*SMALL, "data.batch_size=auto", *overrides])
    preprocessing = resolve_preprocessing(config.backbone)
    model = build_classifier(config, 5, preprocessing)
    before = state_digest(model)
    resolved = with_batch_size(config, model, n_train_images, preprocessing, CPU, known=known)
    assert state_digest(model) == before
    assert all(p.requires_grad for p in model.parameters())
    return step_images(resolved)


def test_never_more_than_the_training_set() -> None:
    assert found(100) == 64


def test_less_memory_gives_fewer_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_size, "_available_bytes", lambda: 2**30)
    plenty = found(5_000)
    monkeypatch.setattr(batch_size, "_available_bytes", lambda: 2**30 // 16)
    assert 1 <= found(5_000) == plenty // 16


def test_shared_by_devices_and_parts() -> None:
    size = found(500, "trainer.accelerator=cpu", "trainer.devices=2", "trainer.accumulate=3")
    assert size % 6 == 0
    assert size <= 500


def test_a_run_taken_up_again_keeps_its_size() -> None:
    assert found(500, known=24) == 24


def test_other_words_are_refused() -> None:
    with pytest.raises(ConfigError, match="batch_size"):
        compose_config(["data.batch_size=most"])


class NoHands(torch.nn.Sequential):
    """Layers that take images alone."""

    def any_hands(self, n: int) -> dict[str, torch.Tensor]:
        return {}


def test_a_step_holds_what_a_layer_by_layer_count_gives() -> None:
    model = NoHands(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 10, bias=False))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    images, scores = 4 * 3 * 8 * 8 * 4, 4 * 10 * 4  # bytes
    counted = batch_size._bytes_of_step(model, optimizer, 8)
    # Backward needs the images and the log-probabilities; flatten's input and output are largest.
    assert images + scores + 2 * 2 * images <= counted <= 2 * (images + scores) + 2 * 2 * images

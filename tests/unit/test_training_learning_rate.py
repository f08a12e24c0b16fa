"""The learning rate over a phase, against values worked out by hand."""

import math

import pytest
import torch

from asl_exp.config.schema import LearningRateConfig
from asl_exp.training.optimizer import RateShape

EPOCHS, STEPS = 4, 5


def rates(
    losses: list[float] | None = None, *, base: float = 1.0, **settings: object
) -> list[float]:
    """Return the rate of every step of a phase; ``losses`` are observed at the epochs' ends."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
    config = LearningRateConfig(**settings)  # type: ignore[arg-type]
    shape = RateShape(optimizer, config, steps_per_epoch=STEPS, epochs=EPOCHS)
    seen = []
    for epoch in range(EPOCHS):
        for _ in range(STEPS):
            seen.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            shape.step()
        shape.observe(losses[epoch] if losses else 1.0 - 0.1 * epoch)
    return seen


def test_constant() -> None:
    assert rates(shape="constant", base=3e-4) == [3e-4] * 20


def test_cosine() -> None:
    seen = rates(shape="cosine", final_fraction=0.1)
    assert seen[0] == 1.0
    assert seen[10] == pytest.approx(0.1 + 0.9 * 0.5)  # half way
    assert seen[5] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.sqrt(0.5)))  # a quarter
    assert seen[19] == pytest.approx(0.1 + 0.45 * (1 + math.cos(math.pi * 0.95)))
    assert seen == sorted(seen, reverse=True)


def test_warm_up_rises_in_equal_steps() -> None:
    seen = rates(shape="constant", warmup_epochs=1.0)
    assert seen[:6] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1.0])
    assert seen[5:] == [1.0] * 15


def test_warm_up_of_part_of_an_epoch() -> None:
    assert rates(warmup_epochs=0.4)[:4] == pytest.approx([1 / 3, 2 / 3, 1.0, 1.0])


def test_cosine_begins_after_the_warm_up() -> None:
    seen = rates(shape="cosine", warmup_epochs=2.0, final_fraction=0.0)
    assert seen[10] == pytest.approx(1.0)
    assert seen[15] == pytest.approx(0.5)
    assert seen[:11] == sorted(seen[:11])


def test_plateau_falls_with_the_step_after_the_last_patient_epoch() -> None:
    losses = [1.0, 1.0, 1.1, 1.2]  # epochs 1 and 2 do not improve on epoch 0
    seen = rates(losses, shape="plateau", plateau_patience=2, plateau_factor=0.5)
    assert seen == [1.0] * 15 + [0.5] * 5


def test_plateau_falls_again() -> None:
    seen = rates([1.0, 1.0, 1.0, 1.0], shape="plateau", plateau_patience=1, plateau_factor=0.1)
    assert seen == pytest.approx([1.0] * 10 + [0.1] * 5 + [0.01] * 5)


def test_improvement_resets_patience() -> None:
    losses = [1.0, 1.1, 0.9, 1.0]
    assert rates(losses, shape="plateau", plateau_patience=2) == [1.0] * 20


def test_other_shapes_do_not_listen_to_losses() -> None:
    assert rates([1.0] * 4, shape="constant", plateau_patience=1) == [1.0] * 20


def test_groups_keep_their_ratio() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD(
        [{"params": [parameters[0]], "lr": 1.0}, {"params": [parameters[1]], "lr": 0.1}], lr=1.0
    )
    shape = RateShape(
        optimizer, LearningRateConfig(shape="cosine"), steps_per_epoch=STEPS, epochs=EPOCHS
    )
    for _ in range(7):
        optimizer.step()
        shape.step()
        first, second = (group["lr"] for group in optimizer.param_groups)
        assert second == pytest.approx(0.1 * first)


def test_its_state_goes_on_where_it_was() -> None:
    def make() -> tuple[torch.optim.Optimizer, RateShape]:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        config = LearningRateConfig(shape="plateau", plateau_patience=1)
        return optimizer, RateShape(optimizer, config, steps_per_epoch=1, epochs=9)

    optimizer, shape = make()
    for loss in (1.0, 1.0, 0.5):
        optimizer.step()
        shape.step()
        shape.observe(loss)
    again_optimizer, again = make()
    again.load_state_dict(shape.state_dict())
    again_optimizer.load_state_dict(optimizer.state_dict())
    for loss in (0.6, 0.4):
        for o, s in ((optimizer, shape), (again_optimizer, again)):
            o.step()
            s.step()
            s.observe(loss)
        assert again_optimizer.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
    assert optimizer.param_groups[0]["lr"] == 0.25

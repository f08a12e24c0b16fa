"""Optimizers: the published formula to the last digits, and who gets which rate and decay."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from made_runs import made_data, made_run
from torch import nn

from asl_exp.config.compose import compose_config
from asl_exp.config.errors import ConfigError
from asl_exp.model.classifier import LetterClassifier, build_classifier
from asl_exp.model.own_weights import resolve_preprocessing
from asl_exp.training.optimizer import (
    Nadam,
    NadamInOnePass,
    make_optimizer,
    nadam_factors,
    nadam_step,
)
from asl_exp.training.phase_module import PhaseModule

N_STEPS = 200


def module_of(*overrides: str, phase: str = "transfer") -> PhaseModule:
    config = compose_config(
        [
            "backbone.name=asl_small_cnn", "backbone.pretrained=false", "backbone.image_size=32",
            *overrides,
        ]
    )  # fmt: skip
    torch.manual_seed(3)
    model = build_classifier(config, 4, resolve_preprocessing(config.backbone))
    return PhaseModule(made_run(config, model, made_data(4, n_train=64), Path("unused")), phase)


def optimizer_of(module: PhaseModule) -> torch.optim.Optimizer:
    lr = module.config.lr
    return make_optimizer(
        module.model, module.config.optimizer, lr=module.phase.lr, layer_decay=lr.layer_decay
    )


class KerasNadam:
    """Keras 3's ``keras/src/optimizers/nadam.py`` for one variable, written from its formulas.

    Its momentum is beta_1 * (1 - 0.5 * 0.96 ** step), whose product over all steps corrects the
    bias; a ``kernel_regularizer=l2(l2)`` adds l2 * sum(w^2) to the loss, so 2 * l2 * w here.
    """

    def __init__(self, w: torch.Tensor, *, lr: float, l2: float) -> None:
        self.w, self.lr, self.l2 = w.clone(), lr, l2
        self.beta_1, self.beta_2, self.epsilon = 0.9, 0.999, 1e-7
        self.m, self.v = torch.zeros_like(w), torch.zeros_like(w)
        self.u_product, self.step_number = 1.0, 0

    def step(self, gradient: torch.Tensor) -> None:
        g = gradient + 2 * self.l2 * self.w
        self.step_number += 1
        u_t = self.beta_1 * (1 - 0.5 * 0.96**self.step_number)
        u_next = self.beta_1 * (1 - 0.5 * 0.96 ** (self.step_number + 1))
        self.u_product *= u_t
        self.m = self.m + (g - self.m) * (1 - self.beta_1)
        self.v = self.v + (g * g - self.v) * (1 - self.beta_2)
        m_hat = u_next * self.m / (1 - self.u_product * u_next) + (1 - u_t) * g / (
            1 - self.u_product
        )
        v_hat = self.v / (1 - self.beta_2**self.step_number)
        self.w = self.w - m_hat * self.lr / (v_hat.sqrt() + self.epsilon)


def difference_from_keras(*overrides: str, l2: float) -> dict[str, float]:
    """Return the largest difference of each head parameter after equal gradients.

    The data's loss is replaced by a linear one with given gradients; the penalty is the module's.
    """
    module = module_of("head.hidden=[6]", f"regularization.l2={l2}", *overrides).double()
    optimizer = optimizer_of(module)
    parameters = dict(module.model.head.named_parameters())
    keras = {
        name: KerasNadam(p.detach(), lr=1e-3, l2=l2 if p.ndim > 1 else 0.0)
        for name, p in parameters.items()
    }
    generator = torch.Generator().manual_seed(0)
    for _ in range(N_STEPS):
        gradients = {
            name: torch.randn(p.shape, dtype=torch.float64, generator=generator) + 0.2
            for name, p in parameters.items()
        }
        optimizer.zero_grad()
        linear = sum((parameters[name] * g).sum() for name, g in gradients.items())
        (linear + module.l2_penalty()).backward()  # type: ignore[operator]
        optimizer.step()
        for name, g in gradients.items():
            keras[name].step(g)
    return {name: float((p.detach() - keras[name].w).abs().max()) for name, p in parameters.items()}


@pytest.mark.parametrize("l2", [0.0, 1e-4, 1e-2])
def test_nadam_with_l2_is_that_of_keras(l2: float) -> None:
    differences = difference_from_keras("lr.transfer=1e-3", l2=l2)
    assert len(differences) == 4
    assert max(differences.values()) < 1e-9, differences


def one_pass(weights: list[nn.Parameter], l2: float, **options: Any) -> NadamInOnePass:
    """Return what takes the second step and those after it; l2 is of the first weight."""
    optimizer = Nadam(weights, **options)
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    return NadamInOnePass(optimizer, {weights[0]: l2})


@pytest.mark.parametrize("l2", [0.0, 1e-2])
def test_nadam_in_one_pass_is_that_of_keras(l2: float) -> None:
    """Also as the rate changes, and where steps of both kinds follow each other."""
    generator = torch.Generator().manual_seed(0)
    kernel, bias = (torch.randn(n, dtype=torch.float64, generator=generator) for n in (70, 9))
    weights = [nn.Parameter(kernel.clone()), nn.Parameter(bias.clone())]
    keras = [KerasNadam(kernel, lr=1e-3, l2=l2), KerasNadam(bias, lr=1e-3, l2=0.0)]
    keras[0].l2 = 0.0
    for one in keras:  # the first step moves nothing: no gradient, no penalty
        one.step(torch.zeros_like(one.w))
    keras[0].l2 = l2
    options = {"lr": 1e-3, "eps": 1e-7, "momentum_decay": 1.0}
    step = one_pass(weights, l2, **options)
    for number in range(N_STEPS):
        gradients = [torch.randn(w.shape, dtype=w.dtype, generator=generator) for w in weights]
        rate = 1e-3 / (1 + number % 5)
        step.group["lr"] = keras[0].lr = keras[1].lr = rate
        step(gradients)
        for one, gradient in zip(keras, gradients, strict=True):
            one.step(gradient)
    pairs = zip(weights, keras, strict=True)
    assert max(float((w.detach() - one.w).abs().max()) for w, one in pairs) < 1e-9


def test_nothing_else_would_be() -> None:
    """The measure sees torch's own momentum decay, and a penalty on the output layer left out."""
    assert max(difference_from_keras("optimizer.momentum_decay=4e-3", l2=0.0).values()) > 1e-4
    differences = difference_from_keras("regularization.l2_on=hidden", l2=1e-2)
    assert [name for name, d in differences.items() if d > 1e-9] == ["4.weight"]


def test_the_penalty_is_that_of_keras() -> None:
    module = module_of("head.hidden=[6]", "regularization.l2=0.01")
    dense = [m for m in module.model.head if isinstance(m, nn.Linear)]
    by_hand = 0.01 * sum((m.weight.double() ** 2).sum().item() for m in dense)
    assert module.l2_penalty().item() == pytest.approx(by_hand, rel=1e-6)
    assert module.double().l2_penalty().item() == pytest.approx(by_hand, rel=1e-13)
    assert module_of("regularization.l2=0").l2_penalty().item() == 0.0


def names_by_group(module: PhaseModule) -> list[tuple[float, float, list[str]]]:
    names = {id(p): name for name, p in module.model.named_parameters()}
    return [
        (g["lr"], g["weight_decay"], [names[id(p)] for p in g["params"]])
        for g in optimizer_of(module).param_groups
    ]


def test_only_what_trains_is_in_the_optimizer() -> None:
    groups = names_by_group(module_of())
    assert {name.split(".")[0] for _, _, names in groups for name in names} == {"head"}
    everything = module_of(phase="finetune")
    named = [name for _, _, names in names_by_group(everything) for name in names]
    assert sorted(named) == sorted(name for name, _ in everything.model.named_parameters())


def test_adamw_decays_kernels_alone() -> None:
    module = module_of("optimizer=adamw", "optimizer.weight_decay=0.05", phase="finetune")
    sizes = {name: p.ndim for name, p in module.model.named_parameters()}
    groups = names_by_group(module)
    assert isinstance(optimizer_of(module), torch.optim.AdamW)
    assert sum(len(names) for _, _, names in groups) == len(sizes)
    for _, decay, names in groups:
        assert decay in (0.0, 0.05)
        assert all((sizes[name] > 1) == (decay > 0) for name in names)


def test_sgd_has_its_momentum() -> None:
    groups = optimizer_of(module_of("optimizer=sgd")).param_groups
    assert groups[0]["momentum"] == 0.9
    assert all(group["weight_decay"] == 0 for group in groups)


@pytest.mark.parametrize("backbone", ["asl_small_cnn", "resnet18", "efficientnet_b0"])
def test_earlier_layers_learn_slower(backbone: str) -> None:
    module = module_of(
        f"backbone.name={backbone}", "lr.layer_decay=0.5", "lr.finetune=1e-3", phase="finetune"
    )
    rates = {name: rate for rate, _, names in names_by_group(module) for name in names}
    assert set(rates) == {name for name, _ in module.model.named_parameters()}
    assert {rates[name] for name in rates if name.startswith("head.")} == {1e-3}
    model: LetterClassifier = module.model
    names = {id(p): f"backbone.{name}" for name, p in model.backbone.named_parameters()}
    order = [
        rates[names[id(p)]]
        for layer in model.backbone_layers
        for p in layer.parameters(recurse=False)
    ]
    assert order == sorted(order)
    assert order[0] < order[-1] <= 0.5e-3
    steps = sorted({round(rate / 1e-3, 12) for rate in order})
    assert all(
        step == pytest.approx(0.5 ** round(-torch.tensor(step).log2().item())) for step in steps
    )


def test_one_rate_without_layer_decay() -> None:
    groups = names_by_group(module_of("lr.finetune=1e-3", phase="finetune"))
    assert {rate for rate, _, _ in groups} == {1e-3}


def test_a_network_without_groups_is_told(tmp_path: Path) -> None:
    module = module_of("lr.layer_decay=0.5", phase="finetune")
    module.model.backbone = nn.Sequential(module.model.backbone)
    with pytest.raises(ConfigError, match=r"lr\.layer_decay: this backbone does not say"):
        optimizer_of(module)


def test_nadam_as_recorded_for_a_gpu_is_torchs() -> None:
    weight = torch.randn(7, 5, generator=torch.manual_seed(1))
    theirs = nn.Parameter(weight.clone())
    group = {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-7, "momentum_decay": 4e-3}
    optimizer = torch.optim.NAdam([theirs], **group)
    ours, first, second, product = weight.clone(), torch.zeros(7, 5), torch.zeros(7, 5), 1.0
    for step in range(1, 41):
        gradient = torch.randn(7, 5, generator=torch.manual_seed(step))
        group["lr"] = optimizer.param_groups[0]["lr"] = 0.01 / step
        theirs.grad = gradient
        optimizer.step()
        *factors, product = nadam_factors(step, product, group)
        nadam_step((ours, first, second), gradient, torch.tensor(factors), group)
    assert torch.allclose(ours, theirs.detach(), atol=1e-6)
    assert product == pytest.approx(float(optimizer.state[theirs]["mu_product"]), rel=1e-5)
    assert not torch.allclose(ours, weight, atol=1e-2)


@pytest.mark.parametrize(
    ("steps_a_call", "batch", "ready"),
    [(1, 40, 40), (32, 40, 1), (32, 64, 2), (32, 89, 2), (32, 1, 0)],  # 90 batches are 3 calls
)
def test_an_epoch_goes_on_in_calls_of_other_sizes(
    steps_a_call: int, batch: int, ready: int
) -> None:
    """All batches that are left are trained on, however many a call took before."""
    module = module_of("data.batch_size=8")
    module.n_train_images, module.steps_a_call = 720, steps_a_call
    current = {"ready": batch, "started": batch, "processed": batch, "completed": batch - 1}
    progress = {"epoch_loop.batch_progress": {"current": dict(current)}}
    state = {"asl_exp_state": {"batch": batch}, "loops": {"fit_loop": progress}}
    module.on_load_checkpoint(state)
    assert progress["epoch_loop.batch_progress"]["current"] == {
        name: count - batch + ready for name, count in current.items()
    }


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_our_nadam_equals_torch_to_the_bit_and_takes_its_state(
    weight_decay: float, layout: torch.memory_format
) -> None:
    def started() -> tuple[nn.Module, dict[str, float]]:
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 1500),
            nn.ReLU(), nn.Linear(1500, 29),
        )  # fmt: skip
        return network.to(memory_format=layout), {"lr": 1e-2, "weight_decay": weight_decay}

    (theirs, options), (ours, _) = started(), started()
    reference, optimizer = torch.optim.NAdam(theirs.parameters(), **options), None
    for step in range(60):
        if step in (0, 30):  # the second half goes on from torch's own state
            optimizer = Nadam(ours.parameters(), **options)
            optimizer.load_state_dict(copy.deepcopy(reference.state_dict()))
        images = torch.randn(16, 3, 9, 9)
        labels = torch.randint(0, 29, (16,))
        for network, taken in ((theirs, reference), (ours, optimizer)):
            assert taken is not None
            taken.zero_grad()
            nn.functional.cross_entropy(network(images), labels).backward()
            taken.step()
    pairs = zip(theirs.parameters(), ours.parameters(), strict=True)
    assert all(torch.equal(mine, yours) for mine, yours in pairs)


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.99)])
def test_steps_in_one_pass_are_those_of_nadam_and_leave_its_state(
    betas: tuple[float, float],
) -> None:
    start = torch.randn(300, 40, generator=torch.manual_seed(1))
    theirs, ours = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    options = {"lr": 1e-3, "betas": betas, "eps": 1e-7, "momentum_decay": 1.0}
    reference, step = Nadam([theirs], **options), one_pass([ours], 0.01, **options)
    theirs.grad = torch.zeros_like(start)
    reference.step()
    for number in range(100):
        gradient = torch.randn(40, 300, generator=torch.manual_seed(number)).T  # of another layout
        theirs.grad = gradient + 2 * 0.01 * theirs.detach()
        reference.step()
        step([gradient])
    assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(ours, start, atol=1e-2)
    (left,), expected = step.states, reference.state[theirs]
    assert left.keys() == expected.keys()
    for name in expected:
        assert torch.allclose(left[name], expected[name], rtol=1e-4, atol=1e-6), name

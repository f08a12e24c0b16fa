"""Phases of real runs: what moved, what did not, which epoch was kept, and how they ended."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from asl_exp.config.compose import compose_config
from asl_exp.config.errors import NonFiniteLossError
from asl_exp.data.dataset import load_letters
from asl_exp.model.checkpoint import load_kept_model
from asl_exp.model.classifier import LetterClassifier
from asl_exp.tracking.store import open_store
from asl_exp.training.current_run import Run as CurrentRun
from asl_exp.training.phase_module import PhaseModule
from asl_exp.training.run import run_experiment

Tensors = dict[str, torch.Tensor]


class Run:
    """A finished run, without figures, scores and model folder, which take seconds.

    Attributes:
        folder: of the run.
        objective: what run_experiment returned.
        epochs: the metrics of every epoch, in order, as the observer was told.
        start: the network's tensors before the first phase.
    """

    def __init__(self, overrides: tuple[str, ...], folder: Path) -> None:
        self.folder = folder
        config = compose_config(
            [*overrides, f"runs_dir={folder.parent}", "tracking=off", "data.external=[]"]
        )
        self.epochs: list[dict[str, float]] = []
        self.start: Tensors = {}
        self.tags: dict[str, str] = {}
        self.features_gb = None
        with pytest.MonkeyPatch.context() as patch:
            self._note_start(patch)
            self.objective = run_experiment(config, folder, observer=self, evaluate="validation")
        self.result: dict[str, Any] = json.loads((folder / "result.json").read_text())

    def after_epoch(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        self.epochs.append(dict(metrics))
        assert len(self.epochs) == epoch + 1
        return False

    def _note_start(self, patch: pytest.MonkeyPatch) -> None:
        make, run = PhaseModule.__init__, self

        def started(module: PhaseModule, current: CurrentRun, *a: Any, **k: Any) -> None:
            tensors = current.model.state_dict()
            run.start = run.start or {n: t.clone() for n, t in tensors.items()}
            make(module, current, *a, **k)

        patch.setattr(PhaseModule, "__init__", started)

    def kept(self, phase: str) -> Tensors:
        content = torch.load(self.folder / "checkpoints" / f"{phase}.ckpt", weights_only=True)
        return {
            n.removeprefix("model."): t
            for n, t in content["state_dict"].items()
            if n.startswith("model.")
        }


@pytest.fixture(scope="module")
def run(tiny: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    def go(*overrides: str) -> Run:
        return Run((*tiny, *overrides), tmp_path_factory.mktemp("runs") / "run")

    return go


@pytest.fixture(scope="module")
def both(run: Callable[..., Run]) -> Run:
    """A run of both phases with rates at which everything moves visibly."""
    return run(
        "schedule.transfer.epochs=4", "schedule.finetune.epochs=4", "lr.transfer=3e-3",
        "lr.finetune=1e-3",
    )  # fmt: skip


def parameters(names: Tensors) -> list[str]:
    return [n for n in names if "running_" not in n and "num_batches" not in n and n not in
            ("mean", "std")]  # fmt: skip


def statistics(names: Tensors) -> list[str]:
    return [n for n in names if "running_" in n or "num_batches" in n]


def moved(before: Tensors, after: Tensors, names: list[str]) -> set[str]:
    return {name for name in names if not torch.equal(before[name], after[name])}


def test_the_frozen_backbone_does_not_move_by_a_bit(both: Run) -> None:
    transfer = both.kept("transfer")
    assert transfer.keys() == both.start.keys()
    changed = moved(both.start, transfer, list(transfer))
    assert changed == {n for n in parameters(transfer) if n.startswith("head.")}
    assert len(statistics(transfer)) == 12  # mean, variance and count of four norms


def test_every_unfrozen_weight_moves_and_held_statistics_do_not(both: Run) -> None:
    transfer, finetune = both.kept("transfer"), both.kept("finetune")
    assert moved(transfer, finetune, list(finetune)) == set(parameters(finetune))


def test_trained_statistics_move(run: Callable[..., Run]) -> None:
    done = run(
        "schedule=scratch", "schedule.scratch.epochs=1", "lr.transfer=1e-3",
        "regularization.l2=0",
    )  # fmt: skip
    kept = done.kept("scratch")
    assert moved(done.start, kept, list(kept)) == {*parameters(kept), *statistics(kept)}
    assert kept["backbone.features.0.1.num_batches_tracked"] == 3  # 24 images, 8 a step


@pytest.mark.parametrize(("n_layers", "expected"), [(1, {"3.1"}), (3, {"3.1", "3.0", "2.1"})])
def test_the_last_layers_train_and_no_other(
    run: Callable[..., Run], n_layers: int, expected: set[str]
) -> None:
    done = run(
        "schedule=last_layers", f"schedule.last_layers.last_layers={n_layers}",
        "schedule.last_layers.epochs=1", "schedule.last_layers.norm_statistics=trained",
    )  # fmt: skip
    kept = done.kept("last_layers")
    layers = {f"backbone.features.{layer}" for layer in expected}
    changed = moved(done.start, kept, list(kept))
    assert {n.rpartition(".")[0] for n in changed if n.startswith("backbone.")} == layers
    assert {n for n in parameters(kept) if n.startswith("head.")} <= changed
    inside = {n for n in kept if n.rpartition(".")[0] in layers}
    assert changed >= inside, "their statistics as well"


def test_the_kept_epochs_are_the_best_ones(both: Run) -> None:
    losses = [epoch["val/loss"] for epoch in both.epochs[:4]]
    accuracies = [epoch["val/accuracy"] for epoch in both.epochs[4:]]
    assert both.result["kept_epochs"] == {
        "transfer": losses.index(min(losses)),
        "finetune": 4 + accuracies.index(max(accuracies)),
    }
    assert both.result["monitor"] == "val/accuracy"
    assert both.objective == both.result["objective"] == max(accuracies)


SCRIPT = {  # each metric has its best elsewhere, so that following a wrong one is seen
    "val/loss": [0.9, 0.5, 0.7, 0.8, 0.9, 0.95, 0.1],
    "val/accuracy": [0.9, 0.1, 0.2, 0.3, 0.2, 0.8, 0.5],
    "val/f1_macro": [0.1, 0.2, 0.9, 0.1, 0.9, 0.1, 0.2],
}


def test_each_phase_follows_its_own_monitor(
    run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    end = PhaseModule.on_validation_epoch_end

    def scripted(module: PhaseModule) -> None:
        end(module)
        values = {key: series[module.epoch] for key, series in SCRIPT.items()}
        assert values.keys() <= module.trainer.callback_metrics.keys()
        module.validation.update(values)
        module.trainer.callback_metrics.update({k: torch.tensor(v) for k, v in values.items()})

    monkeypatch.setattr(PhaseModule, "on_validation_epoch_end", scripted)
    done = run("schedule.transfer.epochs=3", "schedule.finetune.epochs=4")
    assert done.result["kept_epochs"] == {"transfer": 1, "finetune": 5}
    assert done.objective == 0.8
    for phase, epoch in done.result["kept_epochs"].items():
        assert load_kept_model(done.folder / "checkpoints" / f"{phase}.ckpt").epoch == epoch
    done = run(
        "schedule.transfer.epochs=0", "schedule.finetune.epochs=7",
        "schedule.finetune.monitor=val/f1_macro", "schedule.finetune.patience=null",
    )  # fmt: skip
    assert done.result["kept_epochs"] == {"finetune": 2}


def val_scores(model: LetterClassifier, overrides: tuple[str, ...]) -> tuple[float, float]:
    """Return loss and accuracy on val, worked out by hand."""
    config = compose_config(overrides)
    val = load_letters(
        config.data, image_size=32, interpolation="bilinear", seed=config.seed
    ).splits["val"]
    images = torch.from_numpy(val.gather(np.arange(len(val)))).permute(0, 3, 1, 2)
    with torch.inference_mode():
        logits = model.eval()(images.float() / 255)
    labels = torch.from_numpy(val.labels)
    loss = nn.functional.cross_entropy(logits, labels)
    return float(loss), float((logits.argmax(1) == labels).float().mean())


def test_scoring_the_kept_checkpoints_again_gives_the_recorded_values(
    both: Run, tiny: tuple[str, ...]
) -> None:
    for phase, epoch in both.result["kept_epochs"].items():
        kept = load_kept_model(both.folder / "checkpoints" / f"{phase}.ckpt")
        assert (kept.phase, kept.epoch) == (phase, epoch)
        loss, accuracy = val_scores(kept.model, tiny)
        assert loss == pytest.approx(both.epochs[epoch]["val/loss"], rel=1e-5)
        assert accuracy == pytest.approx(both.epochs[epoch]["val/accuracy"], abs=1e-7)


def test_finetune_starts_from_the_kept_epoch_not_the_last(run: Callable[..., Run]) -> None:
    """With rates that make transfer worse, then a finetune of next to no rate."""
    done = run(
        "schedule.transfer.epochs=4", "lr.transfer=0.3", "schedule.finetune.epochs=1",
        "lr.finetune=1e-20", "optimizer=sgd", "seed=2",
    )  # fmt: skip
    losses = [epoch["val/loss"] for epoch in done.epochs[:4]]
    assert losses.index(min(losses)) < 3, "the last epoch is the best: choose another seed"
    transfer, finetune = done.kept("transfer"), done.kept("finetune")
    for name in finetune:
        assert torch.allclose(finetune[name], transfer[name], rtol=0, atol=1e-15), name
    assert done.epochs[4]["val/loss"] == pytest.approx(min(losses), rel=1e-6)


def test_the_best_mix_of_two_phases_is_kept(run: Callable[..., Run], tiny: tuple[str, ...]) -> None:
    """All eleven mixes are worked out by hand; finetune's own weights are far off."""
    done = run(
        "schedule.transfer.epochs=2", "lr.transfer=3e-3", "schedule.finetune.epochs=1",
        "lr.finetune=0.02", "schedule.finetune.monitor=val/loss", "schedule.finetune.mix=true",
    )  # fmt: skip
    kept = load_kept_model(done.folder / done.result["checkpoints"]["finetune"])
    network, of_best = kept.model, {n: t.clone() for n, t in kept.model.state_dict().items()}
    transfer, finetune = done.kept("transfer"), done.kept("finetune")
    losses, mixes = [], []
    for share in torch.arange(11) / 10:
        mixes.append({
            name: (1 - share) * transfer[name] + share * end if end.is_floating_point() else end
            for name, end in finetune.items()
        })  # fmt: skip
        network.load_state_dict(mixes[-1])
        losses.append(val_scores(network, tiny)[0])
    best = losses.index(min(losses))
    assert best < 10, "finetune alone is the best: choose a higher rate"
    assert done.objective == pytest.approx(losses[best], rel=1e-4)
    assert done.result["metrics"]["val/loss"] == done.objective
    for name, tensor in of_best.items():
        assert torch.allclose(tensor, mixes[best][name], rtol=1e-4, atol=1e-6), name


def test_a_phase_of_no_epochs_is_skipped(run: Callable[..., Run]) -> None:
    done = run("schedule.transfer.epochs=0", "schedule.finetune.epochs=1")
    assert list(done.result["checkpoints"]) == ["finetune"]
    assert not (done.folder / "checkpoints" / "transfer.ckpt").exists()
    assert len(done.epochs) == 1


def test_patience_ends_a_phase(run: Callable[..., Run]) -> None:
    done = run(
        "schedule.transfer.epochs=30", "schedule.transfer.patience=2", "lr.transfer=1e-30",
        "optimizer=sgd", "schedule.finetune.epochs=1",
    )  # fmt: skip
    assert len(done.epochs) == 3 + 1  # the first, then two without improvement; one of finetune
    assert done.result["kept_epochs"] == {"transfer": 0, "finetune": 3}


def test_a_checkpoint_of_each_epoch_as_well(run: Callable[..., Run]) -> None:
    done = run(
        "schedule.transfer.epochs=2", "schedule.transfer.keep_every_epoch=true",
        "schedule.finetune.epochs=0",
    )  # fmt: skip
    names = {path.name for path in done.folder.glob("checkpoints/**/*.ckpt")}
    assert len(names) == 3
    assert "transfer.ckpt" in names


def test_the_loss_is_the_cross_entropy_with_the_penalty_beside_it(run: Callable[..., Run]) -> None:
    """With everything still, train/loss of a linear head is -log of what the start gives."""
    done = run(
        "head.hidden=[]", "regularization.l2=0.5", "regularization.dropout=0", "augmentation=none",
        "schedule.transfer.epochs=1", "schedule.finetune.epochs=0", "lr.transfer=1e-30",
        "optimizer=sgd",
    )  # fmt: skip
    kernels = [t for n, t in done.start.items() if n.startswith("head.") and t.ndim > 1]
    assert len(kernels) == 1
    epoch = done.epochs[0]
    assert epoch["train/l2_penalty"] == pytest.approx(
        0.5 * float((kernels[0] ** 2).sum()), rel=1e-5
    )
    assert epoch["train/loss"] == pytest.approx(math.log(3), abs=0.3)
    assert epoch["train/l2_penalty"] > 0.4, "so that a sum of both would be seen"


def test_label_smoothing_is_in_the_training_loss_alone(run: Callable[..., Run]) -> None:
    still = (
        "head.hidden=[]", "regularization=none", "augmentation=none", "schedule.transfer.epochs=1",
        "schedule.finetune.epochs=0", "lr.transfer=1e-30", "optimizer=sgd",
    )  # fmt: skip
    plain, smooth = run(*still), run(*still, "regularization.label_smoothing=0.5")
    assert smooth.epochs[0]["train/loss"] != plain.epochs[0]["train/loss"]
    assert smooth.epochs[0]["val/loss"] == plain.epochs[0]["val/loss"]


def test_clipping_shortens_steps(run: Callable[..., Run]) -> None:
    common = (
        "optimizer=sgd", "optimizer.momentum=0", "lr.transfer=1.0", "data.batch_size=24",
        "schedule.transfer.epochs=1", "schedule.finetune.epochs=0", "optimizer.clip_norm=1e-3",
    )  # fmt: skip
    done = run(*common)
    kept = done.kept("transfer")
    length = math.sqrt(sum(float(((kept[n] - done.start[n]) ** 2).sum()) for n in kept))
    assert length == pytest.approx(1e-3, rel=1e-3)  # one step of rate 1 and gradient norm 1e-3


def without_time(run: Run) -> list[dict[str, float]]:
    return [{k: v for k, v in e.items() if k != "images_per_second"} for e in run.epochs]


def test_the_seed_decides_every_bit(run: Callable[..., Run]) -> None:
    length = ("schedule.transfer.epochs=2", "schedule.finetune.epochs=1", "augmentation=strong")
    first, again, other = run(*length), run(*length), run(*length, "seed=7")
    assert without_time(first) == without_time(again)
    assert without_time(first) != without_time(other)
    for phase in ("transfer", "finetune"):
        assert moved(first.kept(phase), again.kept(phase), list(first.kept(phase))) == set()


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_good_epoch(
    tiny: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Epoch 2 blows up: its second batch is given a weight that is not a number."""
    step = PhaseModule.fit_to

    def poisoned(module: PhaseModule, batch: Any, batch_idx: int) -> Any:
        if module.epoch == 2 and batch_idx == 1:
            with torch.no_grad():
                next(iter(module.model.head.parameters())).fill_(math.nan)
        return step(module, batch, batch_idx)

    monkeypatch.setattr(PhaseModule, "fit_to", poisoned)
    config = compose_config([*tiny, "schedule.transfer.epochs=4", f"runs_dir={tmp_path}"])
    folder = tmp_path / "run"
    with pytest.raises(NonFiniteLossError) as caught:
        run_experiment(config, folder)
    told = str(caught.value)
    assert "phase 'transfer', epoch 3, batch 2" in told
    assert "smaller learning rate" in told
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "FAILED"
    assert result["failure"] == told
    kept = load_kept_model(folder / "checkpoints" / "transfer.ckpt")
    assert kept.epoch < 2
    assert all(torch.isfinite(t).all() for t in kept.model.state_dict().values())
    run = open_store(tmp_path).get_run(result["mlflow_run_id"])
    assert run.info.status == "FAILED"
    assert run.data.tags["failure"] == told
    assert math.isfinite(run.data.metrics["val/loss"])


@pytest.mark.parametrize("batch_size", [23, 1])
def test_a_batch_of_one_image_trains_under_batchnorm(
    batch_size: int, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    """24 images to train on; at 32 pixels the last BatchNorm sees one value of each image."""
    config = compose_config(
        [*tiny, "schedule=scratch", "schedule.scratch.epochs=1",
         "backbone.name=mobilenetv3_small_050",
         f"data.batch_size={batch_size}", f"runs_dir={tmp_path}", "tracking=off"]
    )  # fmt: skip
    assert np.isfinite(run_experiment(config, tmp_path / "run"))

"""Phases on stored features: the numbers of phases on images, computed once."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from asl_exp.config.compose import compose_config
from asl_exp.config.errors import ConfigError, DataError
from asl_exp.model.checkpoint import model_state
from asl_exp.runs.result import Result
from asl_exp.training.feature_files import FeatureFile
from asl_exp.training.run import run_experiment

PLAIN = ("augmentation=none", "schedule.transfer.epochs=3", "schedule.finetune.epochs=1")


class Ran:
    """One run and what it came to."""

    def __init__(self, folder: Path, *overrides: str) -> None:
        self.config = compose_config([*overrides, f"runs_dir={folder.parent}"])
        self.objective = run_experiment(self.config, folder, evaluate="scores")
        result = Result.read(folder)
        assert result is not None
        self.result = result
        self.rows = (folder / "epochs.csv").read_text().splitlines()

    def metrics(self) -> dict[str, float]:
        return {k: v for k, v in self.result.metrics.items() if k != "images_per_second"}


@pytest.fixture
def own_cache(tiny: tuple[str, ...], tmp_path: Path) -> tuple[str, ...]:
    return (*tiny, f"data.cache_dir={tmp_path / 'cache'}")


def feature_files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "features").glob("*.f32"))


@pytest.mark.parametrize(
    "schedule",
    [
        (),
        ("schedule=last_layers", "schedule.last_layers.last_layers=1",
         "~schedule.last_layers.patience"),
        ("schedule=last_layers", "schedule.last_layers.last_layers=3",
         "schedule.last_layers.norm_statistics=trained"),
    ],
    ids=["head", "last layer", "last layers with their statistics"],
)  # fmt: skip
def test_without_augmentation_the_numbers_are_those_of_the_images(
    schedule: tuple[str, ...], own_cache: tuple[str, ...], tmp_path: Path
) -> None:
    name = "last_layers" if schedule else "transfer"
    epochs = PLAIN if not schedule else ("augmentation=none", "schedule.last_layers.epochs=3")
    overrides = [o for o in (*own_cache, *schedule, *epochs) if not o.startswith("~")]
    if schedule:
        overrides = [o for o in overrides if "schedule.transfer" not in o and "finetune" not in o]
    stored = Ran(tmp_path / "a", *overrides, f"schedule.{name}.features=always")
    images = Ran(tmp_path / "b", *overrides, f"schedule.{name}.features=never")
    assert len(feature_files(tmp_path)) == 2
    assert stored.metrics() == pytest.approx(images.metrics(), abs=1e-5)
    assert stored.result.kept_epochs == images.result.kept_epochs
    assert (stored.result.stored_views[name], images.result.stored_views[name]) == (1, 0)


def test_trials_seeds_and_heads_share_the_files(
    own_cache: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []
    fill = FeatureFile.fill
    monkeypatch.setattr(
        FeatureFile, "fill", lambda file, part: (computed.append(file.view), fill(file, part))
    )
    weights = tmp_path / "weights.pt"
    pretrained = save_weights(weights, own_cache)
    few = (
        "augmentation=paper", "schedule.transfer.epochs=5", "schedule.finetune.epochs=0",
        "schedule.transfer.views=4",
    )  # fmt: skip
    first = Ran(tmp_path / "a", *pretrained, *few)
    assert computed == [0, 1, 2, 3, 0]
    for n, other in enumerate(["seed=5", "regularization.l2=0.1", "head.hidden=[8,8]"]):
        Ran(tmp_path / f"other{n}", *pretrained, *few, other)
    again = Ran(tmp_path / "again", *pretrained, *few)
    assert len(computed) == 5
    assert again.metrics() == first.metrics()
    Ran(tmp_path / "views", *pretrained, *few, "schedule.transfer.views=5")
    assert computed[5:] == [4]  # the first four are shared
    Ran(tmp_path / "turned", *pretrained, *few, "augmentation.rotation=3")
    assert computed[6:] == [0, 1, 2, 3]


def save_weights(path: Path, overrides: tuple[str, ...]) -> tuple[str, ...]:
    """Make a weights file; random initialisation would depend on the seed."""
    import torch

    from asl_exp.model.backbone import build_backbone

    backbone = build_backbone(compose_config([*overrides]).backbone, 32)
    torch.save(backbone.network.state_dict(), path)
    kept = [o for o in overrides if not o.startswith("backbone.pretrained")]
    return (*kept, f"backbone.weights={path}")


def test_a_killed_run_goes_on_from_its_features(
    own_cache: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asl_exp.tracking.recorder import EpochLog

    overrides = (*own_cache, "augmentation=paper", "schedule.transfer.epochs=6")
    whole = Ran(tmp_path / "whole", *overrides)
    add, told = EpochLog.add, []

    def die_later(log: EpochLog, row: dict[str, Any]) -> None:
        told.append(row["epoch"])
        if len(told) == 4:
            raise RuntimeError("killed")
        add(log, row)

    monkeypatch.setattr("asl_exp.training.phase._STATES_APART_S", 1e-9)
    monkeypatch.setattr(EpochLog, "add", die_later)
    with pytest.raises(RuntimeError, match="killed"):
        Ran(tmp_path / "killed", *overrides)
    resumed = Ran(tmp_path / "killed", *overrides, f"resume={tmp_path / 'killed'}")
    assert resumed.metrics() == whole.metrics()
    told_again = [0, 1, 2]
    assert told == [0, 1, 2, 3, *told_again, 3, 4, 5, 6, *told[11:]]


NO_ROOM = "data.cache_limit_gb=0.0005"
"""Room for the stored pixels and 16 views, but half of it, which is for features, is too little."""

VIEWS = ("augmentation=paper", "schedule.transfer.epochs=16", "schedule.finetune.epochs=0")


@pytest.mark.heavy
def test_a_machine_that_cannot_store_computes_and_signs_another_run(
    own_cache: tuple[str, ...], tmp_path: Path
) -> None:
    """What a phase goes from decides what it computes: stored views, or new changes every epoch."""
    stored = Ran(tmp_path / "stored", *own_cache, *VIEWS)
    never = Ran(tmp_path / "never", *own_cache, *VIEWS, "schedule.transfer.features=never")
    assert stored.metrics() != never.metrics()
    assert stored.result.signature != never.result.signature
    for n, machine in enumerate(["data.store=false", NO_ROOM]):
        fell_back = Ran(tmp_path / str(n), *own_cache, *VIEWS, machine)
        assert fell_back.metrics() == never.metrics(), machine
        assert fell_back.result.signature == never.result.signature, machine


@pytest.mark.heavy
def test_a_resumed_run_stays_with_what_it_began_with(
    own_cache: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asl_exp.tracking.recorder import EpochLog

    few, without = ("augmentation=paper", "schedule.transfer.epochs=4"), "data.store=false"
    whole = Ran(tmp_path / "whole", *own_cache, *few, without)

    def die(log: EpochLog, row: dict[str, Any]) -> None:
        if row["epoch"] == 2:
            raise RuntimeError("killed")

    monkeypatch.setattr("asl_exp.training.phase._STATES_APART_S", 1e-9)
    with monkeypatch.context() as patch:
        patch.setattr(EpochLog, "add", die)
        for name, machine in {"images": without, "features": "data.store=true"}.items():
            with pytest.raises(RuntimeError, match="killed"):
                Ran(tmp_path / name, *own_cache, *few, machine)
    images, features = tmp_path / "images", tmp_path / "features"
    resumed = Ran(images, *own_cache, *few, f"resume={images}")
    assert resumed.metrics() == whole.metrics()
    assert resumed.result.signature == whole.result.signature
    with pytest.raises(DataError, match=r"resume: phase transfer .* stored features.*data\.store"):
        Ran(features, *own_cache, *few, f"resume={features}", without)


def test_checkpoints_of_every_epoch_are_whole(own_cache: tuple[str, ...], tmp_path: Path) -> None:
    every = "schedule.transfer.keep_every_epoch=true"
    Ran(tmp_path / "a", *own_cache, *PLAIN, "schedule.transfer.features=always", every)
    checkpoints = sorted((tmp_path / "a" / "checkpoints" / "transfer_epochs").glob("*.ckpt"))
    assert len(checkpoints) == 3
    whole = model_state(torch.load(tmp_path / "a" / "checkpoints" / "finetune.ckpt"))
    for path in checkpoints:
        assert model_state(torch.load(path)).keys() == whole.keys()


@pytest.mark.parametrize("how", ["bytes", "shortened", "described"])
def test_a_damaged_file_is_computed_again(
    how: str, own_cache: tuple[str, ...], tmp_path: Path
) -> None:
    first = Ran(tmp_path / "a", *own_cache, *PLAIN)
    file = feature_files(tmp_path)[0]
    before = file.read_bytes()
    if how == "bytes":
        file.write_bytes(before[:-4] + b"\x00\x00\xc0\x7f")
    elif how == "shortened":
        os.truncate(file, 8)
    else:
        about = json.loads(file.with_suffix(".json").read_text())
        file.with_suffix(".json").write_text(json.dumps({**about, "sha256": "0" * 64}))
        os.utime(file)
    again = Ran(tmp_path / "b", *own_cache, *PLAIN)
    assert file.read_bytes() == before
    assert again.metrics() == first.metrics()


@pytest.mark.usefixtures("no_room_for_features")
def test_a_full_disk_lets_the_phase_go_on_without(
    own_cache: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = compose_config([*own_cache, *PLAIN, f"runs_dir={tmp_path}"])
    run_experiment(config, tmp_path / "a")
    said = capsys.readouterr().out
    assert "transfer: no stored features: they find no room: data.cache_dir: no room in" in said
    assert feature_files(tmp_path) == []
    with pytest.raises(DataError, match=r"schedule\.transfer\.features: always, but they find no"):
        Ran(tmp_path / "b", *own_cache, *PLAIN, "schedule.transfer.features=always")


def test_what_cannot_be_stored_is_said(own_cache: tuple[str, ...], tmp_path: Path) -> None:
    always = (*own_cache, *PLAIN, "schedule.transfer.features=always")
    with pytest.raises(ConfigError, match=r"always needs stored pixels, but data\.store=off"):
        Ran(tmp_path / "a", *always, "data.store=false")
    with pytest.raises(DataError, match=r"always, but they cannot be mixed \(augmentation\.mixup"):
        Ran(tmp_path / "b", *always, "augmentation.mixup=0.2")

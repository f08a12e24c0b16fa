"""Options that change how numbers are computed, on the CPU: close, but not equal."""

import math
import shutil
from pathlib import Path

import pytest
from pytorch_lightning.accelerators import MPSAccelerator

from asl_exp.config import names
from asl_exp.config.compose import compose_config
from asl_exp.runs.result import Result
from asl_exp.training.run import run_experiment

EXACT = (
    "augmentation=none", "regularization.dropout=0", "schedule.transfer.epochs=1",
    "schedule.finetune.epochs=3", "schedule.transfer.features=never", "tracking=off",
    "data.external=[]", "trainer.accelerator=cpu",
)  # fmt: skip
COMPILES = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")


def metrics(folder: Path, *overrides: str) -> dict[str, float]:
    run_experiment(
        compose_config([*overrides, f"runs_dir={folder}"]), folder / "run", evaluate="scores"
    )
    result = Result.read(folder / "run")
    assert result is not None
    return result.metrics


@pytest.fixture(scope="module")
def plain(tiny: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    return metrics(tmp_path_factory.mktemp("plain"), *tiny, *EXACT)


@pytest.mark.parametrize(
    ("option", "nearness"),
    [
        ("trainer.channels_last=true", 1e-4),
        ("trainer.precision=bf16-mixed", 3e-2),  # eight bits of mantissa
        pytest.param("trainer.compile=true", 1e-4, marks=[pytest.mark.heavy, COMPILES]),
    ],
)
def test_an_option_trains_nearly_the_same(
    tiny: tuple[str, ...], tmp_path: Path, plain: dict[str, float], option: str, nearness: float
) -> None:
    found = metrics(tmp_path, *tiny, *EXACT, option)
    assert all(math.isfinite(value) for value in found.values())
    for name in (names.TRAIN_LOSS, names.VAL_LOSS, names.TRAIN_L2_PENALTY):
        assert found[name] == pytest.approx(plain[name], abs=nearness), name


def test_lightning_trains_on_the_device_that_the_run_chose(
    tiny: tuple[str, ...], tmp_path: Path, plain: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Apple's machines Lightning's own choice would be another one."""
    monkeypatch.setattr(MPSAccelerator, "is_available", staticmethod(lambda: True))
    found = metrics(tmp_path, *tiny, *EXACT, "trainer.accelerator=auto")
    assert found[names.TRAIN_LOSS] == plain[names.TRAIN_LOSS]


@pytest.mark.parametrize("batch_size", [16, 20])
def test_parts_train_as_the_whole(tiny: tuple[str, ...], tmp_path: Path, batch_size: int) -> None:
    """Also where the last step is incomplete: there are 24 images."""
    asked = (*tiny, *EXACT, "schedule.transfer.features=auto", f"data.batch_size={batch_size}")
    at_once = metrics(tmp_path / "once", *asked)
    in_parts = metrics(tmp_path / "parts", *asked, "trainer.accumulate=4")
    for name in (names.TRAIN_LOSS, names.TRAIN_L2_PENALTY, names.VAL_LOSS, "test/ece"):
        assert in_parts[name] == pytest.approx(at_once[name], abs=1e-4), name

"""A step in parts trains as the step at once, the last incomplete one included."""

from pathlib import Path

import pytest

from asl_exp.config import names
from asl_exp.config.compose import compose_config
from asl_exp.runs.result import Result
from asl_exp.training.run import run_experiment

EXACT = (
    "augmentation=none", "regularization.dropout=0", "schedule.transfer.epochs=2",
    "schedule.finetune.epochs=2", "tracking=off", "data.external=[]",
)  # fmt: skip


def metrics(folder: Path, *overrides: str) -> dict[str, float]:
    run_experiment(compose_config([*overrides, f"runs_dir={folder}"]), folder / "run")
    result = Result.read(folder / "run")
    assert result is not None
    return result.metrics


@pytest.mark.parametrize("batch_size", [16, 20])
def test_parts_train_as_the_whole(tiny: tuple[str, ...], tmp_path: Path, batch_size: int) -> None:
    size = f"data.batch_size={batch_size}"
    at_once = metrics(tmp_path / "once", *tiny, *EXACT, size)
    in_parts = metrics(tmp_path / "parts", *tiny, *EXACT, size, "trainer.accumulate=4")
    for name in (names.TRAIN_LOSS, names.TRAIN_L2_PENALTY, names.VAL_LOSS, "test/ece"):
        assert in_parts[name] == pytest.approx(at_once[name], abs=1e-4), name

"""Debug runs see less, train less, and say beside every score what they are."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_runs import made_data

from asl_exp.config.compose import compose_config
from asl_exp.config.debug import debug_caution
from asl_exp.config.signature import signature
from asl_exp.data.letters import LetterData
from asl_exp.training.debug import with_less
from asl_exp.training.run import run_experiment


def letters() -> LetterData:
    """Return 900 images of three classes, of which the first has most."""
    data = made_data(3, 900)
    labels = np.repeat([0, 1, 2], [700, 150, 50])
    table = pd.DataFrame({"key": np.arange(900)})
    rows = np.arange(900)
    train = replace(data.splits["train"], labels=labels, table=table, rows=rows)
    small = train.take(np.arange(0, 900, 30))
    splits = {"train": train, "val": replace(small, name="val", caution="may leak")}
    return replace(data, splits={**splits, "test": replace(small, name="test")})


def test_two_batches_of_each_split_spread_over_the_classes() -> None:
    config = compose_config(["debug=fast", "data.batch_size=12"])
    less = with_less(config, letters())
    assert [len(split) for split in less.splits.values()] == [24, 24, 24]
    assert np.bincount(less.splits["train"].labels).tolist() == [8, 8, 8]
    assert {phase.epochs for phase in config.schedule.values()} == {1}
    assert less.digest != letters().digest


def test_a_share_of_the_images() -> None:
    less = with_less(compose_config(["debug=limit", "debug.share=0.5"]), letters())
    assert [len(split) for split in less.splits.values()] == [450, 15, 15]


def test_one_batch_is_trained_and_validated_on() -> None:
    config = compose_config(["debug=overfit", "experiment=demo"])
    less = with_less(config, letters())
    train, val, test = less.splits.values()
    assert len(train) == config.data.batch_size == 32
    assert train.rows.tolist() == val.rows.tolist()
    assert (val.name, len(test)) == ("val", 30)
    assert not any(config.augmentation.model_dump().values())
    assert config.regularization.dropout == 0


def test_the_caution_stands_beside_every_score() -> None:
    for name in ("fast", "overfit", "profile", "limit"):
        config = compose_config([f"debug={name}"])
        less = with_less(config, letters())
        said = debug_caution(config.debug)
        assert said.startswith("debug run (")
        own = "" if name == "overfit" else "; may leak"  # there val is the batch trained on
        assert less.cautions == {"val": f"{said}{own}", "test": said}
        assert said in less.caution


def test_other_runs_are_as_they_were() -> None:
    config = compose_config([])
    assert with_less(config, data := letters()) is data
    assert signature(config) != signature(compose_config(["debug=profile"]))


@pytest.mark.heavy
def test_one_batch_is_learned_and_the_time_told(tiny: tuple[str, ...], tmp_path: Path) -> None:
    rate = ("schedule=scratch", "lr.transfer=3e-3", "tracking=off")
    config = compose_config([*tiny, *rate, "debug=overfit", "debug.profile=true"])
    run_experiment(config, tmp_path / "run", evaluate="validation")
    epochs = pd.read_csv(tmp_path / "run" / "epochs.csv")
    assert epochs["val/accuracy"].iloc[-1] == 1
    assert (epochs["val/accuracy"].iloc[:-1] < 1).all()
    assert len(epochs) < 100
    told = (tmp_path / "run" / "profile.txt").read_text()
    assert "scratch" in told.partition("operators")[0]
    assert "aten::convolution" in told

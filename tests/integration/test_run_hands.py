"""Runs that look at hands: joints in place of pixels, joints beside them, joints without photos.

The hands are the embedded signer's true joints, so no detector is needed.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from asl_exp.compat.mlflow import MLFLOW_PARENT_RUN_ID
from asl_exp.config import names
from asl_exp.config.compose import compose_config
from asl_exp.config.errors import DataError, Interrupted, UserError
from asl_exp.data.dataset import load_letters
from asl_exp.data.hands.joint_rows import COORDINATES
from asl_exp.data.letters import LetterData
from asl_exp.evaluation.certificate import verify
from asl_exp.evaluation.folder import AnsweredSet, Evaluation, write_evaluation
from asl_exp.model.checkpoint import load_kept_model
from asl_exp.runs.result import Result
from asl_exp.serving.kept_features import kept_features
from asl_exp.tracking.store import open_store
from asl_exp.training.folds import _caution, run_folds
from asl_exp.training.run import run_experiment

EXACT = ("hand.detector=exact", "tracking=off", "trainer.accelerator=cpu")
JOINTS = ("hand=joints", "schedule=scratch", "schedule.scratch.epochs=4", "head=linear", *EXACT)
BOTH = (
    "hand=both", "augmentation=none", "schedule.transfer.epochs=2", "schedule.finetune.epochs=1",
    "regularization.dropout=0", "hand.network.dropout=0", "hand.network.input_dropout=0",
    *(f"hand.variation.{key}=0" for key in ("stretch", "shear", "tilt", "finger", "bone", "noise")),
    *EXACT,
)  # fmt: skip


def finished(folder: Path, *overrides: str) -> Result:
    config = compose_config([*overrides, f"runs_dir={folder}"])
    run_experiment(config, folder / "run", evaluate="scores")
    result = Result.read(folder / "run")
    assert result is not None
    return result


def data_of(*overrides: str) -> LetterData:
    config = compose_config(overrides)
    return load_letters(
        config.data, image_size=32, interpolation="bilinear", seed=0, hand=config.hand
    )


@pytest.fixture
def joint_file(tiny: tuple[str, ...], tmp_path: Path) -> Path:
    """A file of joints: 40 hands of two more signers, shifted and enlarged."""
    split = data_of(*tiny, *EXACT, "hand=joints", "data.synthetic.seed=5").splits["train"]
    assert split.joints is not None
    table = pd.DataFrame(
        split.joints[:, :, :2].reshape(len(split), -1) * 50 + 7, columns=list(COORDINATES)
    )
    table.insert(0, "label", split.table["label"])
    table.insert(1, "source", "shared")
    table.insert(2, "group", "shared_" + split.table["group"])
    table.to_csv(tmp_path / "joints.csv.gz", index=False)
    return tmp_path / "joints.csv.gz"


def test_joints_alone_are_enough_and_no_backbone_is_kept(
    tiny: tuple[str, ...], tmp_path: Path
) -> None:
    result = finished(tmp_path, *tiny, *JOINTS, "backbone.pretrained=true")  # there are no such
    # the three letters' joints differ so much that any right code finds them; chance is 0.33
    assert result.metrics["test/accuracy"] > 0.8
    assert result.metrics[f"test/{names.HANDS_FOUND}"] == 1.0
    kept = load_kept_model(tmp_path / "run" / result.checkpoints["scratch"])
    tensors = kept.model.state_dict()
    assert {name.split(".")[0] for name in tensors} == {"head", "joints", "mean", "std"}
    assert not torch.equal(tensors["joints.deviation"], torch.ones(len(tensors["joints.mean"])))


def test_equal_seeds_give_equal_bits(tiny: tuple[str, ...], tmp_path: Path) -> None:
    one, other = (finished(tmp_path / name, *tiny, *JOINTS).metrics for name in ("a", "b"))
    speed = names.IMAGES_PER_SECOND
    assert {**one, speed: 0} == {**other, speed: 0}


def test_joints_without_images_are_trained_on_and_never_split(
    tiny: tuple[str, ...], joint_file: Path
) -> None:
    given = f"data.joints=[{joint_file}]"
    without, beside = (data_of(*tiny, *JOINTS, *more) for more in ((), (given,)))
    assert len(beside.splits["train"]) == 2 * len(without.splits["train"])
    for name in ("val", "test", "external/synthetic_external"):
        assert beside.splits[name].table.equals(without.splits[name].table)
    added = beside.splits["train"].table.iloc[len(without.splits["train"]) :]
    assert set(added["source"]) == {"shared"}
    assert all(group.startswith("shared_signer") for group in added["group"])
    assert beside.digest != without.digest


def test_joints_do_not_depend_on_where_they_were_and_in_what_unit(
    tiny: tuple[str, ...], joint_file: Path
) -> None:
    there = data_of(*tiny, *EXACT, "hand=joints", "data.synthetic.seed=5").splits["train"].joints
    read = data_of(*tiny, *JOINTS, f"data.joints=[{joint_file}]").splits["train"].joints
    assert there is not None
    assert read is not None
    np.testing.assert_allclose(read[len(there) :, :, :2], there[:, :, :2], atol=1e-4)
    assert np.isnan(read[len(there) :, :, 2]).all(), "no depth is known"


def test_both_on_stored_features_are_both_on_images(
    tiny: tuple[str, ...], joint_file: Path, tmp_path: Path
) -> None:
    stored, images = (
        finished(
            tmp_path / how, *tiny, *BOTH, f"data.joints=[{joint_file}]",
            f"schedule.transfer.features={how}",
        )
        for how in ("always", "never")
    )  # fmt: skip
    for name in (names.TRAIN_LOSS, names.VAL_LOSS, "test/accuracy"):
        assert stored.metrics[name] == pytest.approx(images.metrics[name], abs=1e-4), name
        assert math.isfinite(stored.metrics[name])


def test_the_frozen_backbone_holds_still_while_the_joints_train(
    tiny: tuple[str, ...], tmp_path: Path
) -> None:
    result = finished(tmp_path, *tiny, *BOTH)
    transfer, finetune = (
        load_kept_model(tmp_path / "run" / result.checkpoints[phase]).model.state_dict()
        for phase in ("transfer", "finetune")
    )
    moved = {name.split(".")[0] for name in transfer if not transfer[name].equal(finetune[name])}
    assert moved == {"backbone", "head", "joints"}


def test_a_class_whose_hands_are_never_found_is_named(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_hands(monkeypatch, of="B")
    with pytest.raises(DataError, match=r"in no training image of B a hand was found"):
        data_of(*tiny, *JOINTS)


def test_several_looks_at_a_hand_are_answered_together(
    tiny: tuple[str, ...], joint_file: Path, tmp_path: Path
) -> None:
    asked = (*tiny, *JOINTS, "hand.look_again=true", f"data.joints=[{joint_file}]")
    joints = data_of(*asked).splits["train"].joints
    assert joints is not None
    assert joints.shape[1] == 5 * 21
    result = finished(tmp_path, *asked, "data.drawn_signers=2")
    assert result.metrics["test/accuracy"] > 0.8
    network = load_kept_model(tmp_path / "run" / result.checkpoints["scratch"]).model.eval()
    pixels = torch.zeros(2, 3, 32, 32)
    looks = [torch.from_numpy(joints[place : place + 2, :21]) for place in range(5)]
    with torch.inference_mode():
        each = torch.stack([network(pixels, one).softmax(1) for one in looks])
        together = network(pixels, torch.cat(looks, 1)).softmax(1)
    torch.testing.assert_close(together, each.mean(0))


def test_no_hand_counts_as_wrong(
    tiny: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_hands(monkeypatch, of="A", every=2)
    other = "data.synthetic.seed=9"  # data that no other test has, which this process would share
    result = finished(tmp_path, *tiny, *JOINTS, "schedule.scratch.epochs=8", other)
    # a third of the images are A, and half of those have no hand
    assert result.metrics["test/hands_found"] == pytest.approx(5 / 6)
    assert result.metrics["test/accuracy"] <= 5 / 6
    assert result.metrics["val/accuracy"] <= 5 / 6


def test_folds_are_scored_together_and_each_is_a_run(
    tiny: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pooled: list[AnsweredSet] = []

    def kept(folder: Path, answered: AnsweredSet) -> Evaluation:
        pooled.append(answered)
        return write_evaluation(folder, answered)

    monkeypatch.setattr("asl_exp.training.folds.write_evaluation", kept)
    overrides = [o for o in (*tiny, *JOINTS) if o != "tracking=off"]
    config = compose_config([*overrides, "data.folds=2", f"runs_dir={tmp_path}"])
    accuracy = run_folds(config, tmp_path / "all")
    told = json.loads((tmp_path / "all" / "folds.json").read_text())
    (answered,) = pooled
    assert answered.gather(np.arange(3)).std() > 20, "its figures show the images"
    assert set(told["folds"]) == {"1", "2"}
    assert told["images"] == 4 * 3 * 4, "every image is tested on once"
    assert accuracy == told["scores"]["folds/accuracy"] > 0.8
    assert told["scores"][f"folds/{names.HANDS_FOUND}"] == 1.0
    predictions = pd.read_parquet(tmp_path / "all/evaluation/folds/predictions.parquet")
    assert predictions["path"].is_unique
    assert verify(tmp_path / "all/evaluation/certificate.json") == []
    client = open_store(tmp_path)
    of_folds = [Result.read(tmp_path / "all" / name).mlflow_run_id for name in "12"]
    parents = {client.get_run(i).data.tags[MLFLOW_PARENT_RUN_ID] for i in of_folds}
    (parent,) = parents
    assert client.get_run(parent).data.metrics["folds/accuracy"] == accuracy


def test_people_of_whom_only_joints_are_known_are_folds(
    tiny: tuple[str, ...], joint_file: Path, tmp_path: Path
) -> None:
    rows, other = pd.read_csv(joint_file), tmp_path / "other.csv"
    rows.iloc[:12].assign(source="third").to_csv(other, index=False)
    asked = (*tiny, *JOINTS, f"data.joints=[{joint_file},{other}]", "data.folds=joints")

    splits = data_of(*asked, "data.fold=third").splits
    images = data_of(*tiny, *JOINTS).splits
    drawn = sum(len(images[name]) for name in ("train", "val", "test"))
    assert len(splits["test"]) == 12
    assert set(splits["test"].table["source"]) == {"third"}
    assert "third" not in set(splits["train"].table["source"])
    n_joints = len(splits["train"]) + len(splits["val"]) - drawn
    assert n_joints == len(rows), "all photos and all other people's joints are trained on"

    run_folds(compose_config([*asked, f"runs_dir={tmp_path}"]), tmp_path / "all")
    told = json.loads((tmp_path / "all" / "folds.json").read_text())
    assert list(told["folds"]) == ["shared", "third"]
    assert told["images"] == len(rows) + 12
    assert told["scores"]["folds/accuracy"] > 0.8
    predictions = pd.read_parquet(tmp_path / "all/evaluation/folds/predictions.parquet")
    assert predictions["path"].is_unique
    assert set(predictions["source"]) == {"shared", "third"}
    assert verify(tmp_path / "all/evaluation/certificate.json") == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), "data.joints names no file"),
        (("hand=both", "data.joints=[FILE]"), "choose hand=joints"),
        (("data.joints=[FILE]",), "all rows of data.joints are of one source: shared"),
        (("data.joints=[FILE,FILE2]", "data.fold=thrid"), "no fold 'thrid'.*'third'"),
    ],
)
def test_folds_of_joints_that_cannot_be_are_refused(
    given: tuple[str, ...], said: str, tiny: tuple[str, ...], joint_file: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.csv"
    pd.read_csv(joint_file).assign(source="third").to_csv(other, index=False)
    files = [one.replace("FILE2", str(other)).replace("FILE", str(joint_file)) for one in given]
    with pytest.raises(UserError, match=said):
        data_of(*tiny, *JOINTS, "data.folds=joints", *files)


def test_a_person_with_images_is_no_fold_of_joints(
    tiny: tuple[str, ...], joint_file: Path, tmp_path: Path
) -> None:
    source = data_of(*tiny, *JOINTS).splits["train"].table["source"].iloc[0]
    other = tmp_path / "other.csv"
    pd.read_csv(joint_file).assign(source=source).to_csv(other, index=False)
    asked = (*tiny, *JOINTS, f"data.joints=[{joint_file},{other}]", "data.folds=joints")
    with pytest.raises(DataError, match=f"of {source} there are images as well"):
        data_of(*asked, f"data.fold={source}")
    assert len(data_of(*asked, "data.fold=shared").splits["test"])


def test_heads_that_are_trained_anew_count_no_drawn_signers(
    tiny: tuple[str, ...], tmp_path: Path
) -> None:
    drawn = ("data.drawn_signers=2", "data.detected_signers=1")
    finished(tmp_path, *tiny, *JOINTS, "schedule.scratch.epochs=1", *drawn)
    whole, people = (
        set(kept_features(tmp_path / "run", frozen=frozen).of["train"].table["group"])
        for frozen in (False, True)
    )
    assert whole - people == {"drawn_0001", "drawn_0002", "detected_0001"}


def test_what_must_stand_beside_a_folds_score_stands_beside_all() -> None:
    cautions: tuple[dict[str, str], ...] = ({}, {"test": "may leak"}, {"test": "may leak"})
    assert _caution(Result(name="fold", signature="", cautions=each) for each in cautions) == (
        "may leak"
    )


def test_the_mean_of_the_weights_is_kept_and_is_another_than_the_weights(
    tiny: tuple[str, ...], tmp_path: Path
) -> None:
    plain, mean = (
        finished(tmp_path / name, *tiny, *JOINTS, *more)
        for name, more in (("plain", ()), ("mean", ("regularization.weight_mean=0.9",)))
    )
    assert plain.metrics["train/loss"] == mean.metrics["train/loss"], "training is the same"
    assert plain.metrics["val/loss"] != mean.metrics["val/loss"]
    kept = [
        load_kept_model(tmp_path / name / "run" / plain.checkpoints["scratch"]).model.state_dict()
        for name in ("plain", "mean")
    ]
    assert any(not torch.equal(kept[0][name], kept[1][name]) for name in kept[0])


class Stop:
    """Interrupts the run after an epoch, as Ctrl-C would."""

    tags: dict[str, str] = {}
    features_gb = None

    def __init__(self, after: int) -> None:
        self.after = after

    def after_epoch(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        if epoch == self.after:
            raise Interrupted(130)
        return False


def test_a_run_with_mean_weights_and_balance_goes_on_to_the_bit(
    tiny: tuple[str, ...], joint_file: Path, tmp_path: Path
) -> None:
    overrides = [
        *tiny, *JOINTS, "regularization.weight_mean=0.9", "data.balance=source",
        "data.balance_at_most=5", f"data.joints=[{joint_file}]", "regularization.dropout=0.2",
    ]  # fmt: skip
    whole = finished(tmp_path / "whole", *overrides)
    folder = tmp_path / "parts"
    config = compose_config([*overrides, f"runs_dir={folder}"])
    with pytest.raises(Interrupted):
        run_experiment(config, folder / "run", evaluate="scores", observer=Stop(after=1))
    again = compose_config([*overrides, f"runs_dir={folder}", f"resume={folder / 'run'}"])
    run_experiment(again, folder / "other", evaluate="scores")
    parts = Result.read(folder / "run")
    assert parts is not None
    speed = {names.IMAGES_PER_SECOND: 0.0}
    assert {**parts.metrics, **speed} == {**whole.metrics, **speed}


def test_the_last_epoch_is_kept_where_that_is_asked_for(
    tiny: tuple[str, ...], tmp_path: Path
) -> None:
    result = finished(tmp_path, *tiny, *JOINTS, "schedule.scratch.keep=last", "lr.transfer=1.0")
    assert result.kept_epochs == {"scratch": 3}


def lose_hands(monkeypatch: pytest.MonkeyPatch, of: str, every: int = 1) -> None:
    """Make the detector miss hands of one letter."""
    from asl_exp.data import dataset

    find = dataset.hands_of

    def miss(manifest, *a):  # type: ignore[no-untyped-def]
        hands, unreadable = find(manifest, *a)
        rows = np.flatnonzero(manifest.table["label"] == of)[::every]
        hands.joints[rows] = np.nan
        return hands, unreadable

    monkeypatch.setattr(dataset, "hands_of", miss)


def test_joints_without_images_are_an_external_set(
    tiny: tuple[str, ...], joint_file: Path, tmp_path: Path
) -> None:
    """Scored like any other; a file that is trained on as well is not trained on."""
    data = data_of(*tiny, *JOINTS, f"data.external=[{joint_file}]", f"data.joints=[{joint_file}]")
    alone = data_of(*tiny, *JOINTS, "data.external=[]")
    assert data.splits["train"].table.equals(alone.splits["train"].table)
    outside = data.splits["external/joints"]
    assert len(outside) == len(pd.read_csv(joint_file))
    assert set(outside.table["source"]) == {"shared"}
    assert outside.table["path"].is_unique
    pictures = outside.gather(np.arange(2))
    assert pictures.shape == (2, 32, 32, 3)
    assert pictures.std() > 5, "figures show the drawn hand"
    result = finished(tmp_path, *tiny, *JOINTS, f"data.external=[{joint_file}]")
    assert result.metrics["external/joints/accuracy"] > 0.8
    with pytest.raises(DataError, match=r"has joints and no images, .* choose hand=joints"):
        data_of(*tiny, f"data.external=[{joint_file}]")


def test_nobody_who_is_tested_is_trained_on_by_their_joints(
    tiny: tuple[str, ...], joint_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tested = data_of(*tiny, *JOINTS).splits["test"].table[["source", "group"]].iloc[0]
    rows = pd.read_csv(joint_file)
    rows.loc[:5, ["source", "group"]] = tested.tolist()
    rows.to_csv(joint_file, index=False)
    train = data_of(*tiny, *JOINTS, f"data.joints=[{joint_file}]").splits["train"]
    assert (train.rows < 0).sum() == len(rows) - 6
    assert "6 rows are of people of val, test or external sets" in capsys.readouterr().err

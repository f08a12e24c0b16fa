"""The price of copies and the worth of more people, on features whose answers are known."""

import numpy as np
import pandas as pd
import pytest

from asl_exp.config.errors import UserError
from asl_exp.evaluation.leak_price import leak_price
from asl_exp.evaluation.linear_head import Labelled
from asl_exp.evaluation.more_people import MORE, people_curves

CLASSES = tuple("ABCD")


def people(n_signers: int, n_each: int, seed: int, spread: float) -> Labelled:
    """Make images whose classes are told apart by 4 numbers that differ between signers."""
    generator = np.random.default_rng(seed)
    centres = 3 * np.eye(len(CLASSES), 12)
    rows, labels, groups = [], [], []
    for signer in range(n_signers):
        own = centres + spread * generator.normal(size=centres.shape)
        for label in np.repeat(range(len(CLASSES)), n_each):
            rows.append(own[label] + generator.normal(size=12))
            labels.append(label)
            groups.append(f"{seed}-{signer}")
    table = pd.DataFrame({"group": groups, "source": "made", "path": ""})
    return Labelled(np.array(rows, np.float32), np.array(labels), table)


def test_copies_of_test_images_are_priced_and_other_images_are_not() -> None:
    train, test = people(6, 4, seed=1, spread=2.0), people(6, 4, seed=2, spread=2.0)
    nothing = leak_price(train, test, np.empty((0, 2), np.int64), CLASSES)
    assert nothing.points == 0
    assert "no point of the score" in nothing.sentence()

    copies = np.arange(0, len(test), 2)
    leaked = Labelled(
        np.concatenate([train.features, test.features[copies]]),
        np.concatenate([train.labels, test.labels[copies]]),
        pd.concat([train.table, test.table.iloc[copies]], ignore_index=True),
    )
    pairs = np.stack([len(train) + np.arange(len(copies)), copies], axis=1)
    found = leak_price(leaked, test, pairs, CLASSES)
    assert (found.n_removed, found.n_copied) == (len(copies), len(copies))
    assert found.accuracy > found.without
    assert found.points > 3
    assert found.interval is not None
    assert found.interval[0] > 0
    assert found.without == pytest.approx(leak_price(train, test, pairs[:0], CLASSES).accuracy)

    unrelated = np.stack([np.arange(len(copies)), copies], axis=1)
    harmless = leak_price(train, test, unrelated, CLASSES)
    assert harmless.interval is not None
    assert abs(harmless.points) < found.points

    alone = leak_price(train, train, np.array([[0, 0]]), CLASSES)
    assert "1 of 96 test images has a near-duplicate" in alone.sentence()
    assert "without this 1 of 96" in alone.sentence()
    assert "no interval: not one answer changed" in alone.sentence()
    low, high = alone.intervals["accuracy"] or (0, 0)
    assert low < alone.accuracy < high
    assert f"instead of {alone.accuracy:.3f} ({low:.2f} to {high:.2f})," in alone.sentence()


def test_more_people_are_worth_what_more_people_bring() -> None:
    train, test = people(12, 2, seed=1, spread=2.0), people(10, 4, seed=3, spread=2.0)
    (curve,) = people_curves(train, {"test": test})
    assert (curve.unit, curve.sizes[-1]) == ("signer", 12)
    assert curve.accuracy[-1] > curve.accuracy[0] + 0.1
    assert curve.gain >= 0
    assert curve.gain_interval is not None
    assert curve.gain_interval[0] <= curve.gain <= curve.gain_interval[1]
    assert f"{MORE} more signers are worth" in curve.sentence()
    low, high = curve.known_interval or (0, 0)
    assert low < curve.accuracy[-1] < high
    told = f"gets {curve.accuracy[-1]:.3f}, 95 % {low:.2f} to {high:.2f}, with the 12 of training"
    assert told in curve.sentence()
    (larger,) = people_curves(people(20, 2, seed=1, spread=2.0), {"test": test})
    reached = float(larger.accuracy[-1] - curve.accuracy[-1])
    assert curve.gain_interval[0] - 0.05 <= reached <= curve.gain_interval[1] + 0.05


def test_too_few_people_are_refused() -> None:
    few = people(3, 2, seed=0, spread=1.0)
    with pytest.raises(UserError, match="are of 3 signers; a learning curve over them needs"):
        people_curves(few, {"test": few})

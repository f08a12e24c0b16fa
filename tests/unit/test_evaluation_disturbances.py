"""Disturbed pictures: the same every time, stronger at higher strengths, joints that move along."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from asl_exp.evaluation.disturbances import DISTURBANCES, Shown, disturbed
from asl_exp.evaluation.model_card import with_robustness
from asl_exp.evaluation.robustness import Robustness, scored_row
from asl_exp.serving.robustness import show

SIDE = 96


@pytest.fixture(scope="module")
def shown() -> Shown:
    """A hand of dots: each joint is a bright spot on a dark ground."""
    generator = np.random.default_rng(0)
    joints = generator.uniform(0.3, 0.7, (21, 2)) * SIDE
    rows, columns = np.mgrid[:SIDE, :SIDE]
    pixels = np.full((SIDE, SIDE, 3), 40.0)
    for x, y in joints:
        pixels += 180 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 12)[..., None]
    return Shown(pixels.clip(0, 255).astype(np.uint8), joints)


@pytest.mark.parametrize("name", DISTURBANCES)
def test_a_disturbance_is_the_same_every_time_and_grows(name: str, shown: Shown) -> None:
    pictures = [disturbed(shown, name, strength, seed=3).pixels for strength in range(3)]
    again = disturbed(shown, name, 1, seed=3).pixels
    assert np.array_equal(again, pictures[1])
    assert all(one.shape == shown.pixels.shape and one.dtype == np.uint8 for one in pictures)
    apart = [np.abs(one.astype(float) - shown.pixels).mean() for one in pictures]
    assert 0 < apart[0] < apart[2]


@pytest.mark.parametrize("name", ["rotation", "smaller"])
@pytest.mark.parametrize("strength", [0, 1, 2])
def test_joints_move_with_the_picture(name: str, strength: int, shown: Shown) -> None:
    moved = disturbed(shown, name, strength, seed=0)
    assert moved.joints is not None
    columns, rows = moved.joints.round().astype(int).T
    assert moved.pixels[rows, columns].min() > 90  # the ground is 40
    assert not np.allclose(moved.joints, shown.joints)


def test_the_hand_stays_before_another_background(shown: Shown) -> None:
    changed = disturbed(shown, "background", 2, seed=0)
    columns, rows = shown.joints.round().astype(int).T
    before, after = (one.pixels[rows, columns].astype(int) for one in (shown, changed))
    assert np.abs(before - after).max() <= 12
    assert np.abs(changed.pixels[:10].astype(int) - shown.pixels[:10]).mean() > 10


def test_the_table_says_the_undisturbed_score_with_its_interval(
    capsys: pytest.CaptureFixture[str],
) -> None:
    signers = [f"signer_{row // 5}" for row in range(40)]
    table = pd.DataFrame({"label": ["A"] * 40, "group": signers})
    answers = np.array([*"AAAB"] * 10, dtype=object)
    rows = [scored_row(place, answers, answers, table) for place in (("none", 0), ("blur", 1))]
    found = {"test": Robustness("test", 40, rows, {})}
    show(found, Path("runs/one/evaluation/robustness"))
    low, high = rows[0].accuracy_interval or (0.0, 0.0)
    assert f"accuracy 0.750 ({low:.2f} to {high:.2f})" in capsys.readouterr().out
    card = with_robustness("# Model\n\n## Data\n\nphotos\n", found)
    assert "| test | blur | 0.750 | 0.000 |\n\n## Data\n\nphotos\n" in card
    assert with_robustness(card, found) == card, "said once"

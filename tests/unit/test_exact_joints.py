"""Joints of drawn hands: whose they are, that letters can be told, and that real hands can."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier

from asl_exp.data.hands.features import joint_features
from asl_exp.data.hands.joint_rows import read_joint_rows
from asl_exp.data.renderer.exact_joints import ExactJoints, exact_joints
from asl_exp.data.renderer.letters import LETTERS, POSES
from asl_exp.data.renderer.styles import Spread, in_a_style, varied

ALPHABET = [*"ABCDEFGHIJKLMNOPQRSTUVWXYZ"]


@pytest.fixture(scope="module")
def drawn() -> ExactJoints:
    return exact_joints(ALPHABET, 60, seed=0)


def numbers(joints: NDArray[np.float32]) -> NDArray[np.float32]:
    return joint_features(torch.from_numpy(joints)).numpy()


def test_one_hand_of_each_letter_from_each_signer(drawn: ExactJoints) -> None:
    assert drawn.joints.shape == (60 * 26, 21, 3)
    assert drawn.joints.dtype == np.float32
    assert drawn.labels == ALPHABET * 60
    assert drawn.signers.tolist() == [s for s in range(1, 61) for _ in ALPHABET]
    assert np.isfinite(drawn.joints).all()
    assert np.abs(drawn.joints[:, 0]).max() == 0  # the wrist is the origin
    reach = np.linalg.norm(drawn.joints, axis=2).max(1)
    assert reach.min() > 7  # centimetres, of a fist
    assert reach.max() < 35


def test_a_hand_does_not_depend_on_what_else_is_asked_for(drawn: ExactJoints) -> None:
    fewer = exact_joints(["Q", "B"], 2, seed=0)
    q, b = ALPHABET.index("Q"), ALPHABET.index("B")
    assert np.array_equal(fewer.joints, drawn.joints[[q, b, 26 + q, 26 + b]])
    other = exact_joints(["Q", "B"], 2, seed=1)
    assert not np.allclose(other.joints, fewer.joints)


def test_both_hands_are_there(drawn: ExactJoints) -> None:
    upright = drawn.joints[[letter == "B" for letter in drawn.labels]]
    thumb_to_the_right = upright[:, 5, 0] > upright[:, 17, 0]
    assert 0.4 < thumb_to_the_right.mean() < 0.9


def test_what_tells_letters_apart_is_kept_in_every_style() -> None:
    fingers = {"U": 2, "V": 2, "B": 4, "W": 3, "A": 0, "S": 0, "E": 0, "I": 0, "L": 1, "D": 1}
    for letter, n_straight in fingers.items():
        for seed in range(40):
            pose = in_a_style(letter, np.random.default_rng(seed))
            straight = [finger.pip < 30 for finger in pose.fingers[:3]]
            assert straight == [i < n_straight for i in range(3)]
    for seed in range(40):
        crossed, apart = (in_a_style(x, np.random.default_rng(seed)).fingers for x in "RV")
        assert crossed[0].abduction < 0 < crossed[1].abduction
        assert apart[0].abduction > 0 > apart[1].abduction


def test_no_finger_bends_backwards_at_its_middle() -> None:
    for letter in ALPHABET:
        for seed in range(20):
            rng = np.random.default_rng(seed)
            pose = varied(in_a_style(letter, rng), Spread().times(3.0), rng)
            assert min(min(f.pip, f.dip) for f in pose.fingers) >= 0


def test_no_spread_leaves_the_pose() -> None:
    pose = POSES["K"]
    still = varied(pose, Spread().times(0.0), np.random.default_rng(0))
    assert np.allclose([*vars(still.thumb).values()], [*vars(pose.thumb).values()])
    assert [round(f.mcp, 5) for f in still.fingers] == [f.mcp for f in pose.fingers]
    assert (still.yaw, still.pitch, still.roll) == (pose.yaw, pose.pitch, pose.roll)


@pytest.mark.parametrize(
    ("classes", "n_signers", "seed", "word"),
    [(["A", "Ä"], 3, 0, "Ä"), (["A"], 0, 0, "n_signers 0"), (["A"], 1, -1, "seed -1")],
)
def test_what_cannot_be_drawn_is_refused(
    classes: list[str], n_signers: int, seed: int, word: str
) -> None:
    with pytest.raises(ValueError, match=word):
        exact_joints(classes, n_signers, seed)


def test_nothing_has_no_hand_and_control_signs_have() -> None:
    drawn = exact_joints(LETTERS, 1, seed=0)
    assert len(drawn.joints) == len(LETTERS) - 1
    assert {"del", "space"} < set(drawn.labels)
    assert len(exact_joints(["nothing"], 2, seed=0).joints) == 0


def test_letters_of_unseen_drawn_signers_are_told_apart(drawn: ExactJoints) -> None:
    known = drawn.signers <= 40
    labels = np.array(drawn.labels)
    trees = ExtraTreesClassifier(60, max_features=25, random_state=0)
    trees.fit(numbers(drawn.joints[known]), labels[known])
    # Seen 0.86; by chance 0.04. Styles overlap: J begins as I, Z may look like D.
    assert trees.score(numbers(drawn.joints[~known]), labels[~known]) > 0.8


def test_real_people_are_recognised_without_one_real_hand_in_training(
    drawn: ExactJoints, joints_file: Path
) -> None:
    plane = drawn.joints[..., :2]
    both = np.concatenate([plane, plane * np.array([-1, 1], np.float32)])
    trees = ExtraTreesClassifier(60, max_features=25, random_state=0)
    trees.fit(numbers(both), drawn.labels * 2)
    rows = read_joint_rows(str(joints_file), ALPHABET)
    some = rows.take(np.arange(0, len(rows), 20))
    # Seen 0.76 of 18 people; by chance 0.04.
    assert trees.score(numbers(some.joints), some.table["label"]) > 0.7

"""Joints as a network sees them, and the true joints of the embedded signer."""

import numpy as np
import pytest
import torch

from asl_exp.config.compose import compose_config
from asl_exp.config.schema import HandConfig, SyntheticConfig
from asl_exp.data.hands.augment_joints import JointAugmentation
from asl_exp.data.hands.found import SIDE, rendered_hands
from asl_exp.data.hands.hand import answers_without_hand, in_squares
from asl_exp.data.sources.synthetic import draw, list_synthetic
from asl_exp.model.joint_network import JointNetwork, mirrored


def some_joints(n: int = 5) -> np.ndarray:
    return np.random.default_rng(0).uniform(20, 90, (n, 21, 3)).astype(np.float32)


def test_a_square_has_the_margin_on_the_longer_side() -> None:
    shares = in_squares(some_joints(), margin=0.25)
    spans = np.ptp(shares[:, :, :2], axis=1).max(1)
    np.testing.assert_allclose(spans, 1 / 1.5, atol=1e-5)
    middles = (shares[:, :, :2].max(1) + shares[:, :, :2].min(1)) / 2
    np.testing.assert_allclose(middles, 0.5, atol=1e-5)


def test_place_and_size_in_the_image_do_not_matter() -> None:
    joints = some_joints()
    moved = joints * 3 + np.array([100, -40, 0], np.float32)
    np.testing.assert_allclose(in_squares(moved, 0.1), in_squares(joints, 0.1), atol=1e-4)


def test_no_hand_stays_no_hand() -> None:
    joints = some_joints()
    joints[2] = np.nan
    shares = in_squares(joints, 0.25)
    assert np.isnan(shares[2]).all()
    assert np.isfinite(np.delete(shares, 2, 0)).all()


@pytest.mark.parametrize(
    ("mode", "classes", "answers"),
    [("joints", "AB", False), ("crop", "AB", True), ("both", "AB", True)],
)
def test_who_answers_without_a_hand(mode: str, classes: str, answers: bool) -> None:
    hand = compose_config([f"hand={mode}"]).hand
    assert answers_without_hand(hand, tuple(classes)) is answers
    assert answers_without_hand(hand, (*classes, "nothing"))


def test_true_joints_lie_on_the_drawn_hand() -> None:
    """At the joints the image differs from one of the same signer and room without a hand."""
    rows = list_synthetic(SyntheticConfig(signers=4), ("B", "nothing"), external=False)
    signer = rows[rows["group"] == "signer01"]
    hand, empty = (signer[signer["label"] == name]["path"].iloc[0] for name in ("B", "nothing"))
    shown, room = (draw(path, 128).astype(float) for path in (hand, empty))
    hands = rendered_hands([hand, empty])
    assert hands.found.tolist() == [True, False]
    x, y = (hands.joints[0, :, :2] * 128 / SIDE).round().astype(int).clip(0, 127).T
    changed = np.abs(shown - room).sum(2)
    assert np.median(changed[y, x]) > 3 * np.median(changed)


@pytest.fixture
def network() -> JointNetwork:
    torch.manual_seed(0)
    made = JointNetwork(HandConfig()).eval()
    made.fit_scale(torch.from_numpy(in_squares(some_joints(50), 0.25)))
    return made


def test_the_network_does_not_see_where_and_how_large_a_hand_is(network: JointNetwork) -> None:
    joints = torch.from_numpy(some_joints())
    moved = joints * 2 + torch.tensor([30.0, 10.0, 0.0])
    torch.testing.assert_close(network(moved), network(joints), atol=1e-3, rtol=1e-3)


def test_without_a_hand_the_network_gives_zeros_and_learns_nothing(network: JointNetwork) -> None:
    joints = torch.full((2, 21, 3), torch.nan)
    vectors = network(joints)
    assert torch.equal(vectors, torch.zeros(2, network.width))
    vectors.sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in network.parameters())


def test_the_scale_is_that_of_hands_and_their_mirror_images(network: JointNetwork) -> None:
    joints = torch.from_numpy(in_squares(some_joints(50), 0.25))
    other = JointNetwork(HandConfig())
    other.fit_scale(torch.cat([mirrored(joints), torch.full((3, 21, 3), torch.nan)]))
    torch.testing.assert_close(other.mean, network.mean)
    torch.testing.assert_close(other.deviation, network.deviation)


def test_joints_are_changed_by_their_seed_alone() -> None:
    config = compose_config(["augmentation=strong", "hand=joints"])
    change = JointAugmentation(config.augmentation, config.hand.variation)
    joints = torch.from_numpy(in_squares(some_joints(), 0.25))
    before = joints.clone()
    assert torch.equal(change(joints, seed=3), change(joints, seed=3))
    assert not torch.equal(change(joints, seed=3), change(joints, seed=4))
    assert torch.equal(joints, before), "left as they were"


def test_nothing_is_changed_where_all_is_zero() -> None:
    off = [f"hand.variation.{k}=0" for k in ("stretch", "shear", "tilt", "finger", "bone", "noise")]
    config = compose_config(["augmentation=none", "hand=joints", *off])
    change = JointAugmentation(config.augmentation, config.hand.variation)
    joints = torch.from_numpy(in_squares(some_joints(), 0.25))
    assert torch.equal(change(joints, seed=3), joints)

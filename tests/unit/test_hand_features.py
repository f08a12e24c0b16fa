"""The joints' numbers: what changes them and what must not, and the changes of augmentation."""

import math

import pytest
import torch
from torch import Tensor

from asl_exp.data.hands.features import BLOCKS, N_FEATURES, block, joint_features
from asl_exp.data.hands.hand import FINGERS

TURNED_AWAY = ("distance", "bend", "order", "side", "thumb", "shape")
MIRRORED_AWAY = ("distance", "order", "side", "thumb")


@pytest.fixture
def hands() -> Tensor:
    """Five hands: a fan of fingers from the wrist, each joint somewhat off."""
    noise = torch.Generator().manual_seed(3)
    joints = torch.zeros(5, 21, 2)
    for finger, chain in enumerate(FINGERS):
        angle = math.radians(-150 + 30 * finger)
        for step, joint in enumerate(chain):
            reach = (2 + step) * torch.tensor([math.cos(angle), math.sin(angle)])
            joints[:, joint] = reach
    return joints + 0.4 * torch.randn(5, 21, 2, generator=noise)


def turned(joints: Tensor, degrees: float) -> Tensor:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return joints @ torch.tensor([[c, s], [-s, c]])


def mirrored(joints: Tensor) -> Tensor:
    return joints * torch.tensor([-1.0, 1.0])


def test_the_blocks_fill_the_features(hands: Tensor) -> None:
    features = joint_features(hands)
    assert features.shape == (5, N_FEATURES)
    together = torch.cat([block(features, name) for name in BLOCKS], 1)
    assert torch.equal(together, features)
    assert all(block(features, name).shape[1] == width for name, width in BLOCKS.items())


@pytest.mark.parametrize("scale", [0.01, 1.0, 900.0])
def test_shift_and_scale_change_nothing(hands: Tensor, scale: float) -> None:
    there = hands * scale + scale * torch.tensor([40.0, -7.0])
    assert torch.allclose(joint_features(there), joint_features(hands), atol=1e-4)


def test_depth_changes_nothing(hands: Tensor) -> None:
    deep = torch.cat([hands, torch.full((5, 21, 1), float("nan"))], -1)
    assert torch.equal(joint_features(deep), joint_features(hands))


@pytest.mark.parametrize("name", TURNED_AWAY)
def test_turning_leaves_the_shape(hands: Tensor, name: str) -> None:
    here, there = joint_features(hands), joint_features(turned(hands, 70))
    assert torch.allclose(block(there, name), block(here, name), atol=1e-4)


def test_turning_is_seen_in_place_and_in_the_direction_of_the_palm(hands: Tensor) -> None:
    here, there = joint_features(hands), joint_features(turned(hands, 70))
    places = block(here, "place").view(5, 21, 2)
    assert torch.allclose(block(there, "place").view(5, 21, 2), turned(places, 70), atol=1e-4)
    assert not torch.allclose(block(there, "place"), block(here, "place"), atol=0.1)
    palms = [block(features, "palm") for features in (here, there)]
    assert torch.allclose(palms[0][:, :-2], palms[1][:, :-2], atol=1e-4)
    assert torch.allclose(palms[1][:, -2:], turned(palms[0][:, -2:], 70), atol=1e-4)


@pytest.mark.parametrize("name", MIRRORED_AWAY)
def test_mirroring_leaves_lengths_and_orders(hands: Tensor, name: str) -> None:
    here, there = joint_features(hands), joint_features(mirrored(hands))
    assert torch.allclose(block(there, name), block(here, name), atol=1e-4)


def test_mirroring_turns_signs(hands: Tensor) -> None:
    here, there = joint_features(hands), joint_features(mirrored(hands))
    sines, cosines = (block(there, "bend")[:, part::2] for part in (0, 1))
    assert torch.allclose(sines, -block(here, "bend")[:, ::2], atol=1e-4)
    assert torch.allclose(cosines, block(here, "bend")[:, 1::2], atol=1e-4)
    assert torch.allclose(block(there, "shape")[:, 0], -block(here, "shape")[:, 0], atol=1e-4)
    assert torch.allclose(block(there, "shape")[:, 1], block(here, "shape")[:, 1], atol=1e-4)
    across, along = (block(there, "palm")[:, :-2][:, part::2] for part in (0, 1))
    assert torch.allclose(across, -block(here, "palm")[:, :-2][:, ::2], atol=1e-4)
    assert torch.allclose(along, block(here, "palm")[:, :-2][:, 1::2], atol=1e-4)


def test_distance_and_bend_have_the_stated_values() -> None:
    hand = torch.zeros(1, 21, 2)
    hand[0, :, 0] = torch.arange(21.0)  # all on one line: no bend but where chains turn back
    hand[0, 6] = torch.tensor([5.0, 1.0])  # the index's second bone stands upright on its first
    features = joint_features(hand)
    reach = float((hand[0, :, 0] - hand[0, [0, 5, 9, 13, 17], 0].mean()).max())
    assert float(block(features, "distance")[0, 0]) == pytest.approx(1 / reach, abs=1e-5)
    index = block(features, "bend").view(5, 3, 2)[1, 0]
    assert index.tolist() == pytest.approx([1.0, 0.0], abs=1e-5)  # a quarter turn: sine 1
    assert block(features, "bend").view(5, 3, 2)[2, 1].tolist() == pytest.approx([0, 1], abs=1e-5)


def test_crossing_fingers_change_sides(hands: Tensor) -> None:
    straight = hands[:1].clone()
    for joint, chain in ((5, (6, 7, 8)), (9, (10, 11, 12))):
        for step, further in enumerate(chain, start=1):
            straight[0, joint] = torch.tensor([-0.5 if joint == 5 else 0.5, -4.0])
            straight[0, further] = straight[0, joint] + torch.tensor([0.0, -1.5 * step])
    crossed = straight.clone()
    crossed[0, [6, 7, 8], 0] += torch.tensor([0.4, 0.8, 1.4])
    crossed[0, [10, 11, 12], 0] -= torch.tensor([0.2, 0.5, 1.0])
    for name in ("order", "side"):
        before, after = (block(joint_features(hand), name)[0, 2] for hand in (straight, crossed))
        assert float(before * after) < 0


@pytest.mark.parametrize("value", [0.0, 3.5, 1e6, float("nan"), float("inf")])
def test_degenerate_hands_give_zeros(value: float) -> None:
    assert torch.equal(joint_features(torch.full((2, 21, 3), value)), torch.zeros(2, N_FEATURES))


def test_one_missing_joint_makes_a_hand_unknown_and_no_other(hands: Tensor) -> None:
    holed = hands.clone()
    holed[2, 7, 1] = float("nan")
    features = joint_features(holed)
    assert torch.equal(features[2], torch.zeros(N_FEATURES))
    assert torch.equal(features[[0, 1, 3, 4]], joint_features(hands)[[0, 1, 3, 4]])


@pytest.mark.parametrize("coinciding", [(5, 17), (0, 9), (5, 8), (3, 4)])
def test_joints_that_coincide_give_finite_numbers(
    hands: Tensor, coinciding: tuple[int, int]
) -> None:
    first, second = coinciding
    hands[:, first] = hands[:, second]
    assert torch.isfinite(joint_features(hands)).all()

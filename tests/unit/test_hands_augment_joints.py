"""Augmentation of joints: they stay on what the pixels show, and other hands stay hands."""

import pytest
import torch
from torch import Tensor

from asl_exp.config.schema import AugmentationConfig, VariationConfig
from asl_exp.data.augment_ops import BatchRandom, flipped, homographies, warped
from asl_exp.data.hands.augment_joints import mirrored, moved, varied
from asl_exp.data.hands.hand import N_JOINTS

SIDE = 96
CHANGES = (
    {"rotation": 40.0},
    {"zoom": 0.3},
    {"shift": 0.15},
    {"perspective": 0.3},
    {"rotation": 25.0, "zoom": 0.2, "shift": 0.1, "perspective": 0.2},
)


def rng(n: int, seed: int = 1) -> BatchRandom:
    return BatchRandom(seed, n, torch.device("cpu"))


def dots(places: Tensor) -> Tensor:
    """Return images (B, 3, S, S), black but for a soft dot at places (B, 2) of 0..1."""
    pixel = (torch.arange(SIDE) + 0.5) / SIDE
    square = (pixel - places[:, :1]) ** 2, (pixel - places[:, 1:]) ** 2
    away = square[1][:, :, None] + square[0][:, None, :]
    return torch.exp(-away / 0.03**2)[:, None].expand(-1, 3, -1, -1)


def middle_of(images: Tensor) -> Tensor:
    """Return (B, 2): where the dot is."""
    weight = images.mean(1) / images.mean(1).sum((1, 2), keepdim=True)
    pixel = (torch.arange(SIDE) + 0.5) / SIDE
    return torch.stack([(weight.sum(1) * pixel).sum(1), (weight.sum(2) * pixel).sum(1)], 1)


@pytest.fixture
def places() -> Tensor:
    return torch.rand(12, 2, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.3


def joints_at(places: Tensor) -> Tensor:
    return places[:, None].expand(-1, N_JOINTS, -1)


def test_a_mirrored_joint_is_where_the_mirrored_picture_shows_it(places: Tensor) -> None:
    which = torch.arange(12) % 2 == 0
    shown = middle_of(flipped(dots(places), which))
    assert torch.allclose(mirrored(joints_at(places), which)[:, 7], shown, atol=1e-3)
    assert torch.allclose(shown[~which], places[~which], atol=1e-3)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: "+".join(change))
def test_a_moved_joint_is_where_the_warped_picture_shows_it(
    places: Tensor, change: dict[str, float]
) -> None:
    homography = homographies(AugmentationConfig(**change), rng(12))
    shown = middle_of(warped(dots(places), homography))
    assert not torch.allclose(shown, places, atol=0.02)
    assert torch.allclose(moved(joints_at(places), homography)[:, 3], shown, atol=6e-3)


@pytest.fixture
def hands() -> Tensor:
    return torch.rand(400, N_JOINTS, 3, generator=torch.Generator().manual_seed(5))


ALONE = [{name: 0.1} for name in ("stretch", "shear", "tilt", "finger", "bone", "noise", "lost")]
OFF = dict.fromkeys(("stretch", "shear", "tilt", "finger", "bone", "noise", "lost"), 0.0)


def test_no_variation_changes_nothing(hands: Tensor) -> None:
    assert torch.allclose(varied(hands, VariationConfig(**OFF), rng(400)), hands, atol=1e-5)


@pytest.mark.parametrize("change", ALONE, ids=lambda change: next(iter(change)))
def test_each_variation_changes_the_plane_of_each_hand_its_own_way(
    hands: Tensor, change: dict[str, float]
) -> None:
    same = hands[:1].expand(400, -1, -1)
    other = varied(same, VariationConfig(**{**OFF, **change}), rng(400))
    assert torch.equal(other[..., 2], same[..., 2])
    assert torch.isfinite(other).all()
    assert not torch.allclose(other[0], other[1], atol=1e-3)
    assert (other[..., :2] - same[..., :2]).abs().mean() > 1e-3


def test_a_stretched_hand_keeps_straight_lines_and_its_palm_in_place(hands: Tensor) -> None:
    other = varied(hands, VariationConfig(**{**OFF, "stretch": 0.2}), rng(400))
    palm = [0, 5, 9, 13, 17]
    assert torch.allclose(other[:, palm, :2].mean(1), hands[:, palm, :2].mean(1), atol=1e-5)
    ratio = torch.log(
        (other[:, 1, :2] - other[:, 2, :2]).abs() / (hands[:, 1, :2] - hands[:, 2, :2]).abs()
    )
    assert ratio.std(0).tolist() == pytest.approx([0.2, 0.2], abs=0.03)


def test_longer_bones_keep_their_directions(hands: Tensor) -> None:
    other = varied(hands, VariationConfig(**{**OFF, "finger": 0.1, "bone": 0.05}), rng(400))
    before = hands[:, 8, :2] - hands[:, 7, :2]
    after = other[:, 8, :2] - other[:, 7, :2]
    length = after.norm(dim=-1) / before.norm(dim=-1)
    assert torch.allclose(after, before * length[:, None], atol=1e-4)
    assert float(length.std()) == pytest.approx(0.112, abs=0.02)


def test_noise_has_the_stated_size(hands: Tensor) -> None:
    other = varied(hands, VariationConfig(**{**OFF, "noise": 0.02}), rng(400))
    palm = hands[:, [0, 5, 9, 13, 17], :2].mean(1, keepdim=True)
    reach = (hands[..., :2] - palm).norm(dim=-1).amax(1)
    off = ((other - hands)[..., :2] / reach[:, None, None]).abs().median()
    assert 0.3 * 0.02 < float(off) < 0.02


def test_a_hand_that_was_not_found_stays_so_and_the_seed_decides(hands: Tensor) -> None:
    hands[3] = float("nan")
    first, again, another = (varied(hands, VariationConfig(), rng(400, seed)) for seed in (1, 1, 2))
    assert torch.isnan(first[3]).all()
    assert torch.isfinite(first[4:]).all()
    assert torch.equal(first[4:], again[4:])
    assert not torch.equal(first[4:], another[4:])

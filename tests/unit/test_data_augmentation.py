"""Augmentation: what each change does, another for every image, decided by the seed alone."""

import numpy as np
import pytest
import torch
from made_images import detailed

from asl_exp.config.schema import AugmentationConfig
from asl_exp.data import augment_ops
from asl_exp.data.augmentation import Augmentation

SINGLE = {
    "horizontal_flip": 0.5, "rotation": 20.0, "zoom": 0.2, "shift": 0.1, "perspective": 0.3,
    "brightness": 0.3, "contrast": 0.3, "saturation": 0.5, "hue": 0.1, "blur": 0.6, "noise": 0.1,
    "erasing": 0.6, "backlight": 0.6, "background": 0.6, "mixup": 0.4, "cutmix": 1.0,
}  # fmt: skip
STRONG = {name: value for name, value in SINGLE.items() if name not in ("mixup", "cutmix")}
N_CLASSES = 5


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    pixels = np.stack([np.asarray(detailed(seed, 32)) for seed in range(12)])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


LABELS = torch.arange(200) % N_CLASSES


def augment(
    images: torch.Tensor, keys: dict[str, float], seed: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    change = Augmentation(AugmentationConfig(**keys), N_CLASSES)
    result: tuple[torch.Tensor, torch.Tensor] = change(images, LABELS[: len(images)], seed=seed)
    return result


def test_none_returns_what_it_was_given(images: torch.Tensor) -> None:
    changed, targets = augment(images, {})
    assert changed is images
    assert targets.equal(LABELS[: len(images)])


@pytest.mark.parametrize("name", list(SINGLE))
def test_each_change_does_something_within_range(images: torch.Tensor, name: str) -> None:
    before = images.clone()
    changed, _ = augment(images, {name: SINGLE[name]})
    assert changed.shape == images.shape
    assert changed.dtype == images.dtype
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= 1
    assert torch.isfinite(changed).all()
    assert not torch.equal(changed, images)
    assert torch.equal(images, before)
    assert changed.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", list(SINGLE))
def test_the_seed_alone_decides(images: torch.Tensor, name: str) -> None:
    state = torch.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()
    first, targets = augment(images, {name: SINGLE[name]}, seed=3)
    torch.rand(7)
    again, targets_again = augment(images, {name: SINGLE[name]}, seed=3)
    other, _ = augment(images, {name: SINGLE[name]}, seed=4)
    torch.set_rng_state(state)
    assert torch.equal(first, again)
    assert torch.equal(targets, targets_again)
    assert not torch.equal(first, other)
    assert np.array_equal(np.random.get_state()[1], numpy_state)


@pytest.mark.parametrize("keys", [STRONG, SINGLE], ids=["strong", "all"])
def test_global_generators_are_not_touched(images: torch.Tensor, keys: dict[str, float]) -> None:
    state = torch.get_rng_state()
    augment(images, keys)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", ["rotation", "zoom", "brightness", "contrast", "hue", "noise"])
def test_images_differ_in_what_is_done_to_them(images: torch.Tensor, name: str) -> None:
    same = images[:1].expand(6, -1, -1, -1)
    changed, _ = augment(same, {name: SINGLE[name]})
    assert len({image.numpy().tobytes() for image in changed}) == 6


def test_a_flip_is_exact_and_of_some(images: torch.Tensor) -> None:
    changed, _ = augment(images, {"horizontal_flip": 0.5})
    kept = [torch.equal(one, other) for one, other in zip(changed, images, strict=True)]
    mirrored = [
        torch.equal(one, other.flip(-1)) for one, other in zip(changed, images, strict=True)
    ]
    assert all(a != b for a, b in zip(kept, mirrored, strict=True))
    assert 2 <= sum(mirrored) <= 10


def test_a_probability_of_one_is_all(images: torch.Tensor) -> None:
    changed, _ = augment(images, {"horizontal_flip": 1.0})
    assert torch.equal(changed, images.flip(-1))


def test_rotation_turns_around_the_centre_by_its_angle() -> None:
    """A dot on the right, turned by up to 90 degrees, keeps its distance from the centre."""
    image = torch.zeros(64, 3, 33, 33)
    image[:, :, 16, 22] = 1.0  # near enough that no mirror image of it enters at a corner
    changed = augment(image, {"rotation": 90.0}, seed=0)[0][:, 0]
    y, x = torch.meshgrid(torch.arange(33.0) - 16, torch.arange(33.0) - 16, indexing="ij")
    mass = changed.sum((1, 2))
    centre = torch.stack([(changed * x).sum((1, 2)) / mass, (changed * y).sum((1, 2)) / mass], 1)
    assert centre.norm(dim=1).sub(6).abs().max() < 0.8
    angles = torch.atan2(centre[:, 1], centre[:, 0]).rad2deg()
    assert angles.abs().max() <= 91
    assert angles.min() < -45
    assert angles.max() > 45


def test_shift_moves_by_up_to_its_fraction() -> None:
    image = torch.zeros(64, 3, 40, 40)
    image[:, :, 19:21, 19:21] = 1.0
    changed = augment(image, {"shift": 0.25}, seed=0)[0][:, 0]
    x = torch.arange(40.0) - 19.5
    moved = (changed.sum(1) * x).sum(1) / changed.sum((1, 2))
    assert moved.abs().max() <= 10.5
    assert moved.max() > 7
    assert moved.min() < -7


def test_tiny_strength_is_nearly_nothing(images: torch.Tensor) -> None:
    """One thousandth of a degree and the like: the sampling grid has no offset of its own."""
    for keys in ({"rotation": 1e-3}, {"zoom": 1e-5}, {"perspective": 1e-5}, {"hue": 1e-6}):
        changed, _ = augment(images, keys)
        assert (changed - images).abs().max() < 5e-3, keys


def test_noise_has_the_strength_asked_for() -> None:
    grey = torch.full((200, 3, 16, 16), 0.5)
    changed, _ = augment(grey, {"noise": 0.1}, seed=0)
    deviations = changed.std((1, 2, 3))
    assert deviations.max() <= 0.11
    assert float(deviations.mean()) == pytest.approx(0.05, abs=0.01)  # uniform up to 0.1


def test_erasing_paints_a_rectangle_of_allowed_area(images: torch.Tensor) -> None:
    changed, _ = augment(images, {"erasing": 1.0})
    share = (changed != images).any(1).float().mean((1, 2))
    assert share.min() > 0.01
    assert share.max() < 0.25


@pytest.mark.parametrize("keys", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}])
def test_mixing_gives_soft_rows(images: torch.Tensor, keys: dict[str, float]) -> None:
    _, targets = augment(images, keys)
    assert targets.shape == (12, N_CLASSES)
    assert targets.dtype == torch.float32
    assert torch.allclose(targets.sum(1), torch.ones(12))
    assert float(targets.min()) >= 0
    assert (targets > 0).sum(1).max() == 2


@pytest.mark.parametrize("keys", [{"mixup": 1.0}, {"cutmix": 1.0}, {"mixup": 1.0, "cutmix": 1.0}])
def test_targets_are_in_proportion_to_pixels(keys: dict[str, float]) -> None:
    """Image n is of the value n / 4, so an image's mean tells whose parts it has."""
    values = torch.arange(N_CLASSES) / (N_CLASSES - 1)
    images = values[:, None, None, None].expand(-1, 3, 32, 32)
    changed, targets = augment(images, keys, seed=5)
    assert torch.allclose(changed.mean((1, 2, 3)), targets @ values, atol=1e-5)


@pytest.mark.parametrize("keys", [STRONG, SINGLE], ids=["strong", "all"])
@pytest.mark.parametrize("n_images", [0, 1, 2])
def test_small_batches(images: torch.Tensor, n_images: int, keys: dict[str, float]) -> None:
    changed, targets = augment(images[:n_images], keys)
    assert len(changed) == len(targets) == n_images


def test_oblong_images(images: torch.Tensor) -> None:
    changed, _ = augment(images[:, :, :20], SINGLE)
    assert changed.shape == (12, 3, 20, 32)


def test_a_perspective_puts_each_corner_where_it_is_told() -> None:
    points = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]).expand(5, 4, 2)
    images = points * (1 - 0.5 * torch.rand(5, 4, 2, generator=torch.Generator().manual_seed(0)))
    homography = augment_ops._perspective(points, images)
    mapped = torch.cat([points, torch.ones(5, 4, 1)], 2) @ homography.transpose(1, 2)
    assert torch.allclose(mapped[..., :2] / mapped[..., 2:], images, atol=1e-6)


def test_a_blur_spreads_a_point_by_its_own_width_and_keeps_what_there_is() -> None:
    images = torch.zeros(2, 3, 33, 33)
    images[:, :, 16, 16] = 1.0
    soft = augment_ops._gaussian(images, torch.tensor([1.0, 2.0]), reach=8)
    assert torch.allclose(soft.sum((2, 3)), torch.ones(2, 3), atol=1e-5)
    offsets = torch.arange(33.0) - 16
    variance = (soft[:, 0].sum(1) * offsets**2).sum(1)
    assert variance.sqrt().tolist() == pytest.approx([1.0, 2.0], rel=0.02)
    flat = augment_ops._gaussian(torch.ones(1, 3, 9, 9), torch.ones(1), reach=4)
    assert torch.allclose(flat, torch.ones(1, 3, 9, 9), atol=1e-5)

"""The mean over images: every image counts once, and a NaN is not lost."""

import math

import pytest
import torch

from asl_exp.training.phase_module import ImageMeans


def test_images_count_not_batches() -> None:
    means = ImageMeans(2)
    means.add(8, torch.tensor(1.0), torch.tensor(0.5))
    means.add(4, torch.tensor(4.0), torch.tensor(0.5))
    assert means.take() == [2.0, 0.5]
    means.add(1, torch.tensor(3.0), torch.tensor(7.0))
    assert means.take() == [3.0, 7.0]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_seen(bad: float) -> None:
    means = ImageMeans(1)
    for value in (1.0, bad, 1.0):
        means.add(4, torch.tensor(value))
    assert not math.isfinite(means.take()[0])

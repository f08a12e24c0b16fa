"""The mean over images: every image counts once, and a NaN is not lost."""

import math

import pytest
import torch

from asl_exp.training.mean import ImageMean


def test_images_count_not_batches() -> None:
    mean = ImageMean()
    mean.update(torch.tensor(1.0), 8)
    mean.update(torch.tensor(4.0), 4)
    assert mean.compute().item() == pytest.approx(2.0)
    mean.reset()
    mean.update(torch.tensor(3.0), 1)
    assert mean.compute().item() == 3.0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_seen(bad: float) -> None:
    mean = ImageMean()
    for value in (1.0, bad, 1.0):
        mean.update(torch.tensor(value), 4)
    assert not math.isfinite(mean.compute().item())

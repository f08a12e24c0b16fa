"""Resizing inside a network gives what Pillow gives."""

import numpy as np
import pytest
import torch
from made_images import detailed
from PIL import Image

from asl_exp.data.decode import FILTERS, Geometry, _squared
from asl_exp.model.onnx_network import PhotoInput


@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
@pytest.mark.parametrize("interpolation", list(FILTERS))
@pytest.mark.parametrize("sides", [(40, 60), (75, 50), (31, 31), (48, 48)])
def test_photos_of_any_size_are_resized_as_training_does(
    resize: str, interpolation: str, sides: tuple[int, int]
) -> None:
    geometry = Geometry(48, resize, interpolation)
    photo = detailed(3).resize(sides, Image.Resampling.BICUBIC)
    expected = np.asarray(_squared(photo, geometry)).astype(int)
    batch = torch.from_numpy(np.array(photo))[None].repeat(2, 1, 1, 1)
    given = PhotoInput(geometry)(batch)
    assert given.shape == (2, 3, 48, 48)
    levels = (given * 255).round().int().permute(0, 2, 3, 1).numpy()
    assert (levels[0] == levels[1]).all()
    difference = np.abs(levels[0] - expected)
    if interpolation == "nearest":  # a place on a boundary may fall to either side
        assert (difference > 0).mean() < 0.03
    else:  # Pillow rounds between its two passes
        assert difference.max() <= 3
        assert difference.mean() < 0.3

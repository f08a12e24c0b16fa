"""Images and folders that the tests of the data room make."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from asl_exp.config.errors import DataError
from asl_exp.config.schema import DataConfig
from asl_exp.data.sources.selection import check_source


def picture(seed: int, width: int = 40, height: int = 32) -> Image.Image:
    """Return a smooth random picture: unlike any other seed's, yet decodable from a JPEG."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def detailed(seed: int, side: int = 64) -> Image.Image:
    """Return a random picture with detail of all sizes, as photos have."""
    generator = np.random.default_rng(seed)
    layers = [
        np.asarray(
            Image.fromarray(generator.integers(0, 256, (cells, cells, 3), np.uint8)).resize(
                (side, side), Image.Resampling.BICUBIC
            ),
            float,
        )
        for cells in (4, 8, 16)
    ]
    return Image.fromarray(np.mean(layers, 0).astype(np.uint8))


def save(image: Image.Image, path: Path, **options: object) -> Path:
    """Save and return the path; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def class_folder(root: Path, classes: str = "AB", each: int = 6) -> Path:
    """Make a folder per class of unlike JPEGs."""
    for index, name in enumerate(classes):
        for number in range(each):
            save(picture(100 * index + number), root / name / f"{name}{number}.jpg")
    return root


def manifest(path: Path, lines: list[str]) -> Path:
    """Write a CSV of the lines given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def listed_in(path: Path, *lines: str, **keys: Any) -> DataConfig:
    """Write a CSV of the lines given; return the data that it lists, with a cache beside it."""
    file, cache = manifest(path, list(lines)), path.with_name("cache")
    return DataConfig(source="manifest", manifest=str(file), cache_dir=str(cache), **keys)


def refused(config: DataConfig) -> str:
    """Return why a look at folders and tables refuses the data."""
    with pytest.raises(DataError) as caught:
        check_source(config)
    return str(caught.value)

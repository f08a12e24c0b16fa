"""What data costs: decode and store against Pillow, gather and augment, memory by set size.

python benchmarks/data.py [decode] [batches] [memory] [--small]

Sides are measured in turn, in CPU seconds of one core. Images are made here; nothing is downloaded.
"""

import argparse
import io
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from measure import ROOT, Clock, Figure, in_turn, keep, ratios
from PIL import Image

ROUNDS = 5
SOURCES = ((200, 200), (640, 480), (1920, 1080))
"""The Kaggle frames, a webcam, a camera: width and height in pixels."""

TARGETS = (100, 224)
MEMORY_SIZES = (1_000, 10_000, 100_000)
SMALL_SIZES = (100, 1_000)


def photo(seed: int, width: int, height: int) -> Image.Image:
    """Return a picture with detail of all sizes: its JPEG is as large as a photo's."""
    generator = np.random.default_rng(seed)
    layers = [
        np.asarray(
            Image.fromarray(generator.integers(0, 256, (cells, cells, 3), np.uint8)).resize(
                (width, height), Image.Resampling.BICUBIC
            ),
            np.float32,
        )
        for cells in (4, 8, 16, 32)
    ]
    return Image.fromarray(np.mean(layers, 0).astype(np.uint8))


def jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def decode(folder: Path, *, small: bool) -> Iterator[Figure]:
    from asl_exp.config.schema import DataConfig
    from asl_exp.data.decode import Geometry
    from asl_exp.data.pixel_store import Store

    for width, height in SOURCES:
        n_images = 4 if small else max(20, 16_000_000 // (width * height))
        paths = []
        for number in range(n_images):
            path = folder / f"{width}_{number}.jpg"
            path.write_bytes(jpeg(photo(number, width, height)))
            paths.append(str(path))
        for size in TARGETS:
            geometry = Geometry(size, "squash", "bicubic")

            def with_pillow(size: int = size, paths: list[str] = paths) -> None:
                for path in paths:
                    with Image.open(path) as image:
                        np.asarray(image.convert("RGB").resize((size, size)))

            def with_store(geometry: Geometry = geometry, paths: list[str] = paths) -> None:
                store = Store(folder / "pixels", paths, "0" * 64, geometry)
                store.open(DataConfig(workers=1))
                store.file.bytes_file.unlink()

            works = {"Pillow": with_pillow, "store": with_store}
            seconds = in_turn(works, 1 if small else ROUNDS, Clock())
            each_ms = 1e3 * statistics.median(seconds["store"]) / n_images
            yield Figure(
                f"decode and store, JPEG of {width} x {height} to {size} px",
                "Pillow's decode and resize", ratios(seconds["Pillow"], seconds["store"]),
                goal=3.0, note=f"{each_ms:.2f} CPU ms an image",
            )  # fmt: skip


def batches(folder: Path, *, small: bool) -> Iterator[Figure]:
    import pandas as pd
    import torch

    from asl_exp.config.schema import AugmentationConfig
    from asl_exp.data.augmentation import Augmentation
    from asl_exp.data.cache_files import Description
    from asl_exp.data.decode import Geometry
    from asl_exp.data.letters import Split
    from asl_exp.data.loader import BatchLoader
    from asl_exp.data.pixel_store import StoredPixels

    torch.set_num_threads(1)
    presets = {
        "none": {},
        "paper": {"horizontal_flip": 0.5, "rotation": 20.0},
        "strong": {
            "horizontal_flip": 0.5, "rotation": 20.0, "zoom": 0.2, "shift": 0.1,
            "perspective": 0.2, "brightness": 0.3, "contrast": 0.3, "saturation": 0.3,
            "hue": 0.05, "blur": 0.2, "noise": 0.03, "erasing": 0.2, "backlight": 0.2,
            "background": 0.2,
        },
    }  # fmt: skip
    for size in TARGETS:
        n_images = 256 if small else 2_048
        file = folder / f"{size}.u8"
        pixels = [np.asarray(photo(n % 32, size, size)) for n in range(n_images)]
        file.write_bytes(b"".join(one.tobytes() for one in pixels))
        stored = StoredPixels(
            file,
            Description(file.stat().st_size, "", 0, {"unreadable": {}}),
            Geometry(size, "squash", "bicubic"),
        )
        labels = np.arange(n_images) % 29
        rows = np.arange(n_images)
        split = Split("train", labels, pd.DataFrame({"path": rows}), stored, rows)
        works = {
            "gathered": lambda split=split: [
                None for _ in BatchLoader(split, 128, shuffle=True, seed=0)
            ]
        }
        for name, keys in presets.items():
            augmentation = Augmentation(AugmentationConfig(**keys), 29)

            def epoch(split: Split = split, augmentation: Augmentation = augmentation) -> None:
                batches = BatchLoader(split, 128, shuffle=True, seed=0)
                for step, (images, targets, _) in enumerate(batches):
                    augmentation(images.float().div_(255), targets, seed=step)

            works[f"gathered, to float, augmentation={name}"] = epoch
        for name, seconds in in_turn(works, 1 if small else ROUNDS, Clock()).items():
            yield Figure(
                f"images {name}, {size} px",
                "nothing",
                [n_images / max(one, 1e-6) for one in seconds],
                "a second of a core",
            )


MEASURED_LOAD = """
import sys
from pathlib import Path
from asl_exp.config.schema import DataConfig
from asl_exp.data.dataset import load_letters
from asl_exp.data.loader import BatchLoader
config = DataConfig(source="manifest", manifest=sys.argv[1], cache_dir=sys.argv[2], workers=2)
data = load_letters(config, image_size=64, interpolation="bilinear", seed=0)
for _ in BatchLoader(data.splits["train"], 64, shuffle=True, seed=0): pass
lines = Path("/proc/self/status").read_text().splitlines()  # getrusage tells the parent's as well
print(next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")))
"""


def memory(folder: Path, *, small: bool) -> Iterator[Figure]:
    """Compare the largest memory of sets of different sizes, decoding them and stored."""
    sizes = SMALL_SIZES if small else MEMORY_SIZES
    used: dict[str, list[float]] = {"decoding": [], "stored": []}
    for n_images in sizes:
        root = folder / str(n_images)
        first = jpeg(photo(0, 96, 96))
        lines = ["path,label,group"]
        for number in range(n_images):
            name = f"{number % 29}/{number}.jpg"
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(first + number.to_bytes(4, "big"))  # after the end: other digest
            lines.append(f"{name},c{number % 29},g{number // 29 % 20}")
        manifest = root / "manifest.csv"
        manifest.write_text("\n".join(lines))
        for found in used.values():
            command = [sys.executable, "-c", MEASURED_LOAD, str(manifest), str(root / "cache")]
            done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
            found.append(float(done.stdout))
    for occasion, found in used.items():
        yield Figure(
            f"memory of {sizes[-1]:,} images and an epoch, {occasion}", f"of {sizes[0]:,} images",
            [1e3 * (found[-1] - found[0]) / (sizes[-1] - sizes[0])], "KB more an image",
            note=", ".join(f"{one:,.0f}" for one in found) + " MB in all",
        )  # fmt: skip


def main() -> None:
    parts = {"decode": decode, "batches": batches, "memory": memory}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(parts))
    parser.add_argument("--small", action="store_true")
    asked = parser.parse_args()
    figures: list[Figure] = []
    for name in asked.parts or parts:
        with tempfile.TemporaryDirectory() as folder:
            figures += parts[name](Path(folder), small=asked.small)
    keep("data", figures, {})


if __name__ == "__main__":
    main()

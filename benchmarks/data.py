"""What data costs: decode and store against Pillow, gather and augment, memory by set size.

python benchmarks/data.py [decode] [batches] [memory]

Each comparison runs side by side in one process, in CPU seconds of one core, the best of several
rounds; so it holds on a machine that does other work. Images are made here; nothing is downloaded.
"""

import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

ROUNDS = 5
SOURCES = ((200, 200), (640, 480), (1920, 1080))
"""The Kaggle frames, a webcam, a camera: width and height in pixels."""

TARGETS = (100, 224)
MEMORY_SIZES = (1_000, 10_000, 100_000)


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


def cpu_s(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def fastest(works: list[Callable[[], object]]) -> list[float]:
    """Return the least CPU seconds of each, the rounds taken in turn."""
    rounds = [[cpu_s(work) for work in works] for _ in range(ROUNDS)]
    return [min(times) for times in zip(*rounds, strict=True)]


def benchmark_decode(folder: Path) -> None:
    from asl_exp.data.pixels import Geometry
    from asl_exp.data.store import Store

    print("decode and store, against Pillow's decode and resize; ms an image, one core")
    for width, height in SOURCES:
        n_images = max(20, 16_000_000 // (width * height))
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
                store.open(max_megapixels=100, workers=1, limit_gb=10)
                store.pixels_file.unlink()

            pillow_s, store_s = fastest([with_pillow, with_store])
            print(
                f"  {width}x{height} to {size}: Pillow {1e3 * pillow_s / n_images:.3f}, "
                f"store {1e3 * store_s / n_images:.3f}, {pillow_s / store_s:.1f} times faster"
            )


def benchmark_batches(folder: Path) -> None:
    import pandas as pd
    import torch

    from asl_exp.config.schema import AugmentationConfig
    from asl_exp.data.augmentation import Augmentation
    from asl_exp.data.batches import BatchLoader
    from asl_exp.data.kept import Description
    from asl_exp.data.letters import Split
    from asl_exp.data.pixels import Geometry
    from asl_exp.data.store import StoredPixels

    torch.set_num_threads(1)
    print("gather, to float, augment; images/s on one core, batches of 128")
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
        n_images = 2_048
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
        works = [lambda split=split: [None for _ in BatchLoader(split, 128, shuffle=True, seed=0)]]
        for keys in presets.values():
            augmentation = Augmentation(AugmentationConfig(**keys), 29)

            def epoch(split: Split = split, augmentation: Augmentation = augmentation) -> None:
                batches = BatchLoader(split, 128, shuffle=True, seed=0)
                for step, (images, targets, _) in enumerate(batches):
                    augmentation(images.float().div_(255), targets, seed=step)

            works.append(epoch)
        speeds = [n_images / seconds for seconds in fastest(works)]
        for name, speed in zip(["gather alone", *presets], speeds, strict=True):
            print(f"  {size} px, {name}: {speed:,.0f}")


MEASURED_LOAD = """
import json, resource, sys, time
from asl_exp.config.schema import DataConfig
from asl_exp.data.letters import load_letters
from asl_exp.data.batches import BatchLoader
def mb(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
config = DataConfig(source="manifest", manifest=sys.argv[1], cache_dir=sys.argv[2], workers=2)
imported, start = mb(), time.perf_counter()
data = load_letters(config, image_size=64, interpolation="bilinear", seed=0)
loaded, seconds = mb(), time.perf_counter() - start
for _ in BatchLoader(data.splits["train"], 64, shuffle=True, seed=0): pass
print(json.dumps([imported, loaded, mb(), seconds]))
"""


def benchmark_memory(folder: Path) -> None:
    print("largest resident memory, MB: after imports, after loading, after an epoch at 64 px")
    for n_images in MEMORY_SIZES:
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
        for occasion in ("decoding", "stored"):
            command = [sys.executable, "-c", MEASURED_LOAD, str(manifest), str(root / "cache")]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            imported, loaded, used, seconds = json.loads(done.stdout)
            print(
                f"  {n_images:,} images, {occasion}: {imported:.0f}, {loaded:.0f}, {used:.0f} "
                f"(loaded in {seconds:.1f} s)",
                flush=True,
            )


def main() -> None:
    benchmarks = {
        "decode": benchmark_decode, "batches": benchmark_batches, "memory": benchmark_memory,
    }  # fmt: skip
    for name in sys.argv[1:] or list(benchmarks):
        with tempfile.TemporaryDirectory() as folder:
            benchmarks[name](Path(folder))


if __name__ == "__main__":
    main()

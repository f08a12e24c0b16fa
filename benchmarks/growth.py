"""How a run's time, memory and disk grow with images, classes, epochs, views and trials.

python benchmarks/growth.py [--large]

Each point is a process of its own: a frozen phase of a small network on small made pictures, whose
cost is mostly asl_exp's own. The slope is the exponent: 1.0 means twice as much costs twice.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import ROOT, Figure, keep, markdown

BASE = {"images": 2_000, "classes": 9, "epochs": 10, "views": 2, "trials": 1}
SMALL = {"images": (1_000, 4_000), "classes": (9, 90), "epochs": (10, 40), "views": (2, 8),
         "trials": (1, 4)}  # fmt: skip
LARGE = {"images": (1_000, 10_000, 100_000), "classes": (9, 90, 1_000), "epochs": (10, 100, 400),
         "views": (2, 8, 32), "trials": (1, 10, 40)}  # fmt: skip
LARGE_IMAGES = 10_000  # of the other axes: a thousand classes need some each
LIMIT_S = 3600


def make_images(folder: Path, n_images: int, n_classes: int) -> Path:
    """Write a manifest of JPEGs of noise, each of other bytes."""
    import io

    import numpy as np
    from PIL import Image

    generator, lines = np.random.default_rng(0), ["path,label,group"]
    encoded = []
    for _ in range(64):
        buffer = io.BytesIO()
        noise = generator.integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(noise).save(buffer, "JPEG")
        encoded.append(buffer.getvalue())
    for number in range(n_images):
        name = f"{number % 100}/{number}.jpg"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded[number % 64] + number.to_bytes(4, "big"))
        lines.append(f"{name},c{number % n_classes:04d},g{number // n_classes}")
    (folder / "manifest.csv").write_text("\n".join(lines))
    return folder / "manifest.csv"


def point(sizes: dict[str, int]) -> dict[str, float]:
    """Train as many trials one after another in this process; return what they took."""
    from asl_exp.config.compose import compose_config
    from asl_exp.training.run import run_experiment

    with tempfile.TemporaryDirectory() as name:
        manifest = make_images(Path(name) / "in", sizes["images"], sizes["classes"])
        started = time.process_time()
        for trial in range(sizes["trials"]):
            config = compose_config(
                ["backbone.name=asl_small_cnn", "backbone.pretrained=false",
                 "backbone.image_size=32", "data=manifest", f"data.manifest={manifest}",
                 "data.classes=null", "data.batch_size=256", "augmentation=paper",
                 f"schedule.transfer.epochs={sizes['epochs']}", "schedule.finetune.epochs=0",
                 f"schedule.transfer.views={sizes['views']}", f"lr.transfer={1e-3 * (1 + trial)}",
                 "trainer.accelerator=cpu", "data.workers=1",
                 f"data.cache_dir={name}/cache", f"runs_dir={name}/runs"]
            )  # fmt: skip
            run_experiment(config, Path(name) / "runs" / str(trial), evaluate="validation")
        taken = time.process_time() - started
        disk = {
            part: sum(f.stat().st_size for f in (Path(name) / part).rglob("*") if f.is_file()) / 1e6
            for part in ("cache", "runs")
        }
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"cpu_s": taken, "memory_mb": memory, "cache_mb": disk["cache"], "runs_mb": disk["runs"]}


def measured(sizes: dict[str, int]) -> dict[str, float]:
    """Measure a point in a process of its own."""
    words = [sys.executable, __file__, "--point", json.dumps(sizes)]
    done = subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=LIMIT_S
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def slope(sizes: list[int], costs: list[float]) -> float:
    """Return the exponent between the two largest sizes."""
    return math.log(costs[-1] / costs[-2]) / math.log(sizes[-1] / sizes[-2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--axes", default=",".join(BASE))
    parser.add_argument("--point", type=json.loads)
    asked = parser.parse_args()
    if asked.point:
        print(json.dumps(point(asked.point)))
        return
    rows: list[list[Any]] = []
    figures = []
    for axis in asked.axes.split(","):
        sizes = list((LARGE if asked.large else SMALL)[axis])
        base = {**BASE, "images": LARGE_IMAGES} if asked.large else BASE
        if axis == "views":
            base = {**base, "epochs": sizes[-1]}  # more views than epochs are refused
        found = [measured({**base, axis: size}) for size in sizes]
        for size, one in zip(sizes, found, strict=True):
            rows.append([axis, f"{size:,}", *(f"{value:.1f}" for value in one.values())])
        for cost in ("cpu_s", "memory_mb", "cache_mb"):
            exponent = slope(sizes, [one[cost] for one in found])
            figures.append(Figure(f"{cost} by {axis}, {sizes[-2]:,} to {sizes[-1]:,}", "its size",
                                  [exponent], "(exponent)", 1.1, "least"))  # fmt: skip
    print(markdown(["axis", "size", "CPU s", "memory MB", "cache MB", "runs MB"], rows))
    keep("growth", figures, {"rows": rows})


if __name__ == "__main__":
    main()

"""What several devices cost and bring on a CPU: workers' start, scaling, a state an epoch.

python benchmarks/devices.py

Whole commands, started one after another on embedded data.
"""

import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import ROOT, Figure, keep

EPOCHS = 8
OVERRIDES = (
    "backbone=mobilenetv2_035", "backbone.pretrained=false", "backbone.image_size=64",
    "data.classes=A-F", "data.external=[]", "data.batch_size=64", "schedule.transfer.epochs=0",
    f"schedule.finetune.epochs={EPOCHS}", "trainer.accelerator=cpu", "tracking=off",
    "data.synthetic.signers=10", "data.synthetic.images_per_letter=20",
)  # fmt: skip
_EPOCH = re.compile(r"finetune \d+/\d+: .* (\d+) img/s")
COMMAND_S = 600


def measure(folder: Path, devices: int) -> dict[str, float]:
    """Return images/s of the median epoch and the seconds of the command up to its first phase."""
    command = [
        sys.executable, "-u", "-m", "asl_exp", *OVERRIDES, f"trainer.devices={devices}",
        f"runs_dir={folder / 'runs'}", f"data.cache_dir={folder / 'cache'}",
    ]  # fmt: skip
    began, start_s, speeds = time.perf_counter(), 0.0, []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("data: ") and not start_s:
                start_s = time.perf_counter() - began
            found = _EPOCH.search(line)
            speeds += [float(found[1])] if found else []
        if process.wait(COMMAND_S):
            sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    return {"start_s": round(start_s, 2), "images_per_s": statistics.median(speeds)}


def measure_state(folder: Path) -> dict[str, float]:
    """Return what one state of this network and its optimizer costs, and its size."""
    import torch

    from asl_exp.config.compose import compose_config
    from asl_exp.model.classifier import build_classifier
    from asl_exp.model.own_weights import resolve_preprocessing
    from asl_exp.training.state import FOLDER, add_state

    config = compose_config([*OVERRIDES])
    model = build_classifier(config, 6, resolve_preprocessing(config.backbone))
    weights = model.state_dict()
    content = {"weights": weights, "first": weights, "second": weights}  # Nadam's two moments
    (folder / FOLDER).mkdir()
    seconds = []
    for _ in range(10):
        began, written = time.perf_counter(), folder / FOLDER / ".writing"
        with written.open("wb") as file:
            torch.save({k: {n: t.clone() for n, t in v.items()} for k, v in content.items()}, file)
        add_state(written)
        seconds.append(time.perf_counter() - began)
    size = max(path.stat().st_size for path in (folder / FOLDER).iterdir())
    return {"state_s": round(statistics.median(seconds), 4), "state_mb": round(size / 1e6, 2)}


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measure(folder, 1)  # draws and stores the images
        one, two = measure(folder, 1), measure(folder, 2)
        state = measure_state(folder)
    figures = [
        Figure("images/s of two workers", "of one", [two["images_per_s"] / one["images_per_s"]],
               "times", note=f"{two['images_per_s']:.0f} against {one['images_per_s']:.0f}"),
        Figure("two workers until the data are there (wall)", "one device",
               [two["start_s"] - one["start_s"]], "s more", None, "least",
               f"{two['start_s']:.1f} against {one['start_s']:.1f}"),
        Figure("a state after an epoch (wall)", "nothing", [1e3 * state["state_s"]], "ms", None,
               "least", f"{state['state_mb']} MB"),
    ]  # fmt: skip
    keep("devices", figures, {"one": one, "two": two, **state})


if __name__ == "__main__":
    main()

"""Images a second of fine-tuning on one GPU, against a bare PyTorch loop on tensors in its memory.

python benchmarks/gpu.py           EfficientNet-B0 and -B7, 100 and 224 px, by precision and layout
python benchmarks/gpu.py --tiny    the same code on a CPU with a tiny network, in a minute

Both train the whole network on batches of one size without augmentation, one after the other in
this process, with trainer.deterministic=false. The bare loop reads no data, counts nothing and
validates nothing. A table, then the same as JSON.
"""

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from asl_exp.config.compose import compose_config
from asl_exp.config.schema import Config
from asl_exp.model.classifier import build_classifier
from asl_exp.model.preprocessing import resolve_preprocessing
from asl_exp.training.batch_size import step_images
from asl_exp.training.optimizer import make_optimizer
from asl_exp.training.run import run_experiment

EPOCHS = 4  # the first one is left out: it warms up
FIXED = (
    "backbone.pretrained=false", "data.external=[]", "schedule.transfer.epochs=0",
    f"schedule.finetune.epochs={EPOCHS}", "schedule.finetune.features=never", "augmentation=none",
    "regularization.dropout=0", "trainer.deterministic=false", "tracking=off",
)  # fmt: skip
LETTERS = 26


@dataclass(frozen=True)
class Setup:
    """What is measured, and where."""

    device: torch.device
    networks: tuple[str, ...]
    sizes: tuple[int, ...]
    precisions: tuple[str, ...]
    overrides: tuple[str, ...]


GPU = Setup(
    torch.device("cuda", 0),
    ("efficientnet_b0", "tf_efficientnet_b7"),
    (100, 224),
    ("32-true", "bf16-mixed", "16-mixed"),
    ("trainer.accelerator=gpu", "data.batch_size=64", "data.synthetic.signers=20",
     "data.synthetic.images_per_letter=10"),
)  # fmt: skip
TINY = Setup(
    torch.device("cpu"),
    ("asl_small_cnn",),
    (32,),
    ("32-true", "bf16-mixed"),
    ("trainer.accelerator=cpu", "data.batch_size=16", "data.synthetic.signers=4",
     "data.synthetic.images_per_letter=2"),
)  # fmt: skip


def bare(config: Config, device: torch.device, n_steps: int) -> float:
    """Return images/s of forward, backward and step on one batch that is already there."""
    torch.manual_seed(0)
    precision, n_images = config.trainer.precision, step_images(config)
    layout = torch.channels_last if config.trainer.channels_last else torch.contiguous_format
    preprocessing = resolve_preprocessing(config.backbone)
    model = build_classifier(config, LETTERS, preprocessing).to(device, memory_format=layout)
    optimizer = make_optimizer(model, config.optimizer, lr=1e-4, layer_decay=1.0)
    images = torch.rand(n_images, 3, preprocessing.image_size, preprocessing.image_size)
    images = images.to(device, memory_format=layout)
    labels = torch.randint(LETTERS, (n_images,), device=device)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "16-mixed")
    half = torch.float16 if precision == "16-mixed" else torch.bfloat16
    model.train()

    def step() -> None:
        with torch.autocast(device.type, half, enabled=precision != "32-true"):
            loss = torch.nn.functional.cross_entropy(model(images), labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()

    def seconds(n: int) -> float:
        began = time.perf_counter()
        for _ in range(n):
            step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    seconds(10)
    return n_images * n_steps / min(seconds(n_steps) for _ in range(2))


def ours(config: Config, folder: Path) -> float:
    """Return images/s of the median epoch of a run, as the run records it."""
    run_experiment(config, folder, evaluate="validation")
    with (folder / "epochs.csv").open() as table:
        names = table.readline().strip().split(",")
        speeds = [float(line.split(",")[names.index("images_per_second")]) for line in table]
    return statistics.median(speeds[1:])


def measure(setup: Setup, folder: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    cases = itertools.product(setup.networks, setup.sizes, setup.precisions, (False, True))
    for number, (network, size, precision, channels_last) in enumerate(cases):
        config = compose_config([
            *FIXED, *setup.overrides, f"backbone.name={network}", f"backbone.image_size={size}",
            f"trainer.precision={precision}", f"trainer.channels_last={channels_last}",
            f"runs_dir={folder / 'runs'}", f"data.cache_dir={folder / 'cache'}",
        ])  # fmt: skip
        row = {
            "network": network, "px": size, "precision": precision,
            "layout": "channels last" if channels_last else "channels first",
            "bare": round(bare(config, setup.device, n_steps=30)),
            "asl_exp": round(ours(config, folder / "runs" / str(number))),
        }  # fmt: skip
        rows.append(row)
        print(_line(row), flush=True)
    return rows


def _line(row: dict[str, object]) -> str:
    ratio = int(str(row["asl_exp"])) / int(str(row["bare"]))
    return (
        f"{row['network']:20} {row['px']:>4} px  {row['precision']:10}  {row['layout']:14}  "
        f"{row['bare']:>7} bare  {row['asl_exp']:>7} asl_exp  {ratio:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="a tiny network on the CPU")
    setup = TINY if parser.parse_args().tiny else GPU
    if setup is GPU and not torch.cuda.is_available():
        print("gpu.py measures a GPU and this machine shows none; --tiny runs its code on the CPU")
        sys.exit(0)  # `make bench` goes on with the others
    with tempfile.TemporaryDirectory() as name:
        rows = measure(setup, Path(name))
    print(json.dumps(rows))


if __name__ == "__main__":
    main()

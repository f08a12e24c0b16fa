"""Everything that needs a GPU, in stages in order of value, in about eight minutes.

python benchmarks/gpu_campaign.py [--tiny] [--epochs N] [--copies N] [STAGE ...]

Each stage is a process with a limit of its own; each row is on disk, in
benchmarks/results/gpu_campaign.json, as soon as it is there, so that a cut-off loses only the
rest. --tiny runs every line on a CPU with a tiny network, in about a minute.

tests      the tests that need a GPU
frozen     87,000 images stored, features of EfficientNet-B0 at 224 px, then 100 epochs of its
           head, against bare PyTorch loops
finetune   EfficientNet-B0 and B7 at 100 and 224 px by precision, layout and compilation, against
           a bare loop on tensors in memory
timm       the same network by timm's loader and a plain step, all cores decoding
memory     data.batch_size=auto, where memory ends
profile    which operators the slowest row of fine-tuning spends its time in
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from measure import RESULTS, ROOT, commit, machine, markdown

LIMITS_S: Final = {
    "tests": 80, "frozen": 140, "finetune": 110, "timm": 50, "memory": 50, "profile": 50,
}  # fmt: skip
HEADINGS: Final = ("what", "asl_exp", "against", "ratio", "note")


@dataclass(frozen=True)
class Setup:
    """What is measured: the real thing on a GPU, or every line of it on a CPU.

    Attributes:
        device: torch's name of it.
        small, large: the networks; at the sizes in pixels.
        copies: of each drawn image in the frozen phase.
        epochs: of the head.
        batch: images a step.
        n_steps: that a bare loop is timed over.
    """

    device: str
    small: str
    large: str
    sizes: tuple[int, ...]
    copies: int
    epochs: int
    batch: int
    n_steps: int

    @property
    def overrides(self) -> list[str]:
        """Of every run."""
        kind = "gpu" if self.device == "cuda" else "cpu"
        return [
            f"trainer.accelerator={kind}", "tracking=off", "data.external=[]",
            "backbone.pretrained=false", f"data.batch_size={self.batch}", "augmentation=none",
            "trainer.deterministic=false",
        ]  # fmt: skip


GPU: Final = Setup("cuda", "efficientnet_b0", "tf_efficientnet_b7", (224, 100), 100, 100, 64, 30)
LESS: Final = ("epochs", "copies")
"""Of a setup, what an option can make smaller."""

TINY: Final = Setup("cpu", "asl_small_cnn", "asl_small_cnn", (32,), 2, 3, 16, 4)
SIGNERS: Final = 30
"""Drawn signers of 29 letters: 870 images, and with 100 copies of each 87,000."""

CPU_TOO: Final = (("bf16-mixed", "trainer.channels_last=true"), ("32-true",))

Row = dict[str, Any]
Emit = Callable[[Row], None]


def tests(setup: Setup, folder: Path, emit: Emit) -> None:
    """Run the tests that need a GPU; they skip on a CPU."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-n", "8"] if find_spec("xdist") else []
    command += ["tests/e2e/test_devices_gpu.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    emit({"what": "gpu tests", "note": lines[-1].strip("= ") if lines else done.stderr[-300:]})
    for line in lines:
        if line.startswith(("FAILED", "ERROR")):
            emit({"what": "gpu tests", "note": line[:300]})


def frozen(setup: Setup, folder: Path, emit: Emit) -> None:
    """Store images and features, train a head for many epochs, and do the same barely."""
    import torch

    from asl_exp.config.compose import compose_config
    from asl_exp.model.classifier import build_classifier
    from asl_exp.model.own_weights import resolve_preprocessing
    from asl_exp.training.optimizer import make_optimizer

    root = repeated_images(setup, folder / "images")
    config = compose_config([
        *setup.overrides, "data=folder", f"data.root={root}", "data.split=random",
        f"backbone.name={setup.small}", f"backbone.image_size={setup.sizes[0]}",
        "schedule.finetune.epochs=0", "schedule.transfer.epochs=1",
        "schedule.transfer.features=always", "schedule.transfer.views=1",
        "schedule.transfer.patience=null", *places(folder),
    ])  # fmt: skip
    seconds = trained(config, folder / "stores").seconds
    n_images = len(list(root.glob("*/*")))
    prepared = resolve_preprocessing(config.backbone)
    model = build_classifier(config, 29, prepared).to(setup.device).eval()
    pixels = torch.randint(0, 256, (256, 3, *[prepared.image_size] * 2), dtype=torch.uint8)

    @torch.no_grad()
    def forward() -> torch.Tensor:
        return model.features(pixels.to(setup.device, non_blocking=True).float() / 255)

    a_forward = timed(forward, setup, min(setup.n_steps, 8))
    n_seen = n_images - round(0.15 * n_images)  # of the test images none are stored
    emit({
        "what": f"features of {n_seen:,} images, {setup.small} at {prepared.image_size} px",
        "asl_exp": f"{n_seen / seconds['features']:,.0f} images/s",
        "against": f"a bare loop {256 / a_forward:,.0f}",
        "ratio": n_seen / seconds["features"] / (256 / a_forward),
        "note": f"images read and pixels stored in {seconds['data']:.0f} s",
    })  # fmt: skip
    pixels = pixels.to(memory_format=torch.channels_last)
    emit(
        {
            "what": "the bare loop, images channels last",
            "against": f"{256 / timed(forward, setup, min(setup.n_steps, 8)):,.0f} images/s",
        }
    )
    held, labels = forward()[: setup.batch], torch.randint(29, (setup.batch,)).to(setup.device)
    model.backbone.requires_grad_(False)
    optimizer = make_optimizer(model, config.optimizer, lr=1e-3, layer_decay=1.0)
    model.head.train()

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model.head(held), labels).backward()
        optimizer.step()

    a_step = timed(step, setup, 10 * setup.n_steps)
    config.schedule["transfer"] = config.schedule["transfer"].model_copy(
        update={"epochs": setup.epochs}
    )
    seconds = trained(config, folder / "heads").seconds
    n_steps = setup.epochs * -(-(n_images - 2 * round(0.15 * n_images)) // setup.batch)
    emit({
        "what": f"{n_steps:,} steps of the head, batch {setup.batch}, with validation",
        "asl_exp": f"{1e3 * seconds['transfer'] / n_steps:.3f} ms a step",
        "against": f"a bare loop {1e3 * a_step:.3f} ms",
        "ratio": a_step * n_steps / seconds["transfer"],
        "note": f"{seconds['transfer']:.0f} s; goal 0.15 ms",
    })  # fmt: skip


def finetune(setup: Setup, folder: Path, emit: Emit) -> None:
    """Images a second of whole networks, the most telling cases first."""
    cases = [
        (network, size, *options)
        for options in (
            ("bf16-mixed", "trainer.channels_last=true"), ("32-true",),
            ("bf16-mixed", "trainer.compile=cuda_graphs"), ("bf16-mixed", "trainer.compile=true"),
            ("16-mixed", "trainer.channels_last=true"), ("bf16-mixed",),
        )
        for size in setup.sizes
        for network in dict.fromkeys((setup.small, setup.large))
        if setup.device == "cuda" or options in CPU_TOO
    ]  # fmt: skip
    for number, (network, size, precision, *options) in enumerate(cases):
        config = fine_tuning(setup, folder, network, size, f"trainer.precision={precision}",
                             *options)  # fmt: skip
        theirs = bare_images_per_second(setup, config)
        ours = epoch_speed(folder / "runs" / str(number), config)
        emit({
            "what": " ".join([network, f"{size} px", precision, *options]),
            "asl_exp": f"{ours:,.0f} images/s", "against": f"a bare loop {theirs:,.0f}",
            "ratio": ours / theirs, "note": "goal 0.95",
        })  # fmt: skip


def timm(setup: Setup, folder: Path, emit: Emit) -> None:
    """Images a second of timm's loader and a plain step, on the same kind of images."""
    import torch
    from timm.data import create_dataset, create_loader

    from asl_exp.data.decode_pool import n_cores
    from asl_exp.model.classifier import build_classifier
    from asl_exp.model.own_weights import resolve_preprocessing
    from asl_exp.training.optimizer import make_optimizer

    size = setup.sizes[0]
    config = fine_tuning(setup, folder, setup.small, size, "trainer.precision=32-true")
    root = repeated_images(setup, folder / "images", copies=2)
    loader = create_loader(
        create_dataset("", str(root)), (3, size, size), setup.batch, is_training=True,
        num_workers=n_cores() - 1, no_aug=True, use_prefetcher=setup.device == "cuda",
        device=torch.device(setup.device),
    )  # fmt: skip
    model = build_classifier(config, 29, resolve_preprocessing(config.backbone)).to(setup.device)
    optimizer = make_optimizer(model, config.optimizer, lr=1e-4, layer_decay=1.0)

    def epoch() -> None:
        for images, labels in loader:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()

    theirs = len(loader) * setup.batch / timed(epoch, setup, 1)
    ours = epoch_speed(folder / "runs" / "ours", config)
    emit({
        "what": f"{setup.small} {size} px 32-true", "asl_exp": f"{ours:,.0f} images/s",
        "against": f"timm's loader and step {theirs:,.0f}", "ratio": ours / theirs,
        "note": f"{n_cores()} cores; goal 3",
    })  # fmt: skip


def memory(setup: Setup, folder: Path, emit: Emit) -> None:
    """Find the batch size that fits and train with it."""
    import torch

    size = setup.sizes[0]
    config = fine_tuning(setup, folder, setup.large, size, "data.batch_size=auto")
    result = trained(config, folder / "run")
    note = ""
    if setup.device == "cuda":
        there = torch.cuda.get_device_properties(0).total_memory
        note = f"{torch.cuda.max_memory_allocated() / 2**30:.1f} of {there / 2**30:.1f} GiB"
    emit({"what": f"{setup.large} {size} px, data.batch_size=auto",
          "asl_exp": f"{result.batch_size} images a step", "note": note})  # fmt: skip


def profile(setup: Setup, folder: Path, emit: Emit) -> None:
    """Name the operators that a short run of the slowest row spends its time in."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as recorded

    config = fine_tuning(setup, folder, *slowest(setup))
    kinds = [ProfilerActivity.CPU]
    kinds += [ProfilerActivity.CUDA] if setup.device == "cuda" else []
    with recorded(activities=kinds) as seen:
        trained(config, folder / "run")
    order = "self_device_time_total" if setup.device == "cuda" else "self_cpu_time_total"
    table = sorted(seen.key_averages(), key=lambda one: -getattr(one, order))
    total = sum(getattr(one, order) for one in table)
    for one in table[:12]:
        emit({"what": f"profile: {one.key[:60]}", "asl_exp": f"{getattr(one, order) / 1e3:,.1f} ms",
              "ratio": getattr(one, order) / total, "note": f"{one.count} calls"})  # fmt: skip


def slowest(setup: Setup) -> tuple[Any, ...]:
    """Return network, size and options of the row of fine-tuning that is furthest from bare."""
    rows = [row for row in kept_rows() if row["stage"] == "finetune"]
    if not rows:
        return setup.small, setup.sizes[0]
    network, size, _, precision, *options = min(rows, key=lambda row: row["ratio"])["what"].split()
    return network, int(size), f"trainer.precision={precision}", *options


def fine_tuning(setup: Setup, folder: Path, network: str, size: int, *more: str) -> Any:
    """Return the configuration of a short fine-tuning of everything on drawn images."""
    from asl_exp.config.compose import compose_config

    return compose_config([
        *setup.overrides, f"backbone.name={network}", f"backbone.image_size={size}",
        "schedule.transfer.epochs=0", "schedule.finetune.epochs=3",
        "schedule.finetune.features=never", "regularization.dropout=0",
        "data.synthetic.signers=6", f"data.synthetic.images_per_letter={setup.copies // 10 or 1}",
        *places(folder), *more,
    ])  # fmt: skip


def places(folder: Path) -> list[str]:
    """Return where runs and caches go."""
    return [f"runs_dir={folder / 'runs'}", f"data.cache_dir={folder / 'cache'}"]


def trained(config: Any, folder: Path) -> Any:
    """Train; return the run's result."""
    from asl_exp.runs.result import Result
    from asl_exp.training.run import run_experiment

    run_experiment(config, folder, evaluate="validation")
    return Result.read(folder)


def epoch_speed(folder: Path, config: Any) -> float:
    """Return images/s of a run's median epoch; its first, which warms up, is left out."""
    trained(config, folder)
    with (folder / "epochs.csv").open() as table:
        place = table.readline().strip().split(",").index("images_per_second")
        speeds = [float(line.split(",")[place]) for line in table]
    return statistics.median(speeds[1:])


def bare_images_per_second(setup: Setup, config: Any) -> float:
    """Return images/s of forward, backward and step on one batch that is already there."""
    import torch

    from asl_exp.model.classifier import build_classifier
    from asl_exp.model.own_weights import resolve_preprocessing
    from asl_exp.training.optimizer import make_optimizer

    trainer, prepared = config.trainer, resolve_preprocessing(config.backbone)
    layout = torch.channels_last if trainer.channels_last else torch.contiguous_format
    model = build_classifier(config, 29, prepared).to(setup.device, memory_format=layout).train()
    optimizer = make_optimizer(model, config.optimizer, lr=1e-4, layer_decay=1.0)
    side, n_images = prepared.image_size, setup.batch
    images = torch.rand(n_images, 3, side, side).to(setup.device, memory_format=layout)
    labels = torch.randint(29, (n_images,)).to(setup.device)
    scaler = torch.amp.GradScaler(setup.device, enabled=trainer.precision == "16-mixed")
    half = torch.float16 if trainer.precision == "16-mixed" else torch.bfloat16

    def step() -> None:
        with torch.autocast(setup.device, half, enabled=trainer.precision != "32-true"):
            loss = torch.nn.functional.cross_entropy(model(images), labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()

    return n_images / timed(step, setup, setup.n_steps)


def timed(work: Callable[[], object], setup: Setup, times: int) -> float:
    """Return seconds of one call: the better of two rounds, after a call that warms up."""
    import torch

    def a_round(calls: int) -> float:
        began = time.perf_counter()
        for _ in range(calls):
            work()
        if setup.device == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - began) / calls

    a_round(1)
    return min(a_round(times) for _ in range(2))


def repeated_images(setup: Setup, root: Path, copies: int | None = None) -> Path:
    """Write drawn JPEGs, each so often: bytes after a JPEG's end make another file of it."""
    import io

    from PIL import Image

    from asl_exp.config.compose import compose_config
    from asl_exp.data.sources.selection import list_images
    from asl_exp.data.sources.synthetic import draw

    signers = SIGNERS if setup.device == "cuda" else 4
    data = compose_config([
        "data.external=[]", "data.classes=signs", f"data.synthetic.signers={signers}",
        "data.synthetic.images_per_letter=1",
    ]).data  # fmt: skip
    table = list_images(data).images
    for number, (path, label) in enumerate(zip(table["path"], table["label"], strict=True)):
        content = io.BytesIO()
        Image.fromarray(draw(path, 200)).save(content, "JPEG", quality=90)
        (root / label).mkdir(parents=True, exist_ok=True)
        for copy in range(copies or setup.copies):
            name = root / label / f"{number}_{copy}.jpg"
            name.write_bytes(content.getvalue() + copy.to_bytes(2, "big"))
    return root


STAGES: Final = {one.__name__: one for one in (tests, frozen, finetune, timm, memory, profile)}


def kept_file() -> Path:
    return RESULTS / "gpu_campaign.json"


def kept_rows() -> list[Row]:
    """Return the rows that are on disk."""
    if not kept_file().is_file():
        return []
    rows: list[Row] = json.loads(kept_file().read_text("utf-8"))["rows"]
    return rows


def run_stage(name: str, setup: Setup) -> None:
    """Run one stage in this process; each of its rows replaces the file."""
    import torch  # what machine() names must be loaded

    def emit(row: Row) -> None:
        rows = [*kept_rows(), {"stage": name, **row}]
        about = {"machine": machine(), "commit": commit(), "torch": torch.__version__,
                 "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")}  # fmt: skip
        new = kept_file().with_suffix(".new")
        new.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n", "utf-8")
        new.replace(kept_file())

    with tempfile.TemporaryDirectory() as folder:
        STAGES[name](setup, Path(folder), emit)


def show() -> None:
    """Print the table of what is on disk."""
    cells = []
    for row in kept_rows():
        ratio = f"{row['ratio']:.3g}" if "ratio" in row else ""
        cells.append([row["what"], row.get("asl_exp", ""), row.get("against", ""), ratio,
                      row.get("note", "")])  # fmt: skip
    print(markdown(HEADINGS, cells), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=", ".join(STAGES))
    parser.add_argument("--tiny", action="store_true", help="every line of it on a CPU")
    parser.add_argument("--epochs", type=int, help="of the head, instead of 100")
    parser.add_argument("--copies", type=int, help="of the frozen phase's images, instead of 100")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if unknown := set(asked.stages) - set(STAGES):
        parser.error(f"{', '.join(sorted(unknown))}: no stage; there are {', '.join(STAGES)}")
    if asked.here:
        setup = TINY if asked.tiny else GPU
        less = {one: getattr(asked, one) for one in LESS if getattr(asked, one)}
        run_stage(asked.stages[0], replace(setup, **less))
        return 0
    RESULTS.mkdir(parents=True, exist_ok=True)
    kept_file().unlink(missing_ok=True)
    failed = [name for name in asked.stages or STAGES if not went_well(name, asked)]
    show()
    return int(bool(failed))


def went_well(name: str, asked: argparse.Namespace) -> bool:
    """Run a stage as a process of its own; what it left unsaid is lost with it, nothing else."""
    command = [sys.executable, __file__, "--here", name]
    command += ["--tiny"] if asked.tiny else []
    command += [
        f"--{one}={getattr(asked, one)}" for one in ("epochs", "copies") if getattr(asked, one)
    ]
    print(f"{name} (at most {LIMITS_S[name]} s)", flush=True)
    began = time.monotonic()
    process = subprocess.Popen(command, start_new_session=True)
    try:
        status = process.wait(None if asked.tiny else LIMITS_S[name])
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with the tests that it started
        process.wait()
        status = 124
    print(f"{name}: {time.monotonic() - began:.0f} s, "
          f"{'done' if status == 0 else f'ended with {status}'}", flush=True)  # fmt: skip
    return status == 0


if __name__ == "__main__":
    sys.exit(main())

"""Real runs on NVIDIA devices: precisions, layouts, NCCL, and the batch size that fits."""

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import Command, python_paths, result_of, run_folders

from asl_exp.config.machine_checks import gpus_of_driver

GPUS = gpus_of_driver()
pytestmark = [
    pytest.mark.gpu, pytest.mark.skipif(GPUS == 0, reason="no NVIDIA device")
]  # fmt: skip
two_gpus = pytest.mark.skipif(GPUS < 2, reason=f"{GPUS} NVIDIA device, the test needs 2")

EXACT = (
    "augmentation=none", "regularization.dropout=0", "schedule.transfer.epochs=2",
    "schedule.finetune.epochs=3", "tracking=off", "data.external=[]", "trainer.accelerator=gpu",
)  # fmt: skip


def metrics(folder: Path, *overrides: str, devices: int = 1) -> dict[str, float]:
    """Run the command on so many devices; the other tests see none."""
    visible = ",".join(map(str, range(devices)))
    arguments = (*overrides, f"trainer.devices={devices}")
    with Command(folder, *arguments, CUDA_VISIBLE_DEVICES=visible) as run:
        assert run.wait(300) == 0, run.text()
        assert "not recorded" not in run.text()  # as a CUDA graph
    (run_folder,) = run_folders(folder / "runs")
    found: dict[str, float] = result_of(run_folder)["metrics"]
    assert all(math.isfinite(value) for value in found.values())
    return found


@pytest.fixture(scope="module")
def plain(tiny: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    return metrics(tmp_path_factory.mktemp("plain"), *tiny, *EXACT)


@pytest.mark.parametrize(
    ("options", "nearness"),
    [
        (["trainer.channels_last=true"], 1e-3),
        (["trainer.compile=true"], 1e-3),
        (["trainer.compile=cuda_graphs"], 1e-3),
        (["trainer.precision=bf16-mixed"], 3e-2),  # eight bits of mantissa
        (["trainer.precision=16-mixed", "optimizer.clip_norm=1"], 3e-2),
        (["trainer.precision=16-mixed", "trainer.accumulate=2"], 3e-2),
    ],
)  # fmt: skip
def test_an_option_trains_nearly_the_same(
    tiny: tuple[str, ...],
    tmp_path: Path,
    plain: dict[str, float],
    options: list[str],
    nearness: float,
) -> None:
    found = metrics(tmp_path, *tiny, *EXACT, *options)
    for name in ("train/loss", "val/loss"):
        assert found[name] == pytest.approx(plain[name], abs=nearness), name


def test_recorded_steps_of_a_head_are_those_of_a_cpu(tiny: tuple[str, ...], tmp_path: Path) -> None:
    """All but the first step, which prepares, and an epoch's last, smaller batch."""
    keys = [one for one in EXACT if not one.startswith(("schedule.", "trainer."))]
    keys += ["schedule.transfer.epochs=4", "schedule.finetune.epochs=0", "data.batch_size=5",
             "schedule.transfer.features=always"]  # fmt: skip
    small = [one for one in tiny if not one.startswith("data.batch_size")]
    here = metrics(tmp_path / "cpu", *small, *keys, "trainer.accelerator=cpu")
    there = metrics(tmp_path / "gpu", *small, *keys, "trainer.accelerator=gpu")
    for name in ("train/loss", "train/l2_penalty", "val/loss"):
        assert there[name] == pytest.approx(here[name], abs=1e-3), name


@two_gpus
def test_two_gpus_train_as_one(
    tiny: tuple[str, ...], tmp_path: Path, plain: dict[str, float]
) -> None:
    found = metrics(tmp_path, *tiny, *EXACT, devices=2)
    for name in ("train/loss", "val/loss"):
        assert found[name] == pytest.approx(plain[name], abs=1e-4), name


@pytest.mark.parametrize("devices", [1, pytest.param(2, marks=two_gpus)])
def test_statistics_of_all_gpus_images(tiny: tuple[str, ...], tmp_path: Path, devices: int) -> None:
    """With synchronised statistics the devices compute what one does, also where they train."""
    scratch = ("schedule=scratch", "schedule.scratch.epochs=2", "trainer.sync_batchnorm=true")
    exact = [one for one in EXACT if not one.startswith("schedule.")]
    one = metrics(tmp_path / "one", *tiny, *exact, *scratch[:2])
    found = metrics(tmp_path / "sync", *tiny, *exact, *scratch, devices=devices)
    for name in ("train/loss", "val/loss"):
        assert found[name] == pytest.approx(one[name], abs=1e-3), name


FINDS = """
import torch
from asl_exp.config.compose import compose_config
from asl_exp.model.classifier import build_classifier
from asl_exp.model.own_weights import resolve_preprocessing
from asl_exp.training.batch_size import step_images, with_batch_size

gpu = torch.device("cuda", 0)
total = torch.cuda.get_device_properties(gpu).total_memory
torch.cuda.set_per_process_memory_fraction(2 * 2**30 / total)
config = compose_config(["backbone=efficientnet_b0", "backbone.pretrained=false",
                         "backbone.image_size=224", "data.batch_size=auto"])
preprocessing = resolve_preprocessing(config.backbone)
model = build_classifier(config, 26, preprocessing)
print(step_images(with_batch_size(config, model, 100_000, preprocessing, gpu, known=None)))
"""
"""Two GiB stand for the device."""


AUGMENTED = {
    "horizontal_flip": 0.5, "rotation": 20.0, "zoom": 0.2, "shift": 0.1, "perspective": 0.3,
    "brightness": 0.3, "contrast": 0.3, "saturation": 0.5, "hue": 0.1, "blur": 0.6,
    "erasing": 0.6, "backlight": 0.6, "background": 0.6, "mixup": 0.4, "cutmix": 1.0,
}  # fmt: skip

CHOOSES = f"""
import torch
from asl_exp.config.schema import AugmentationConfig
from asl_exp.data.augmentation import Augmentation

images = torch.rand(12, 3, 5, 5, generator=torch.manual_seed(0))
images = torch.nn.functional.interpolate(images, size=(32, 32), mode="bilinear")
labels, changes = torch.arange(12) % 4, Augmentation(AugmentationConfig(**{AUGMENTED}), 4)
here, targets = changes(images, labels, seed=1)
there, targets_there = changes(images.cuda(), labels.cuda(), seed=1)
assert torch.allclose(targets, targets_there.cpu())
print((here - there.cpu()).abs().max().item())
"""


def on_gpu(program: str, folder: Path) -> str:
    """Run a program that sees the GPU; return the last word that it prints."""
    variables: dict[str, Any] = {"PYTHONPATH": python_paths(), "CUDA_VISIBLE_DEVICES": "0"}
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env={**os.environ, **variables}, timeout=300,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    return found.stdout.split()[-1]


def test_the_batch_size_is_found_where_memory_ends(tmp_path: Path) -> None:
    assert 4 <= int(on_gpu(FINDS, tmp_path)) <= 128


def test_the_gpu_makes_the_same_choices_of_augmentation(tmp_path: Path) -> None:
    assert float(on_gpu(CHOOSES, tmp_path)) < 1e-2


def test_a_batch_size_of_auto_is_trained_with(tiny: tuple[str, ...], tmp_path: Path) -> None:
    metrics(tmp_path, *tiny, *EXACT, "data.batch_size=auto")
    (folder,) = run_folders(tmp_path / "runs")
    assert result_of(folder)["batch_size"] == 16  # at most the 24 images of training

"""Several devices train as one does: equal losses, equal weights, every image counted once.

The ranks are real worker processes. `work`, run as every rank, does many small things in one
start of the workers, which takes seconds.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from asl_exp.config.compose import compose_config
from asl_exp.config.schema import Config
from asl_exp.data.letters import load_letters
from asl_exp.model.classifier import build_classifier
from asl_exp.model.preprocessing import resolve_preprocessing
from asl_exp.training.phases import run_phase
from asl_exp.training.ranks import rank, state_digest, world_size
from asl_exp.training.workers import run_in_workers

PLAIN = (
    "backbone.pretrained=false", "backbone.image_size=32", "head.hidden=[16]", "data.classes=A-C",
    "data.batch_size=6", "data.synthetic.signers=4", "data.synthetic.images_per_letter=4",
    "data.external=[]", "regularization.dropout=0", "augmentation=none",
    "lr.transfer=1e-2", "lr.finetune=1e-3", "trainer.accelerator=cpu", "tracking=off",
    "schedule.transfer.epochs=3", "schedule.finetune.epochs=3",
)  # fmt: skip
"""No chance in it: 24 images of training in batches of 6."""

NETWORKS = ("asl_small_cnn", "test_convnext")
"""With BatchNorm, whose statistics are held, and with LayerNorm alone."""

SIZES = [(24, 12), (13, 5), (7, 6), (18, 2), (12, 7)]
"""Images of training and of validation; their last batches are shared unequally or not at all."""


def train(config: Config, folder: Path) -> float:
    """Run the phases of each network as one rank and write what rank 0 saw."""
    seen: dict[str, Any] = {}
    for network in NETWORKS:
        for sizes in SIZES if network == NETWORKS[0] else SIZES[1:2]:
            backbone = config.backbone.model_copy(update={"name": network})
            one = config.model_copy(update={"backbone": backbone})
            seen[f"{network} {sizes}"] = _phases(one, folder / network / str(sizes), sizes)
    if rank() == 0:
        (folder / f"seen{world_size()}.json").write_text(json.dumps(seen))
    return 0.0


def _phases(config: Config, folder: Path, sizes: tuple[int, int]) -> dict[str, Any]:
    torch.set_num_threads(1)
    preprocessing = resolve_preprocessing(config.backbone)
    data = load_letters(config.data, image_size=32, interpolation="bilinear", seed=0)
    for name, size in zip(("train", "val"), sizes, strict=True):
        split = data.splits[name]
        data.splits[name] = replace(
            split, labels=split.labels[:size], rows=split.rows[:size], table=split.table[:size]
        )
    torch.manual_seed(0)
    model = build_classifier(config, len(data.classes), preprocessing)
    rows: list[dict[str, Any]] = []
    done: list[Any] = []
    digests: list[list[str]] = []
    for name in config.schedule:
        done.append(run_phase(
            model, data, config, name, run_folder=folder, finished=done, rows=rows, metadata={},
            record_epoch=lambda epoch, metrics: None,
        ))  # fmt: skip
        digests.append(_of_all_ranks(state_digest(model)))
    return {"rows": rows, "digests": digests, "n_train": len(data.splits["train"])}


def _of_all_ranks(value: str) -> list[str]:
    values: list[Any] = [None] * world_size()
    if world_size() > 1:
        dist.all_gather_object(values, value)
        return values
    return [value]


@pytest.mark.heavy
def test_two_devices_train_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses equal to 1e-5; validation sets that differ by a batch between ranks do not hang."""
    monkeypatch.chdir(tmp_path)
    for devices in (1, 2):
        config = compose_config(
            [*PLAIN, f"trainer.devices={devices}", f"data.cache_dir={tmp_path / 'cache'}"]
        )
        run: Callable[..., float] = run_in_workers if devices > 1 else _alone
        run(config, tmp_path / f"on{devices}", train)
    one = json.loads((tmp_path / "on1" / "seen1.json").read_text())
    two = json.loads((tmp_path / "on2" / "seen2.json").read_text())
    assert one.keys() == two.keys()
    for case in one:
        assert len(two[case]["rows"]) == 6, case
        for alone, both in zip(one[case]["rows"], two[case]["rows"], strict=True):
            for key, value in alone.items():
                # A last batch of one image is repeated: the second rank counts it as well.
                twice = two[case]["n_train"] % 6 == 1 and key.startswith("train/")
                if key not in ("images_per_second", "phase") and not twice:
                    assert both[key] == pytest.approx(value, abs=1e-5, rel=1e-5), (case, key, alone)
        for ranks in two[case]["digests"]:
            assert len(set(ranks)) == 1, f"{case}: the ranks' weights differ"


def _alone(config: Config, folder: Path, work: Callable[[Config, Path], float]) -> float:
    folder.mkdir(parents=True)
    return work(config, folder)

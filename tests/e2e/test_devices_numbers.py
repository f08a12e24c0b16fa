"""Several devices train as one does: equal losses, equal weights, every image counted once.

The ranks are real worker processes. `work`, run as every rank, does many small things in one
start of the workers, which takes seconds.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from made_runs import made_run

from asl_exp.config.compose import compose_config
from asl_exp.config.errors import ConfigError, NoRoomError, PrunedError, RanksDifferError
from asl_exp.config.schema import Config
from asl_exp.data.dataset import load_letters
from asl_exp.data.letters import LetterData
from asl_exp.model.classifier import build_classifier
from asl_exp.model.own_weights import resolve_preprocessing
from asl_exp.training.feature_files import _first_of_all
from asl_exp.training.launcher import Train, run_in_workers
from asl_exp.training.phase import train_phase
from asl_exp.training.phase_module import PhaseModule
from asl_exp.training.ranks import gather, rank, send_from_rank_zero, state_digest, world_size
from asl_exp.training.state import State, find_state

PLAIN = (
    "backbone.pretrained=false", "backbone.image_size=32", "head.hidden=[16]", "data.classes=A-C",
    "data.batch_size=6", "data.synthetic.signers=4", "data.synthetic.images_per_letter=4",
    "data.external=[]", "regularization.dropout=0", "augmentation=none",
    "lr.transfer=1e-2", "lr.finetune=1e-3", "trainer.accelerator=cpu", "tracking=off",
    "schedule.transfer.epochs=3", "schedule.finetune.epochs=3", "optimizer.eps=1e-4",
)  # fmt: skip
"""No chance in it: 24 images of training in batches of 6.

Nadam's own epsilon lets a gradient that is nothing but rounding take a whole step.
"""

NETWORKS = ("asl_small_cnn", "test_convnext")
"""With BatchNorm, whose statistics are held, and with LayerNorm alone."""

SIZES = [(24, 12), (13, 5), (8, 6), (18, 3), (12, 7)]
"""Images of training and of validation; their last batches are shared unequally or not at all."""

BREAKS_IN = 4
"""The epoch, of the second phase, in which a run ends before it is done."""


class _Breaker:
    """An observer that ends the run, on all ranks."""

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}
        self.features_gb = None

    def after_epoch(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        return epoch == BREAKS_IN


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


def break_inside(config: Config, folder: Path) -> float:
    """Run as one rank until the state inside an epoch is the newest, and leave it there."""
    with suppress(PrunedError):
        _phases(config, folder, SIZES[0], breaks=True)
    return 0.0


def go_on(config: Config, folder: Path) -> float:
    """Take up, as one rank, what was left; write the rows."""
    seen = _phases(config, folder, SIZES[0], state=find_state(folder))
    if rank() == 0:
        (folder / "seen.json").write_text(json.dumps(seen))
    return 0.0


def store_on_one_alone(config: Config, folder: Path) -> float:
    """Begin a phase as one rank of machines that differ in ``data.store``."""
    data = config.data.model_copy(update={"store": rank() == 0})
    _phases(config.model_copy(update={"data": data}), folder, SIZES[0])
    return 0.0


def _phases(
    config: Config,
    folder: Path,
    sizes: tuple[int, int],
    *,
    state: State | None = None,
    breaks: bool = False,
) -> dict[str, Any]:
    torch.set_num_threads(1)
    preprocessing = resolve_preprocessing(config.backbone)
    data = _cut(load_letters(config.data, image_size=32, interpolation="bilinear", seed=0), sizes)
    torch.manual_seed(0)
    model = build_classifier(config, len(data.classes), preprocessing)
    observer = _Breaker() if breaks else None
    folder.mkdir(parents=True, exist_ok=True)
    run = made_run(config, model, data, folder, state=state, observer=observer)
    digests: list[list[str]] = []
    with _listening() as validated:
        for name in run.phases_left:
            train_phase(run, name)
            digests.append(gather(state_digest(model)))
    return {
        "rows": run.epochs,
        "digests": digests,
        "validated": [sorted(chain(*ranks)) for ranks in zip(*gather(validated), strict=True)],
    }


def _cut(data: LetterData, sizes: tuple[int, int]) -> LetterData:
    for name, size in zip(("train", "val"), sizes, strict=True):
        split = data.splits[name]
        data.splits[name] = replace(
            split, labels=split.labels[:size], rows=split.rows[:size], table=split.table[:size]
        )
    return data


@contextmanager
def _listening() -> Iterator[list[list[int]]]:
    """Collect the positions of the images that this rank validates, a list for each epoch."""
    seen: list[list[int]] = []
    step, start = PhaseModule.validation_step, PhaseModule.on_validation_epoch_start

    def begin(module: PhaseModule) -> None:
        seen.append([])
        start(module)

    def listen(module: PhaseModule, batch: Any, batch_idx: int) -> None:
        seen[-1] += batch[2].tolist()
        step(module, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PhaseModule, "on_validation_epoch_start", begin)
        patch.setattr(PhaseModule, "validation_step", listen)
        yield seen


VALUES: list[Any] = ["x", 1, 2.5, None, True, ["x\u3042", {"a": [1e-300, -0.0]}], "long" * 50_000]


def exchange(config: Config, folder: Path) -> float:
    """Send values, weights and errors as one of two ranks, and what no rank sends."""
    mine, seen = rank(), dict[str, Any]()
    seen["values"] = [gather([mine, value] if mine else value) for value in VALUES]
    torch.manual_seed(mine)
    layers = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3))
    layers.to(memory_format=torch.channels_last)(torch.rand(4, 2, 8, 8))
    kept: list[Any] = [None if mine else {"epoch": 3}]
    send_from_rank_zero(layers, kept)
    seen["weights"] = [state_digest(layers), kept]
    errors = [NoRoomError("full"), OSError(28, "No space left"), KeyError("x"), ConfigError(["a"])]
    got = [_first_of_all(error if mine else None) for error in errors]
    seen["errors"] = [f"{type(error).__name__} {error}" for error in got]
    if mine:  # more than there is memory for
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(2)]
        torch.distributed.all_gather(sizes, torch.tensor([2**60]))
    else:
        with pytest.raises(RanksDifferError, match=r"rank 1 says that it sends 1,152,921,"):
            gather("honest")
    (folder / f"seen{mine}.json").write_text(json.dumps(seen))
    return 0.0


def on(devices: int, folder: Path, work: Train, *overrides: str) -> None:
    """Do the work as so many ranks; one is this process."""
    folder.mkdir(parents=True, exist_ok=True)
    config = compose_config(
        [*PLAIN, f"trainer.devices={devices}", f"data.cache_dir={folder.parent / 'cache'}",
         *overrides]
    )  # fmt: skip
    run_in_workers(config, folder, work) if devices > 1 else work(config, folder)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one device comes to."""
    folder = tmp_path_factory.mktemp("alone") / "on1"
    on(1, folder, train)
    seen: dict[str, Any] = json.loads((folder / "seen1.json").read_text())
    return seen


def equal(several: list[dict[str, Any]], one: list[dict[str, Any]]) -> None:
    """Compare every metric of every epoch to 1e-5."""
    for ours, theirs in zip(several, one, strict=True):
        for key, value in theirs.items():
            if key not in ("images_per_second", "phase"):
                assert ours[key] == pytest.approx(value, abs=1e-5, rel=1e-5), (key, theirs)


@pytest.mark.heavy
@pytest.mark.parametrize("devices", [pytest.param(2, marks=pytest.mark.exhaustive), 3])
def test_several_devices_train_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: dict[str, Any], devices: int
) -> None:
    """Losses equal to 1e-5; validation sets that differ by a batch between ranks do not hang."""
    monkeypatch.chdir(tmp_path)
    on(devices, tmp_path / "several", train)
    seen = json.loads((tmp_path / "several" / f"seen{devices}.json").read_text())
    assert seen.keys() == alone.keys()
    for case, one in alone.items():
        several = seen[case]
        assert len(several["rows"]) == 6, case
        equal(several["rows"], one["rows"])
        assert several["validated"] == one["validated"], f"{case}: not each image once"
        for ranks in several["digests"]:
            assert len(set(ranks)) == 1, f"{case}: the ranks' weights differ"


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("before", "after"), [(1, 2), pytest.param(2, 1, marks=pytest.mark.exhaustive)]
)
def test_other_devices_go_on_inside_an_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: dict[str, Any], before: int, after: int
) -> None:
    """Nothing that was trained or counted in the epoch before is lost."""
    monkeypatch.chdir(tmp_path)
    folder, network = tmp_path / "run", f"backbone.name={NETWORKS[0]}"
    on(before, folder, break_inside, network, "trainer.state_minutes=1e-9")
    state = find_state(folder)
    assert state is not None
    assert (len(state.rows), state.batch > 0, len(state.sums)) == (BREAKS_IN, True, before)
    on(after, folder, go_on, network)
    rows = json.loads((folder / "seen.json").read_text())["rows"]
    equal(rows, alone[f"{NETWORKS[0]} {SIZES[0]}"]["rows"])


@pytest.mark.heavy
def test_what_ranks_send_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    on(2, tmp_path / "several", exchange)
    first, second = (json.loads((tmp_path / f"several/seen{r}.json").read_text()) for r in (0, 1))
    assert first["values"] == second["values"] == [[value, [1, value]] for value in VALUES]
    assert first["weights"] == second["weights"]
    assert first["weights"][1] == [{"epoch": 3}]
    assert second["errors"] == [
        "NoRoomError full", "OSError [Errno 28] No space left", "KeyError 'x'",
        "ConfigError 1 fault in the configuration:\n  a",
    ]  # fmt: skip
    assert first["errors"] == [
        *second["errors"][:2], "WorkerError rank 1: KeyError: 'x'",
        second["errors"][3].replace("ConfigError", "UserError"),
    ]  # fmt: skip


@pytest.mark.heavy
def test_machines_that_would_not_compute_the_same_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One trains on stored views, the other on new changes every epoch."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RanksDifferError, match=r"pixels \(data\.store\)"):
        on(2, tmp_path / "several", store_on_one_alone, f"backbone.name={NETWORKS[0]}")

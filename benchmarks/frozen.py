"""A frozen phase of 100 epochs: on stored features, with a pass each epoch, and by its peers.

python benchmarks/frozen.py [--epochs 100] [--classes signs|A-F] [--rounds 2] [--gpu] [--workers 0]

Epochs with a backbone pass are measured one in each round and multiplied; all of them cost the
same. Stored features are measured from nothing: computing them and all epochs of the head.
"""

import argparse
import logging
import shutil
import statistics
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import Clock, Figure, in_turn, keep, ratios
from peers import (
    BareLoop,
    FromBytes,
    Normalised,
    TutorialModule,
    image_folders,
    in_memory,
    timm_loader,
    tutorial_loaders,
)
from phase import Bench

ALIKE = 0.05  # in val/accuracy after as many epochs, beside the chance of few images
SAME = 1e-3  # in val/loss, for the two ways of asl_exp without augmentation


def bare(bench: Bench, model: Any, network: Any) -> BareLoop:
    kernels = network.head.penalised_kernels()
    return BareLoop(
        model, list(network.head.parameters()), lr=bench.config.schedule["transfer"].lr,
        l2=bench.config.regularization.l2, kernels=kernels, train_mode=network.head,
    )  # fmt: skip


def peers(bench: Bench, batch: int, workers: int) -> dict[str, Callable[[], float]]:
    """Return, by name, what trains one more epoch and returns val/accuracy."""
    import pytorch_lightning as pl

    size, lr = bench.preprocessing.image_size, bench.config.schedule["transfer"].lr
    folder = image_folders(bench.data, bench.folder / "images")
    network = {name: frozen(bench) for name in ("bare loop", "timm", "Lightning")}
    memory = bare(bench, FromBytes(network["bare loop"]), network["bare loop"])
    train, val = bench.pixels("train"), bench.pixels("val")

    def bare_epoch() -> float:
        return memory.epoch(
            in_memory(*train, batch, shuffle=True), in_memory(*val, batch, shuffle=False)
        )[2]

    kind = {
        "prefetcher": bench.device.type == "cuda", "device": bench.device, "num_workers": workers,
        "mean": bench.preprocessing.mean, "std": bench.preprocessing.std,
        "interpolation": "bilinear", "persistent_workers": workers > 0,
    }  # fmt: skip
    loaders = [timm_loader(folder, size, batch, training=t, **kind) for t in (True, False)]
    timms = bare(bench, Normalised(network["timm"]), network["timm"])
    module = TutorialModule(
        Normalised(network["Lightning"]), network["Lightning"].head, len(bench.data.classes), lr,
        bench.config.regularization.l2,
    )  # fmt: skip
    folders = tutorial_loaders(
        folder, size, batch, bench.preprocessing.mean, bench.preprocessing.std
    )
    trainer = pl.Trainer(
        accelerator="gpu" if bench.device.type == "cuda" else "cpu", devices=1, max_epochs=0,
        logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip

    def lightning_epoch() -> float:
        trainer.fit_loop.max_epochs += 1
        trainer.fit(module, *folders)
        return module.history[-1]

    return {
        "a bare loop, images in memory": bare_epoch,
        "timm's loader and step": lambda: timms.epoch(*loaders)[2],
        "Lightning with ImageFolder": lightning_epoch,
    }


def frozen(bench: Bench) -> Any:
    network = bench.network().to(bench.device)
    network.backbone.requires_grad_(False)
    return network


def head_step_us(
    bench: Bench, epochs: int, batch: int, rounds: int, clock: Clock
) -> dict[str, Any]:
    """Return microseconds of a step of the head (with its share of validation), ours and bare."""
    import torch

    network = frozen(bench).eval()
    held = []
    with torch.no_grad():
        for split in ("train", "val"):
            images, labels = bench.pixels(split)
            parts = [network.features(part.float() / 255.0) for part in images.split(64)]
            held.append((torch.cat(parts), labels))
    losses: dict[str, float] = {}

    def bare_epochs() -> None:
        one = frozen(bench)
        loop = bare(bench, one.head, one)
        losses["bare"] = ending([
            loop.epoch(
                in_memory(*held[0], batch, shuffle=True), in_memory(*held[1], batch, shuffle=False)
            )[0]
            for _ in range(epochs)
        ])  # fmt: skip

    def our_epochs() -> None:
        rows = bench.phase("transfer", "augmentation=none", f"schedule.transfer.epochs={epochs}")
        losses["ours"] = ending([row["train/loss"] for row in rows])

    our_epochs()  # the features are there from here on
    seconds = in_turn({"ours": our_epochs, "bare": bare_epochs}, rounds, clock)
    n_steps = epochs * -(-len(bench.data.splits["train"]) // batch)
    each = {name: [1e6 * s / n_steps for s in found] for name, found in seconds.items()}
    difference = abs(losses["ours"] - losses["bare"]) / max(losses["bare"], 0.05)
    if difference > 0.25:
        raise SystemExit(f"not the same training: train/loss {losses}")
    return {"us": each, "losses": losses}


def ending(losses: list[float]) -> float:
    """Return the median of the last fifth: near zero, a single epoch's loss leaps."""
    return statistics.median(losses[-max(1, len(losses) // 5) :])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--classes", default="signs")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--workers", type=int, default=0, help="of the peers' loaders")
    asked = parser.parse_args()
    clock = Clock(asked.gpu)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")  # Lightning's, on loaders without workers
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(
            Path(name), f"data.classes={asked.classes}", "data.split=random", "data.external=[]",
            gpu=asked.gpu,
        )  # fmt: skip
        batch, seen = 64, {}

        def stored(views: int, augmentation: str) -> Callable[[], None]:
            def work() -> None:
                shutil.rmtree(bench.folder / "cache" / "features", ignore_errors=True)
                seen[augmentation, views] = bench.phase(
                    "transfer", f"augmentation={augmentation}", f"schedule.transfer.views={views}",
                    f"schedule.transfer.epochs={asked.epochs}",
                )  # fmt: skip

            return work

        def every_epoch(augmentation: str) -> Callable[[], None]:
            def work() -> None:
                seen[augmentation, 0] = bench.phase(
                    "transfer", f"augmentation={augmentation}",
                    "schedule.transfer.features=never", "schedule.transfer.epochs=1",
                )  # fmt: skip

            return work

        answers: dict[str, list[float]] = {}

        def noted(one: str, epoch: Callable[[], float]) -> Callable[[], None]:
            return lambda: answers.setdefault(one, []).append(epoch())

        views = min(3, asked.epochs)
        works = {"1 view": stored(1, "none"), f"{views} views": stored(views, "paper"),
                 "none": every_epoch("none"), "paper": every_epoch("paper")}  # fmt: skip
        theirs = peers(bench, batch, asked.workers)
        works |= {one: noted(one, epoch) for one, epoch in theirs.items()}
        seconds = in_turn(works, asked.rounds, clock)
        check(seen, answers, asked.rounds, len(bench.data.splits["val"]))
        head = head_step_us(bench, asked.epochs, batch, asked.rounds, clock)
        figures = list(compared(seconds, asked.epochs, views, theirs))
        n_images = {one: len(split) for one, split in bench.data.splits.items()}
    us = head["us"]
    figures.append(
        Figure("a step of the head, asl_exp", "a bare loop on the same features",
               ratios(us["ours"], us["bare"]), "times its time", None, "least",
               f"{min(us['ours']):,.0f} against {min(us['bare']):,.0f} microseconds")
    )  # fmt: skip
    details = {"images": n_images, "epochs": asked.epochs, "seconds": seconds, "head": head,
               "accuracy": answers}  # fmt: skip
    keep("frozen_gpu" if asked.gpu else "frozen", figures, details)


def check(seen: dict[Any, Any], answers: dict[str, list[float]], rounds: int, n_val: int) -> None:
    """Stop where the sides did not train the same."""
    ours, again = seen["none", 1], seen["none", 0]
    if abs(ours[0]["val/loss"] - again[0]["val/loss"]) > SAME:
        raise SystemExit(f"stored features train otherwise: {ours[0]} and {again[0]}")
    reached = ours[min(rounds, len(ours)) - 1]["val/accuracy"]
    for name, accuracies in answers.items():
        print(f"val/accuracy after {rounds} epochs: {name} {accuracies[-1]:.3f}, "
              f"asl_exp {reached:.3f}", flush=True)  # fmt: skip
        if abs(accuracies[-1] - reached) > ALIKE + 3 * (0.25 / n_val) ** 0.5:
            raise SystemExit(f"{name} does not train the same: {accuracies}, {reached}")


def compared(
    seconds: dict[str, list[float]], epochs: int, views: int, theirs: dict[str, Any]
) -> list[Figure]:
    """Return the ratios of so many epochs, pair by pair."""
    what, many = f"{epochs} epochs of the frozen phase", f"{views} views"
    goal = {1: 55.0, 3: 30.0} if epochs == 100 else {}

    def whole(name: str) -> list[float]:
        return [epochs * one for one in seconds[name]]

    rows = [
        Figure(f"{what}, 1 view", "a backbone pass each epoch",
               ratios(whole("none"), seconds["1 view"]), goal=goal.get(1)),
        Figure(f"{what}, {many}, augmentation=paper", "a backbone pass each epoch",
               ratios(whole("paper"), seconds[many]), goal=goal.get(views)),
    ]  # fmt: skip
    for name in theirs:
        rows.append(Figure(f"{what}, 1 view", name, ratios(whole(name), seconds["1 view"])))
    rows.append(Figure("an epoch with a backbone pass", "a bare loop, images in memory",
                       ratios(seconds["a bare loop, images in memory"], seconds["none"]),
                       "times its speed"))  # fmt: skip
    return rows


if __name__ == "__main__":
    main()

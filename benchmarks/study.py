"""A study of L2, dropout and learning rate against its trials as separate commands.

python benchmarks/study.py [--trials 20] [--epochs 100] [--classes A-F] [--rounds 1]
                           [--both 3] [--finetune 5]

CPU seconds of whole commands. The study is run as it is. Of a separate command, without stored
features, runs of one epoch and of some more are measured, which tells what each costs. A study of
both phases, of fewer trials, is compared with its own fine-tuning epochs, in seconds on the wall.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from material import material
from measure import ROOT, Clock, Figure, in_turn, keep

LIMIT_S = 1800
MORE = 5  # epochs, by which that of one is told from the rest of a command


def command(folder: Path, *overrides: str) -> None:
    """Run ``python -m asl_exp``; stop where it fails."""
    words = [sys.executable, "-m", "asl_exp", *overrides, f"data.cache_dir={folder / 'cache'}"]
    done = subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=LIMIT_S
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--classes", default="A-F")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--both", type=int, default=3, help="trials of both phases")
    parser.add_argument("--finetune", type=int, default=5, help="their epochs of fine-tuning")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shared = [
            *material(asked.classes), "data.split=random", "data.external=[]", "optimizer=nadam",
            "augmentation=paper", "trainer.accelerator=cpu",
            f"schedule.transfer.epochs={asked.epochs}",
        ]  # fmt: skip
        head = [*shared, "schedule.finetune.epochs=0"]

        def study(name: str, n_trials: int, *overrides: str) -> None:
            shutil.rmtree(folder / "cache" / "features", ignore_errors=True)
            shutil.rmtree(folder / name, ignore_errors=True)
            command(
                folder, "--multirun", "sweep=nadam_l2_dropout", f"sweep.n_trials={n_trials}",
                "sweep.pruner.name=none", *overrides, f"runs_dir={folder / name}",
            )  # fmt: skip

        def alone(epochs: int) -> None:
            command(
                folder, *head, "schedule.transfer.features=never",
                f"schedule.transfer.epochs={epochs}", f"runs_dir={folder / f'alone{epochs}'}",
            )  # fmt: skip

        command(folder, *head, "schedule.transfer.epochs=1", f"runs_dir={folder / 'first'}")
        works = {"study": lambda: study("study", asked.trials, *head),
                 "one": lambda: alone(1), "more": lambda: alone(1 + MORE)}  # fmt: skip
        seconds = in_turn(works, asked.rounds, Clock())
        finished = finished_trials(folder / "study", asked.trials)
        started = time.perf_counter()
        study("both", asked.both, *shared, f"schedule.finetune.epochs={asked.finetune}")
        both_s = time.perf_counter() - started
        both = finished_trials(folder / "both", asked.both)
    apart = [
        asked.trials * (one + (asked.epochs - 1) * (more - one) / MORE)
        for one, more in zip(seconds["one"], seconds["more"], strict=True)
    ]
    training = ("transfer", "features", "imports")
    beside = [
        sum(seconds for stage, seconds in one["seconds"].items() if stage not in training)
        for one in finished[1:]
    ]
    best = max(one["metrics"]["val/accuracy"] for one in finished)
    figures = [
        Figure(f"a study of {asked.trials} trials, {asked.epochs} frozen epochs each",
               "the same as separate commands",
               [a / b for a, b in zip(apart, seconds["study"], strict=True)],
               goal=50.0 if (asked.trials, asked.epochs) == (20, 100) else None,
               note=f"best val/accuracy {best:.3f}"),
        Figure("a trial beside its training (wall)", "nothing", [statistics.median(beside)],
               "s", 0.5, "least"),
        Figure(f"a study of {asked.both} trials, {asked.epochs} frozen epochs and {asked.finetune} "
               "of fine-tuning each (wall)", "its fine-tuning epochs",
               [100 * (both_s / sum(one["seconds"]["finetune"] for one in both) - 1)],
               "% more", 5.0, "least", f"{both_s:.0f} s"),
    ]  # fmt: skip
    stages = {"frozen": [one["seconds"] for one in finished],
              "both": [one["seconds"] for one in both]}  # fmt: skip
    keep("study", figures, {"cpu_s": seconds, "apart_s": apart, "both_s": both_s, "stages": stages})


def finished_trials(folder: Path, n_asked: int) -> list[dict[str, Any]]:
    """Return the results of a study's trials; stop where many failed."""
    results = [json.loads(path.read_text()) for path in folder.rglob("result.json")
               if "mlartifacts" not in path.parts]  # fmt: skip
    finished = [one for one in results if one["status"] == "FINISHED"]
    if len(finished) < n_asked * 0.9:
        raise SystemExit(f"{len(finished)} of {n_asked} trials finished")
    return finished


if __name__ == "__main__":
    main()

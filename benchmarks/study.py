"""A study of L2, dropout and learning rate against its trials as separate commands.

python benchmarks/study.py [--trials 20] [--epochs 100] [--classes A-F] [--rounds 1]

CPU seconds of whole commands. The study is run as it is. Of a separate command, without stored
features, runs of one epoch and of some more are measured, which tells what each costs.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

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
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shared = [
            *material(asked.classes), "data.split=random", "data.external=[]", "optimizer=nadam",
            "schedule.finetune.epochs=0", "augmentation=paper", "trainer.accelerator=cpu",
        ]  # fmt: skip

        def study() -> None:
            shutil.rmtree(folder / "cache" / "features", ignore_errors=True)
            shutil.rmtree(folder / "study", ignore_errors=True)
            command(
                folder, "--multirun", "sweep=nadam_l2_dropout", f"sweep.n_trials={asked.trials}",
                "sweep.pruner.name=none", *shared, f"schedule.transfer.epochs={asked.epochs}",
                f"runs_dir={folder / 'study'}",
            )  # fmt: skip

        def alone(epochs: int) -> None:
            command(
                folder, *shared, "schedule.transfer.features=never",
                f"schedule.transfer.epochs={epochs}", f"runs_dir={folder / f'alone{epochs}'}",
            )  # fmt: skip

        command(folder, *shared, "schedule.transfer.epochs=1", f"runs_dir={folder / 'first'}")
        works = {"study": study, "one": lambda: alone(1), "more": lambda: alone(1 + MORE)}
        seconds = in_turn(works, asked.rounds, Clock())
        trials = [json.loads(p.read_text()) for p in (folder / "study").rglob("result.json")
                  if "mlartifacts" not in p.parts]  # fmt: skip
    finished = [one for one in trials if one["status"] == "FINISHED"]
    if len(finished) < asked.trials * 0.9:
        raise SystemExit(f"{len(finished)} of {asked.trials} trials finished")
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
               goal=100.0 if (asked.trials, asked.epochs) == (20, 100) else None,
               note=f"best val/accuracy {best:.3f}"),
        Figure("a trial beside its training (wall)", "nothing", [statistics.median(beside)],
               "s", 0.5, "least"),
    ]  # fmt: skip
    stages = [one["seconds"] for one in finished]
    keep("study", figures, {"cpu_s": seconds, "apart_s": apart, "stages": stages})


if __name__ == "__main__":
    main()

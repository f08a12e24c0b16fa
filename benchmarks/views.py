"""What stored views cost in accuracy: V = 1, 4, 16 against new changes in every epoch.

python benchmarks/views.py [--epochs 16] [--seeds 2] [--augmentations paper,strong]

Real photos (a manifest) where they are, else drawn hands; one network, letters A-I.
"""

import argparse
import itertools
import statistics
import tempfile
from pathlib import Path

from material import material
from measure import Figure, keep, markdown

VIEWS: tuple[int | None, ...] = (1, 4, 16, None)  # None: a backbone pass every epoch
SCORED = ("val/loss", "val/accuracy", "test/accuracy", "external")


def run(overrides: list[str], folder: Path) -> dict[str, float]:
    """Return the scores of one run."""
    from asl_exp.config.compose import compose_config
    from asl_exp.runs.result import Result
    from asl_exp.training.run import run_experiment

    run_experiment(compose_config(overrides), folder, evaluate="scores")
    result = Result.read(folder)
    assert result is not None
    found = {key: result.metrics[key] for key in SCORED[:3]}
    external = [
        v
        for k, v in result.metrics.items()
        if k.startswith("external/") and k.endswith("/accuracy")
    ]
    return {**found, "external": external[0]}


def differences(
    runs: list[dict[str, float]], others: list[dict[str, float]], key: str
) -> list[float]:
    """Return how many points more, seed by seed."""
    return [100 * (a[key] - b[key]) for a, b in zip(runs, others, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--augmentations", default="paper,strong")
    parser.add_argument("--splits", default="random,group")
    asked = parser.parse_args()
    rows, scores = [], {}
    with tempfile.TemporaryDirectory() as name:
        shared = [
            *material("A-I"), f"schedule.transfer.epochs={asked.epochs}",
            "schedule.finetune.epochs=0", "tracking=off", f"runs_dir={name}/runs",
            f"data.cache_dir={name}/cache",
        ]  # fmt: skip
        for augmentation, split, views in itertools.product(
            asked.augmentations.split(","), asked.splits.split(","), VIEWS
        ):
            how = f"views={views}" if views else "features=never"
            kind = f"{augmentation}_{split}_{views}"
            words = [f"data.split={split}", f"augmentation={augmentation}"]
            words += [f"schedule.transfer.{how}"]
            runs = [
                run([*shared, *words, f"seed={seed}"], Path(name) / f"{kind}_{seed}")
                for seed in range(asked.seeds)
            ]
            scores[augmentation, split, views] = runs
            means = [f"{statistics.mean(one[key] for one in runs):.3f}" for key in SCORED]
            rows.append([augmentation, split, str(views or "each epoch"), *means])
            print(rows[-1], flush=True)
    print(markdown(["augmentation", "split", "views", *SCORED], rows))
    figures = [
        Figure(
            f"{augmentation}, {split}: {key}, V = {views}", "new changes every epoch",
            differences(runs, scores[augmentation, split, None], key),
            "points", -0.5 if key == "val/accuracy" else None,
        )
        for (augmentation, split, views), runs in scores.items() if views
        for key in ("val/accuracy", "test/accuracy", "external")
    ]  # fmt: skip
    keep("views", figures, {"epochs": asked.epochs, "seeds": asked.seeds,
                            "rows": rows})  # fmt: skip


if __name__ == "__main__":
    main()

"""``python -m asl_exp.evaluation.comparison TABLE.md TABLE.json RUN...``: runs beside the paper.

Owns the accuracies that the paper on the first nine letters reported in its Table I, and the table
that sets kept checkpoints beside them. The stage `table` of dvc.yaml calls it.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from asl_exp.config import names
from asl_exp.config.errors import UserError
from asl_exp.config.names import Artifact
from asl_exp.runs.result import Result, spelled_cautions
from asl_exp.runs.run_folder import read_config

PUBLISHED: Final = {
    "tf_efficientnet_b7": {"train": 1.00, "val": 0.95, "test": 0.96, "external": 0.53},
    "tf_efficientnetv2_b1": {"train": 1.00, "val": 0.95, "test": 0.95, "external": 0.49},
    "vgg19": {"train": 1.00, "val": 0.92, "test": 0.93, "external": 0.44},
    "legacy_xception": {"train": 1.00, "val": 0.94, "test": 0.93, "external": 0.51},
}
"""Accuracy by timm name and split; external is 4,500 images of the Kaggle ASL Alphabet."""

SPLITS: Final = ("train", "val", "test", "external")

Row = dict[str, Any]


def main(arguments: Sequence[str]) -> int:
    """Write both tables; return the exit status."""
    if len(arguments) < 3:
        print("usage: python -m asl_exp.evaluation.comparison TABLE.md TABLE.json RUN...")
        return 2
    try:
        rows = [read_row(Path(run)) for run in arguments[2:]]
    except UserError as error:
        print(f"asl_exp: {error}", file=sys.stderr)
        return 2
    table = markdown(rows)
    Path(arguments[0]).write_text(table)
    Path(arguments[1]).write_text(json.dumps(rows, indent=2) + "\n")
    print(table)
    return 0


def read_row(run: Path) -> Row:
    """Return a run's accuracies by split, what they were measured on, and the paper's.

    Raises:
        UserError: the folder holds no finished run.
    """
    result = _finished(run)
    metrics = result.metrics
    config = read_config(run)
    measured = {split: metrics[names.score_key(split, "accuracy")] for split in SPLITS[:3]}
    external = {
        key: value
        for key, value in metrics.items()
        if key.startswith("external/") and key.endswith("/accuracy")
    }
    return {
        "backbone": config.backbone.name,
        "pretrained": config.backbone.pretrained,
        "image_size": config.backbone.image_size,
        "data": config.data.source,
        "split": result.split or config.data.split,
        "caution": spelled_cautions(result.cautions),
        "lr": {"transfer": config.lr.transfer, "finetune": config.lr.finetune},
        "measured": {**measured, **external},
        "published": PUBLISHED.get(config.backbone.name, {}),
    }


def _finished(run: Path) -> Result:
    result = Result.read(run)
    if result is None:
        raise UserError(f"{run}: not a run folder, it has no {Artifact.RESULT}")
    if result.status != "FINISHED":
        raise UserError(f"{run}: its status is {result.status}; repeat the run first")
    return result


def markdown(rows: Sequence[Row]) -> str:
    """Return a table with measured / published accuracy in each cell."""
    lines = [
        "Accuracy of the kept checkpoint, measured / published.",
        "",
        "| backbone | weights | pixels | data | split | train | val | test | external |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(_line(row) for row in rows)]) + "\n"


def _line(row: Row) -> str:
    about = [
        row["backbone"],
        "pretrained" if row["pretrained"] else "random",
        str(row["image_size"] or "its own"),
        row["data"],
        row["split"] if row["caution"] == "none" else f"{row['split']}: {row['caution']}",
    ]
    return f"| {' | '.join([*about, *(_cell(row, split) for split in SPLITS)])} |"


def _cell(row: Row, split: str) -> str:
    """Return one split's accuracy, or that of each external set with its name."""
    given = row["published"].get(split)
    published = "-" if given is None else f"{given:.2f}"
    if split != "external":
        return f"{row['measured'][split]:.3f} / {published}"
    sets = [
        f"{key.split('/')[1]} {value:.3f}"
        for key, value in row["measured"].items()
        if key.startswith("external/")
    ]
    return f"{', '.join(sets) or '-'} / {published}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

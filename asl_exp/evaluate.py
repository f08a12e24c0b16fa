"""``python -m asl_exp.evaluate RUN... [overrides]``: score kept models on any data.

RUN is a run folder, an MLflow run id or a model folder; several RUNs answer together, by the mean
of their probabilities. Without overrides the run's own test and external images are scored again;
with some, all images that they name:

  python -m asl_exp.evaluate runs/RUN data=folder data.root=new_photos
  python -m asl_exp.evaluate runs/RUN data=manifest data.manifest=photos.csv --map a=A

The files are those of the end of a run, in its evaluation/ folder and its MLflow run.

``--robustness`` shows one model 200 images of each set with backlight, darkness, blur, noise, JPEG,
occlusion, rotation, a smaller hand and other backgrounds, each at three strengths, and writes what
becomes of its answers to evaluation/robustness/.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from asl_exp import cli
from asl_exp.config.errors import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Score, print the table, and return the exit status."""
    parser = cli.parser("asl_exp.evaluate", __doc__)
    parser.add_argument("run", nargs="+", help="run folders, MLflow run ids or model folders")
    parser.add_argument(
        "--map", action="append", default=[], metavar="LABEL=CLASS", help="what a label means"
    )
    parser.add_argument("--soup", action="store_true", help="average the weights, not the answers")
    parser.add_argument("--robustness", action="store_true", help="disturb the images")
    parser.add_argument(
        "--hand-model", type=Path, help="hand detector of models that look for hands"
    )
    given = parser.parse_intermixed_args(arguments)
    overrides = [word for word in given.run if "=" in word]
    runs = [word for word in given.run if "=" not in word]
    return cli.answered("asl_exp.evaluate", lambda: _evaluate(runs, overrides, given))


def _evaluate(runs: Sequence[str], overrides: Sequence[str], given: argparse.Namespace) -> None:
    if not runs:
        raise UserError("give a run folder, an MLflow run id or a model folder to score")
    renamed = _renamed(given.map)
    cli.load_packages("timm")
    if given.robustness:
        _disturb(runs, overrides, given)
        return
    from asl_exp.serving.evaluate import evaluate, show

    show(evaluate(runs, overrides, renamed, soup=given.soup, hand_model=given.hand_model))


def _disturb(runs: Sequence[str], overrides: Sequence[str], given: argparse.Namespace) -> None:
    if len(runs) > 1 or given.soup or given.map:
        raise UserError("--robustness: give one model, without --soup and --map")
    from asl_exp.serving.robustness import robustness, show

    show(*robustness(runs[0], overrides, given.hand_model))


def _renamed(pairs: Sequence[str]) -> dict[str, str]:
    renamed = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    if len(renamed) < len(pairs):
        raise UserError(f"--map {' '.join(pairs)}: each must be LABEL=CLASS, and no label twice")
    return renamed


class _Called(ModuleType):
    """This module, which notebooks call as a function: ``asl_exp.evaluate(run)``."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Score kept models; see ``asl_exp.notebook.evaluate``."""
        from asl_exp.notebook import evaluate

        return evaluate(*arguments, **options)


sys.modules[__name__].__class__ = _Called

if __name__ == "__main__":
    cli.start(main)

"""``python -m asl_exp.export RUN``: a kept model as an ONNX file, checked against PyTorch.

RUN is a run folder, an MLflow run id, a model folder or a checkpoint. The file is compared with the
network on images of the run's test set; where a probability differs by more than --tolerance,
nothing is kept and the status is 1. ``python -m asl_exp.predict FILE.onnx IMAGE...`` uses it.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from asl_exp import cli
from asl_exp.config.errors import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Export, print the table, and return the exit status."""
    parser = cli.parser("asl_exp.export", __doc__)
    parser.add_argument("run", help="run folder, MLflow run id, model folder or checkpoint")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: model.onnx in RUN")
    parser.add_argument(
        "--with-preprocessing",
        action="store_true",
        help="resize and normalise inside: the file takes uint8 images (B, H, W, 3) of any size",
    )
    parser.add_argument(
        "--int8",
        action="store_true",
        help="write FILE.int8.onnx as well, calibrated on training images",
    )
    parser.add_argument(
        "--tolerance", type=float, default=1e-3, help="largest difference of a probability"
    )
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), help="where ids are known")
    given = parser.parse_args(arguments)
    return cli.answered("asl_exp.export", lambda: _export(given))


def _export(given: argparse.Namespace) -> None:
    if not 0 < given.tolerance < 1:
        raise UserError(
            f"--tolerance: got {given.tolerance}; must be between 0 and 1, such as 1e-3"
        )
    if given.output is not None and given.output.suffix != ".onnx":
        raise UserError(f"--output: got '{given.output}'; the file's name must end in .onnx")
    cli.load_packages("timm")
    from asl_exp.serving.export import Wish, export, show

    wish = Wish(given.output, given.with_preprocessing, given.int8, given.tolerance)
    show(export(given.run, wish, given.runs_dir))


if __name__ == "__main__":
    cli.start(main)

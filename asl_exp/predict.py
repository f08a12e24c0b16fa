"""``python -m asl_exp.predict MODEL IMAGE...``: letters and probabilities for images.

MODEL is a run folder, its model/ folder, a checkpoint or an exported .onnx file. IMAGE is a file,
a folder, a pattern, a video, or - for standard input (an image, or names of files, one a line).
Answers are a letter, "no hand", or "not sure" where the model was given a threshold. Files of
folders and patterns that are no images are passed over, as in training. Status 1: some images
could not be read.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from asl_exp import cli
from asl_exp.config.errors import UserError
from asl_exp.config.process_setup import collector_paused


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the answers; return 0, 1 where images cannot be read, or 2 where nothing can be."""
    parser = cli.parser("asl_exp.predict", __doc__)
    parser.add_argument("model", type=Path, help="run folder, model folder, checkpoint or .onnx")
    parser.add_argument("images", nargs="*", help="files, folders, patterns, videos, or -")
    parser.add_argument(
        "--camera", type=int, metavar="N", help="watch a camera, 0 the first, until Ctrl-C"
    )
    parser.add_argument(
        "--every", type=float, default=0.5, metavar="S", help="seconds between frames (0.5)"
    )
    parser.add_argument("--top", type=int, default=3, help="letters to show for each image (3)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="an object for each image, one a line")
    form.add_argument("--csv", action="store_true", help="a line for each image")
    parser.add_argument(
        "--explain", type=Path, metavar="DIR", help="write pictures of what answers rested on"
    )
    parser.add_argument(
        "--hand-model", type=Path, help="hand detector of a model that looks for hands"
    )
    given = parser.parse_intermixed_args(arguments)
    return cli.answered("asl_exp.predict", lambda: _predict(given))


def _predict(given: argparse.Namespace) -> int:
    if (given.camera is None) == (not given.images):
        raise UserError(
            "give the model, then images (files, folders, patterns, videos, -) or --camera 0"
        )
    if given.explain and given.camera is not None:
        raise UserError("--explain: not for a camera; give images or a video")
    if not given.every >= 0:
        raise UserError(f"--every {given.every}: it must be 0 seconds or more")
    with collector_paused():
        from asl_exp.serving.inputs import inputs

    images = inputs(given.images)  # before torch is loaded: what is not there is told at once
    cli.load_packages("timm" if given.explain else "torch")  # a network of joints needs no timm
    with collector_paused():
        from asl_exp.serving.predict import Asked, Form, show_predictions

    form: Form = "json" if given.json else "csv" if given.csv else "table"
    asked = Asked(
        given.model, given.top, form, given.hand_model, given.camera, given.every, given.explain
    )
    return show_predictions(asked, images)


if __name__ == "__main__":
    cli.start(main)

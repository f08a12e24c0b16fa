"""``python -m asl_exp.predict MODEL IMAGE...``: letters and probabilities for images.

MODEL is a run folder, its model/ folder or a checkpoint; IMAGE a file, a folder or a pattern.
"""

import argparse
import glob
from collections.abc import Iterator, Sequence
from pathlib import Path

from asl_exp import cli
from asl_exp.config.errors import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table; return 0, or 2 where the model or an image cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m asl_exp.predict", description=__doc__)
    parser.add_argument("model", type=Path, help="run folder, model folder or checkpoint")
    parser.add_argument("images", nargs="+", help="files, folders or patterns")
    parser.add_argument("--top", type=int, default=3, help="letters to show for each image")
    parser.add_argument(
        "--hand-model", type=Path, help="hand detector of a model that looks for hands"
    )
    given = parser.parse_args(arguments)
    return cli.answered(
        "asl_exp.predict",
        lambda: _predict(given.model, given.images, given.top, given.hand_model),
    )


def _predict(model: Path, images: Sequence[str], top: int, hand_model: Path | None) -> None:
    paths = list(_files(images))
    from asl_exp.serving.predict import show_predictions

    show_predictions(model, paths, top, hand_model)


def _files(given: Sequence[str]) -> Iterator[Path]:
    """Yield the files given, and the images that folders and patterns name, as training would."""
    from asl_exp.data.sources.folder import image_files, is_image

    for name in given:
        path = Path(name)
        if path.is_file():
            yield path
            continue
        matches = [path] if path.is_dir() else _matches(name)
        found = [
            file
            for match in matches
            for file in (
                map(Path, image_files(match))
                if match.is_dir()
                else [match]
                if is_image(match.name)
                else []
            )
        ]
        if not found:
            raise UserError(f"{name}: no such file, or no image in it")
        yield from sorted(found)


def _matches(pattern: str) -> list[Path]:
    return [Path(found) for found in glob.glob(pattern, recursive=True)]  # noqa: PTH207 - absolute


if __name__ == "__main__":
    cli.start(main)

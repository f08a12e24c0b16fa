"""A contact sheet of the mistakes that the model was most sure of."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from asl_exp.config import readable
from asl_exp.evaluation.figures import canvas
from asl_exp.evaluation.scores import Integers, Labels, Probabilities, predicted_classes

COLUMNS = 6
MOST = 24  # images on the sheet
LONGEST_NAME = 22  # characters of a file name that fit below an image
LONGEST_CLASS = 8  # characters of a class that fit twice above an image

_DRAWN = re.compile(r"^synthetic:.*/(\w+)/session(\d+)/[^/]+/(\d+)@seed\d+$")

Images = npt.NDArray[np.uint8]


def most_confident_mistakes(probabilities: Probabilities, labels: Labels) -> Integers:
    """Return indices of wrongly classified images `(M,)`, the highest confidence first."""
    wrong = np.flatnonzero(predicted_classes(probabilities) != labels)
    confidence = probabilities[wrong].max(axis=1)
    return wrong[np.argsort(-confidence, kind="stable")]


def mistakes_figure(
    path: Path, images: Images, captions: Sequence[tuple[str, str]], what: str, line: str
) -> None:
    """Draw images `(M, S, S, 3)` with a caption and a file name each."""
    rows = max(1, int(np.ceil(len(images) / COLUMNS)))
    columns = min(COLUMNS, len(images))
    figure = canvas.new_figure(1.75 * max(3, columns), 2.15 * rows + 0.8)
    canvas.title(figure, what, line)
    if not captions:
        canvas.say(figure.add_subplot(), "no mistakes")
    for place, (image, caption) in enumerate(zip(images, captions, strict=True)):
        _draw_image(figure.add_subplot(rows, columns, place + 1), image, caption)
    canvas.save(figure, path)


def _draw_image(axes: Axes, image: Images, caption: tuple[str, str]) -> None:
    axes.imshow(image, interpolation="antialiased")
    axes.set(xticks=[], yticks=[])
    axes.set_title(canvas.plain(caption[0]), fontsize=9.5 if len(caption[0]) < 18 else 8)
    name = canvas.plain(canvas.shortened(caption[1], LONGEST_NAME))
    axes.set_xlabel(name, fontsize=7, color=canvas.GREY)


def captions(
    chosen: Integers,
    probabilities: Probabilities,
    labels: Labels,
    classes: Sequence[str],
    paths: Sequence[str],
) -> list[tuple[str, str]]:
    """Return ``A → S  0.98`` (true, predicted, its probability) and the file name of each."""
    predicted = predicted_classes(probabilities)
    names = [canvas.shortened(name, LONGEST_CLASS) for name in classes]
    return [
        (
            f"{names[labels[i]]} → {names[predicted[i]]}  {_sureness(probabilities[i].max())}",
            _image_name(paths[i]),
        )
        for i in chosen
    ]


def _sureness(probability: float) -> str:
    """Return it in two digits; that of a mistake is never written as 1."""
    return readable.score(min(float(probability), np.nextafter(1, 0)), 2)


def _image_name(path: str) -> str:
    """Return a file's name; of a drawn hand its signer, session and number."""
    drawn = _DRAWN.search(path)
    return Path(path).name if drawn is None else f"{drawn[1]}, take {drawn[2]}.{int(drawn[3])}"

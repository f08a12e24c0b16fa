"""Letters and probabilities of images: read in threads, answered in batches, shown or written.

Probabilities are calibrated (model/kept.py), those of a run's predictions.parquet are not:
with a temperature of 1 both are the same.
"""

import csv
import json
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final, Literal

import torch
from rich.table import Table

from asl_exp.config import readable
from asl_exp.config.console import Console
from asl_exp.config.errors import UserError
from asl_exp.config.names import record_name
from asl_exp.config.redact import csv_cell, printable
from asl_exp.data.decode import UnreadableImageError
from asl_exp.data.decode_pool import n_cores, progress
from asl_exp.data.hands.hand import NO_HAND
from asl_exp.model.classifier import LetterClassifier
from asl_exp.model.recognizer import BATCH, Recognizer, Seen
from asl_exp.serving.inputs import EVERY_S, Inputs, Shown, frames, told

Form = Literal["table", "json", "csv"]

_BATCHES_AHEAD: Final = 2
"""That are read while one is answered."""


@dataclass(frozen=True)
class Asked:
    """What is to be predicted, and how it is shown.

    Attributes:
        model: run folder, model folder or checkpoint.
        top: letters to show for each image, in the table.
        form: table (tab-separated lines in a pipe), json (an object a line) or csv.
        hand_model: file of the hand detector; None: found as ``Recognizer.load`` does.
        camera: number of a camera that is watched until it ends; None: no camera.
        every_s: seconds between the frames of a video or a camera.
        explain: folder for a picture of each image, with what its answer rested on; None: none.
    """

    model: Path
    top: int = 3
    form: Form = "table"
    hand_model: Path | None = None
    camera: int | None = None
    every_s: float = EVERY_S
    explain: Path | None = None


@dataclass(frozen=True)
class Answer:
    """What a model says of one image.

    Attributes:
        shown: the image.
        row: letter, probability, hand_found where hands are looked for, and probability/<class>.
    """

    shown: Shown
    row: dict[str, Any]

    @property
    def name(self) -> str:
        """What the image is called."""
        return self.shown.name

    @property
    def letter(self) -> str:
        """The letter, "no hand" or "not sure"."""
        return str(self.row["letter"])

    @property
    def ranked(self) -> dict[str, float]:
        """Classes and their probabilities, the highest first; none where there is no hand."""
        if self.letter == NO_HAND:
            return {}
        of_classes = [(k, p) for k, p in self.row.items() if k.startswith("probability/")]
        ranked = sorted(of_classes, key=lambda one: -one[1])
        return {key.removeprefix("probability/"): p for key, p in ranked}


def show_predictions(asked: Asked, given: Inputs) -> int:
    """Print the answer for each image; return 0, or 1 where images could not be read.

    Raises:
        UserError: no model there, or its hand detector or what explains cannot be had.
    """
    recognizer = Recognizer.load(asked.model, asked.hand_model)
    if asked.explain is not None and not isinstance(recognizer.kept.model, LetterClassifier):
        raise UserError(
            f"--explain: {asked.model} is an exported network, which cannot be looked into; give "
            "the run or the model folder that it was made from"
        )
    recognizer.kept.model.to("cuda" if torch.cuda.is_available() else "cpu")
    unreadable: list[str] = []
    found: Iterator[Answer]
    if asked.camera is not None:
        each = frames(asked.camera, asked.every_s)
        found = chain.from_iterable(answers(recognizer, [shown], unreadable) for shown in each)
    else:
        found = answers(recognizer, given.images(asked.every_s), unreadable)
        if asked.explain is not None:
            found = _explained(found, recognizer, asked.explain)
        found = _with_progress(found, len(given.shown))
    _WRITERS[asked.form](found, asked, recognizer.kept.classes)
    if given.passed_over:
        print(told(given.passed_over), file=sys.stderr)
    unreadable += given.unreadable
    if unreadable:
        lines = [f"{len(unreadable)} could not be read:", *unreadable]
        print("\n  ".join(map(printable, lines)), file=sys.stderr)
    return 1 if unreadable else 0


def answers(
    recognizer: Recognizer, images: Iterable[Shown], unreadable: list[str]
) -> Iterator[Answer]:
    """Yield the answer for every image that can be read, in order.

    Args:
        recognizer: the model, on the device where it is to run.
        images: any number.
        unreadable: gets ``path: reason`` of each image that cannot.
    """
    size = BATCH[recognizer.device.type]
    for batch in _batches(_seen(recognizer, images, size * _BATCHES_AHEAD, unreadable), size):
        rows = recognizer.rows([seen for _, seen in batch])
        for (shown, _), row in zip(batch, rows, strict=True):
            yield Answer(shown, row)


def _seen(
    recognizer: Recognizer, images: Iterable[Shown], ahead: int, unreadable: list[str]
) -> Iterator[tuple[Shown, Seen]]:
    """Yield each and what the network sees; up to ``ahead`` images are read before it is asked."""
    waiting: deque[tuple[Shown, Future[Seen]]] = deque()
    n_threads = 1 if recognizer.detector else n_cores()  # its networks answer one at a time
    pool = ThreadPoolExecutor(n_threads, "read")
    try:
        for shown in images:
            waiting.append((shown, pool.submit(recognizer.look, shown.image)))
            if len(waiting) > ahead:
                yield from _read(*waiting.popleft(), unreadable)
        while waiting:
            yield from _read(*waiting.popleft(), unreadable)
    finally:
        pool.shutdown(cancel_futures=True)


def _read(
    shown: Shown, reading: Future[Seen], unreadable: list[str]
) -> Iterator[tuple[Shown, Seen]]:
    try:
        seen = reading.result()
    except UnreadableImageError as error:
        unreadable.append(f"{shown.name}: {error.reason}")
    else:
        yield shown, seen


def _batches(rows: Iterator[tuple[Shown, Seen]], size: int) -> Iterator[list[tuple[Shown, Seen]]]:
    while batch := list(islice(rows, size)):
        yield batch


def _explained(found: Iterator[Answer], recognizer: Recognizer, folder: Path) -> Iterator[Answer]:
    """Yield all, and write for each a picture of what the answer rested on."""
    from asl_exp.evaluation.explain import explain, picture  # matplotlib comes with it

    folder.mkdir(parents=True, exist_ok=True)
    # a list: the reading threads are done, and one hand detector cannot look for two at a time
    for number, answer in enumerate(list(found), start=1):
        words = (f"{number:04}", record_name(Path(answer.name).stem), record_name(answer.letter))
        drawn = picture(explain(recognizer, answer.shown.image))
        drawn.save(folder / f"{'_'.join(words)}.png")
        yield answer


def _with_progress(found: Iterator[Answer], total: int) -> Iterator[Answer]:
    """Yield all, with a bar on a terminal where there are many."""
    if not sys.stderr.isatty() or total <= BATCH["cpu"]:
        yield from found
        return
    with progress("predict", total) as advance:
        for done, answer in enumerate(found, start=1):
            advance(done)
            yield answer


def _table(found: Iterator[Answer], asked: Asked, classes: tuple[str, ...]) -> None:
    """Print a table on a terminal, and tab-separated lines in a pipe."""

    def cells(answer: Answer) -> tuple[str, str, str, str]:
        ranked = list(answer.ranked.items())
        shown = ranked if answer.letter not in classes else ranked[1:]
        others = shown[: max(0, asked.top - 1)]
        then = [f"{name} {readable.score(value, 2)}" for name, value in others]
        if ranked and answer.row.get("hand_found") is False:
            then.append("no hand found")
        return answer.name, answer.letter, f"{ranked[0][1]:.3f}" if ranked else "-", ", ".join(then)

    console = Console()
    if not console.is_terminal or asked.camera is not None:
        for answer in found:
            print("\t".join(map(printable, cells(answer))), flush=asked.camera is not None)
        return
    table = Table()
    table.add_column("image", overflow="fold")
    table.add_column("letter", style="bold")
    table.add_column("probability", justify="right")
    table.add_column("then")
    for answer in found:
        table.add_row(*cells(answer))
    console.print(table)


def _json(found: Iterator[Answer], asked: Asked, _: tuple[str, ...]) -> None:
    for answer in found:
        ranked = answer.ranked
        content = {
            "image": answer.name,
            "letter": answer.letter,
            "probability": next(iter(ranked.values()), None),
            "probabilities": ranked,
        }
        if "hand_found" in answer.row:
            content["hand_found"] = answer.row["hand_found"]
        print(json.dumps(content), flush=asked.camera is not None)


def _csv(found: Iterator[Answer], _: Asked, classes: tuple[str, ...]) -> None:
    lines = csv.writer(sys.stdout, lineterminator="\n")
    header = ["image", "letter", "probability", *(f"probability/{name}" for name in classes)]
    lines.writerow(csv_cell(printable(name)) for name in header)
    for answer in found:
        ranked = answer.ranked
        numbers = [f"{ranked[name]:.6g}" if ranked else "" for name in classes]
        first = f"{max(ranked.values()):.6g}" if ranked else ""
        names = (csv_cell(printable(name)) for name in (answer.name, answer.letter))
        lines.writerow([*names, first, *numbers])


_WRITERS: Final = {"table": _table, "json": _json, "csv": _csv}

"""What all figures share: colours, text that is drawn as written, and saving.

Figures are made through matplotlib's object API alone: no pyplot, so no display is looked for and
no state is left behind in a process that goes on training.
"""

from collections.abc import Sequence
from math import isnan
from pathlib import Path
from textwrap import wrap
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from asl_exp.config import readable
from asl_exp.data.fonts import drawable, families

DPI: Final = 120

Shares = npt.NDArray[np.float64]

# Okabe and Ito's palette, told apart with every common colour blindness.
BLUE: Final = "#0072B2"
ORANGE: Final = "#D55E00"
GREEN: Final = "#009E73"
PINK: Final = "#CC79A7"
AMBER: Final = "#E69F00"
SKY: Final = "#56B4E9"
BLACK: Final = "#222222"
GREY: Final = "#8A8A8A"
FAINT: Final = "#D9D9D9"
PALE: Final = "#EEEEEE"
SERIES: Final = (ORANGE, GREEN, PINK, AMBER, SKY)


def new_figure(width: float, height: float) -> Figure:
    """Return an empty white figure of that many inches whose parts make room for each other."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def panels(
    size: tuple[float, float],
    what: str,
    line: str,
    shares: Sequence[float] = (1,),
    *,
    above: float = 0.12,
) -> tuple[Figure, list[Axes]]:
    """Return a figure with its title and panels, one below the other, with fixed room for labels.

    To find that room by measuring every label takes half as long as to draw the figure.

    Args:
        size: width and height in inches, of a figure whose title has two lines.
        shares: of the height, a panel each.
        above: inches between the title and the first panel.
    """
    figure = Figure(figsize=size, dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    heading = title(figure, what, line)
    rows = 1 + heading.get_text().count("\n")
    width, height = size[0], size[1] + 0.2 * max(0, rows - 2)
    figure.set_figheight(height)
    heading.set_y(1 - 0.1 / height)
    figure.subplots_adjust(
        left=0.8 / width, right=1 - 0.2 / width, hspace=0.06,
        bottom=0.6 / height, top=1 - (0.1 + 0.2 * rows + above) / height,
    )  # fmt: skip
    grid = figure.subplots(len(shares), 1, sharex=True, squeeze=False, height_ratios=shares)
    return figure, list(grid[:, 0])


def title(figure: Figure, what: str, line: str) -> Text:
    """Write what is shown, and below it what the line says: images, scores, then any caution."""
    fitting = int(figure.get_figwidth() / 0.1)  # characters at that size, in inches each
    rows = [shortened(what, fitting)]
    rows += [row for part in line.split("\n") for row in wrap(part, fitting)]
    return figure.suptitle("\n".join(map(plain, rows)), fontsize=12)


def line(n_images: int, *told: str) -> str:
    """Return ``717 images, accuracy 0.513``."""
    images = "1 image" if n_images == 1 else f"{n_images:,} images"
    return ", ".join(filter(None, (images, *told)))


def number(name: str, value: float, interval: Sequence[float] | None = None) -> str:
    """Return ``accuracy 0.513 (0.48 to 0.55)``; nothing where there is no value."""
    spread = f" ({readable.interval(interval)})" if interval else ""
    return "" if isnan(value) else f"{name} {readable.score(value)}{spread}"


def plain(text: str) -> str:
    """Return text that matplotlib draws as it is: a dollar sign would start a formula.

    Fonts that its script needs come after the default one; what no font has is escaped.
    """
    known = list(rcParams["font.family"])
    rcParams["font.family"] = list(dict.fromkeys([*known, *families(text)]))
    return drawable(text).replace("$", r"\$")


def shortened(text: str, length: int) -> str:
    """Return the text, or both its ends around an ellipsis when it is longer than that."""
    end = length // 2
    return text if len(text) <= length else f"{text[: length - end - 1]}…{text[-end:]}"


def say(axes: Axes, text: str) -> None:
    """Write a sentence where there is nothing to draw."""
    axes.clear()
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=13, transform=axes.transAxes)


def shares_map(
    axes: Axes,
    values: Shares,
    rows: Sequence[str],
    columns: Sequence[str],
    spreads: Sequence[Sequence[str]] | None = None,
) -> None:
    """Draw shares of 0 to 1 `(R, C)` as a map of colours with whole percents; NaN stays empty.

    The texts of `spreads`, a row of them each row, stand small below the percents.
    """
    image = axes.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    axes.set_xticks(range(len(columns)), [plain(name) for name in columns], fontsize=8)
    axes.set_yticks(range(len(rows)), [plain(name) for name in rows], fontsize=8)
    for row, column in np.ndindex(values.shape):
        if not np.isnan(values[row, column]):
            shade = "black" if values[row, column] > 0.6 else "white"
            spread = spreads[row][column] if spreads else ""
            axes.text(
                column, row, f"{100 * values[row, column]:.0f}",
                ha="center", va="bottom" if spread else "center", fontsize=7, color=shade,
            )  # fmt: skip
            axes.text(column, row + 0.08, spread, ha="center", va="top", fontsize=5, color=shade)
    if (figure := axes.get_figure(root=True)) is not None:
        figure.colorbar(image, ax=axes, fraction=0.02)


def mark(figure: Figure, caution: str) -> None:
    """Write below everything what must stand beside the scores shown, if there is anything."""
    if caution:
        rows = wrap(caution, int(figure.get_figwidth() / 0.085))
        figure.supxlabel("\n".join(map(plain, rows)), fontsize=10, color=ORANGE)


def save(figure: Figure, path: Path) -> None:
    """Write a PNG whose title is in its metadata as well; equal figures are equal files."""
    told = "\n".join(filter(None, (figure.get_suptitle(), figure.get_supxlabel())))
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")  # else matplotlib draws everything twice to lay it out
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    # savefig would draw everything once more, to find a renderer
    canvas.draw()  # type: ignore[no-untyped-call]
    drawn = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")  # type: ignore[no-untyped-call]
    save_picture(drawn, path, told.replace(r"\$", "$"))


def save_picture(picture: Image.Image, path: Path, told: str) -> None:
    """Write a PNG with a title in its metadata.

    Compressed at zlib's level 3: the usual 6 takes half as long again for a tenth less.
    """
    described = PngInfo()
    described.add_text("Title", told)
    picture.save(path, "PNG", compress_level=3, dpi=(DPI, DPI), pnginfo=described)

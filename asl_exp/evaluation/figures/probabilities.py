"""What probabilities are worth, drawn: ROC and precision-recall, reliability, risk by coverage.

Of the curves by class the averages are strong, the classes with the smallest areas are named, all
others are faint.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from asl_exp.config import readable
from asl_exp.evaluation.figures import canvas
from asl_exp.evaluation.one_vs_rest import Curve, OneVsRest
from asl_exp.evaluation.risk_coverage import WANTED, RiskCoverage
from asl_exp.evaluation.scores import N_BINS, Reliability

Corner = Literal["lower left", "lower right", "upper right"]
Steps = Literal["default", "steps-pre"]

N_NAMED = len(canvas.SERIES)
LONGEST_NAME = 14  # characters
NAMED_BELOW = 0.9995  # an area that is written 1.000 is not worth naming
ENLARGED_FROM = 0.95  # macro area above which the curves huddle in a corner
CORNER_SIZE = 0.1  # of the enlarged corner, in rates


def roc_figure(path: Path, curves: OneVsRest, classes: Sequence[str], what: str, line: str) -> None:
    """Draw true positive rate against false positive rate."""
    figure, axes = _new(what, line, "false positive rate", "true positive rate")
    axes.plot([0, 1], [0, 1], color=canvas.GREY, linewidth=1, linestyle=":")
    _draw(axes, curves, classes, "default")
    _legend(axes, curves, len(classes), "lower right", "area under the curve")
    if curves.macro_area > ENLARGED_FROM:
        _enlarge_corner(axes, curves, classes)
    canvas.save(figure, path)


def precision_recall_figure(
    path: Path, curves: OneVsRest, classes: Sequence[str], what: str, line: str
) -> None:
    """Draw precision against recall."""
    figure, axes = _new(what, line, "recall", "precision")
    _draw(axes, curves, classes, "steps-pre")
    empty: Corner = "lower left" if curves.macro_area > 0.6 else "upper right"
    _legend(axes, curves, len(classes), empty, "average precision")
    canvas.save(figure, path)


def _new(what: str, line: str, across: str, up: str) -> tuple[Figure, Axes]:
    figure, (axes,) = canvas.panels((7.2, 7.6), what, line)
    axes.set(xlim=(-0.015, 1.015), ylim=(-0.015, 1.015), aspect="equal", xlabel=across, ylabel=up)
    axes.grid(color=canvas.PALE)
    axes.set_axisbelow(True)
    return figure, axes


def _draw(axes: Axes, curves: OneVsRest, classes: Sequence[str], steps: Steps) -> None:
    """Draw the faint curves first and the averages last, so that these lie on top."""
    named = _smallest(curves)
    for index, curve in curves.classes.items():
        if index not in named:
            axes.plot(curve.x, curve.y, color=canvas.FAINT, linewidth=1, drawstyle=steps)
    for index, color in zip(named, canvas.SERIES, strict=False):
        name = canvas.shortened(classes[index], LONGEST_NAME)
        _plot(axes, curves.classes[index], name, steps, color=color, linewidth=1.5)
    if curves.micro and curves.macro:
        _plot(axes, curves.micro, "micro average", steps, color=canvas.BLUE, linewidth=2.4)
        _plot(axes, curves.macro, "macro average", steps, color=canvas.BLACK, linewidth=2.4)


def _plot(
    axes: Axes, curve: Curve, name: str, steps: Steps, *, color: str, linewidth: float
) -> None:
    # The area comes first: matplotlib leaves labels with a leading underscore out of legends.
    label = f"{readable.score(curve.area)}  {canvas.plain(name)}"
    (line,) = axes.plot(curve.x, curve.y, drawstyle=steps, label=label)
    line.set(color=color, linewidth=linewidth)
    if color == canvas.BLACK:
        line.set_linestyle((0, (4, 1.5)))  # the micro average often lies right below


def _smallest(curves: OneVsRest) -> list[int]:
    """Return the indices of the classes with the smallest areas, the smallest first."""
    below = [i for i, curve in curves.classes.items() if curve.area < NAMED_BELOW]
    return sorted(below, key=lambda index: curves.classes[index].area)[:N_NAMED]


def _legend(axes: Axes, curves: OneVsRest, n_classes: int, corner: Corner, heading: str) -> None:
    if not curves.classes:
        canvas.say(axes, "no curve: it needs images of two classes")
        return
    lines, labels = axes.get_legend_handles_labels()
    *named, micro, macro = zip(lines, labels, strict=True)
    n_faint, n_missing = len(curves.classes) - len(named), n_classes - len(curves.classes)
    one = n_faint == 1
    others = ("other" if one else "others") + (", not lower" if one else ", none lower")
    others = others if named else ("class" if one else "classes")
    notes = [
        (Line2D([], [], color=canvas.FAINT), f"{n_faint} {others}" if n_faint else ""),
        (Line2D([], [], color="none"), f"{n_missing} without an image" if n_missing else ""),
    ]
    entries = [macro, micro, *named, *(note for note in notes if note[1])]
    shown, texts = zip(*entries, strict=True)
    axes.legend(shown, texts, loc=corner, title=heading, fontsize=9, alignment="left")


def _enlarge_corner(axes: Axes, curves: OneVsRest, classes: Sequence[str]) -> None:
    corner = axes.inset_axes((0.36, 0.44, 0.48, 0.48))
    _draw(corner, curves, classes, "default")
    edge = CORNER_SIZE * 0.02
    corner.set(xlim=(-edge, CORNER_SIZE), ylim=(1 - CORNER_SIZE, 1 + edge))
    ticks = np.linspace(0, CORNER_SIZE, 3)
    corner.set(xticks=ticks, yticks=1 - ticks)
    corner.tick_params(labelsize=8)
    corner.grid(color=canvas.PALE)
    corner.set_title("upper left corner, enlarged", fontsize=9)


CENTRES = (np.arange(N_BINS) + 0.5) / N_BINS
WIDTH = 1 / N_BINS


def reliability_figure(path: Path, bins: Reliability, what: str, line: str) -> None:
    """Draw accuracy against confidence above the counts of each bin."""
    figure, (above, below) = canvas.panels((7.2, 8.2), what, line, (3, 1.3))
    _draw_accuracy(above, bins)
    _draw_counts(below, bins)
    below.set(xlim=(0, 1), xlabel="confidence: probability of the predicted class")
    canvas.save(figure, path)


def _draw_accuracy(axes: Axes, bins: Reliability) -> None:
    known = bins.counts > 0
    centres, accuracy, confidence = CENTRES[known], bins.accuracy[known], bins.confidence[known]
    axes.bar(
        centres, accuracy, WIDTH * 0.94, color=canvas.SKY, edgecolor=canvas.BLUE, label="accuracy"
    )
    axes.bar(
        centres,
        confidence - accuracy,
        WIDTH * 0.94,
        bottom=accuracy,
        color="none",
        edgecolor=canvas.ORANGE,
        hatch="///",
        linewidth=0.8,
        label="gap to the mean confidence",
    )
    axes.plot([0, 1], [0, 1], color=canvas.BLACK, linestyle="--", label="perfectly calibrated")
    axes.set(ylim=(0, 1.02), ylabel="accuracy")
    axes.legend(loc="upper left", fontsize=9)


def _draw_counts(axes: Axes, bins: Reliability) -> None:
    axes.bar(CENTRES, bins.counts, WIDTH * 0.94, color=canvas.GREY)
    for centre, count in zip(CENTRES, bins.counts, strict=True):
        if count:
            axes.annotate(
                f"{count:,}",
                (float(centre), float(count)),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
    axes.set(ylim=(0, float(bins.counts.max()) * 1.18), ylabel="images")
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))  # 200k: long numbers have no room


def risk_coverage_figure(path: Path, curve: RiskCoverage, what: str, line: str) -> None:
    """Draw the curve into a PNG, with the coverage at which each wanted accuracy is reached."""
    figure, (axes,) = canvas.panels((7.2, 5.4), what, line)
    axes.step(curve.coverage, curve.risk, where="post", color=canvas.BLUE, linewidth=1.8)
    axes.fill_between(curve.coverage, curve.risk, step="post", color=canvas.SKY, alpha=0.25)
    axes.axhline(
        float(curve.risk[-1]), color=canvas.GREY, linestyle=":", label="all images answered"
    )
    for wanted, colour in zip(WANTED, canvas.SERIES, strict=False):
        if at := curve.threshold(wanted):
            axes.plot(
                at[1], 1 - wanted, "o", color=colour,
                label=f"accuracy {wanted:.0%}: {readable.percent(at[1])} answered, "
                f"confidence from {at[0]:.3f}",
            )  # fmt: skip
    axes.set(
        xlim=(0, 1), ylim=(0, min(1.0, float(curve.risk.max()) * 1.1 + 0.02)),
        xlabel="coverage: share of images answered, the surest first",
        ylabel="risk: share of errors among the answers",
    )  # fmt: skip
    axes.grid(color=canvas.PALE)
    axes.legend(fontsize=8, loc="upper left")
    canvas.save(figure, path)

"""ROC and precision-recall curves of all classes in one readable picture.

The averages are strong, the classes with the smallest areas are named, all others are faint.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from asl_exp.evaluation import canvas
from asl_exp.evaluation.ranking import Curve, OneVsRest

Corner = Literal["lower left", "lower right"]

N_NAMED = len(canvas.SERIES)
LONGEST_NAME = 14  # characters
WORST_BELOW = 0.9995  # an area that is written 1.000 is not worth naming


def roc_figure(path: Path, curves: OneVsRest, classes: Sequence[str], line: str) -> None:
    """Draw true positive rate against false positive rate; `line` describes the set."""
    figure, axes = _new("ROC, one class against the rest", line)
    axes.plot([0, 1], [0, 1], color=canvas.GREY, linewidth=1, linestyle=":")
    _draw(axes, curves, classes, "lower right", steps=False)
    axes.set_xlabel("false positive rate")
    axes.set_ylabel("true positive rate")
    canvas.save(figure, path)


def precision_recall_figure(
    path: Path, curves: OneVsRest, classes: Sequence[str], line: str
) -> None:
    """Draw precision against recall; `line` describes the set."""
    figure, axes = _new("Precision and recall, one class against the rest", line)
    _draw(axes, curves, classes, "lower left", steps=True)
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")
    canvas.save(figure, path)


def _new(what: str, line: str) -> tuple[Figure, Axes]:
    figure = canvas.new_figure(7.2, 7.4)
    axes = figure.add_subplot()
    axes.set(xlim=(-0.015, 1.015), ylim=(-0.015, 1.015), aspect="equal")
    axes.grid(color="#EEEEEE")
    axes.set_axisbelow(True)
    canvas.title(figure, what, line)
    return figure, axes


def _draw(
    axes: Axes, curves: OneVsRest, classes: Sequence[str], legend_at: Corner, *, steps: bool
) -> None:
    if curves.macro is None or curves.micro is None:
        canvas.say(axes, "No curve: it needs images of two classes.")
        return
    style = "steps-pre" if steps else "default"
    named = _worst(curves)
    for index, curve in curves.classes.items():
        if index not in named:
            axes.plot(curve.x, curve.y, color=canvas.FAINT, linewidth=1, drawstyle=style)
    for index, color in zip(named, canvas.SERIES, strict=False):
        _plot(axes, curves.classes[index], _name(classes[index]), color, 1.4, style)
    _plot(axes, curves.micro, "micro average", canvas.BLUE, 2.2, style, "--")
    _plot(axes, curves.macro, "macro average", canvas.BLACK, 2.6, style)
    _legend(axes, curves, len(classes), len(named), legend_at)


def _plot(
    axes: Axes, curve: Curve, name: str, color: str, width: float, style: str, dashes: str = "-"
) -> None:
    axes.plot(
        curve.x,
        curve.y,
        color=color,
        linewidth=width,
        linestyle=dashes,
        drawstyle=style,
        label=f"{name}  {curve.area:.3f}",
    )


def _worst(curves: OneVsRest) -> list[int]:
    """Return the indices of the classes with the smallest areas, the smallest first."""
    below = [i for i, curve in curves.classes.items() if curve.area < WORST_BELOW]
    return sorted(below, key=lambda index: curves.classes[index].area)[:N_NAMED]


def _name(label: str) -> str:
    return canvas.plain(canvas.shortened(label, LONGEST_NAME))


def _legend(axes: Axes, curves: OneVsRest, n_classes: int, n_named: int, legend_at: Corner) -> None:
    handles, labels = axes.get_legend_handles_labels()
    n_faint, n_missing = len(curves.classes) - n_named, n_classes - len(curves.classes)
    if n_faint:
        handles.append(axes.plot([], [], color=canvas.FAINT)[0])
        labels.append(f"{n_faint} classes with larger areas" if n_named else f"{n_faint} classes")
    if n_missing:
        handles.append(axes.plot([], [], color="none")[0])
        labels.append(f"{n_missing} of {n_classes} classes have no image")
    heading = "area under the curve; smallest classes named"
    axes.legend(handles, labels, loc=legend_at, title=heading, fontsize=9, title_fontsize=9)

"""The learning curve over people, and what its fit expects of more of them."""

from collections.abc import Sequence
from pathlib import Path

from asl_exp.evaluation.figures import canvas
from asl_exp.evaluation.more_people import PeopleCurve


def more_people_figure(path: Path, curves: Sequence[PeopleCurve]) -> None:
    """Draw accuracy by the number of training people into a PNG, a panel a set."""
    figure = canvas.new_figure(5.2 * len(curves), 4.6)
    canvas.title(figure, "How many more people?", "dots: means; dashed: the fit, 95 % shaded")
    for axes, one in zip(figure.subplots(1, len(curves), squeeze=False).flat, curves, strict=True):
        for order in one.orders:
            axes.plot(one.sizes, order, color=canvas.FAINT, linewidth=0.8)
        axes.plot(one.sizes, one.accuracy, "o", color=canvas.BLUE)
        axes.plot(one.asked, one.fitted, "--", color=canvas.ORANGE)
        if one.low is not None and one.high is not None:
            axes.fill_between(one.asked, one.low, one.high, color=canvas.AMBER, alpha=0.25)
        axes.axvline(one.sizes[-1], color=canvas.GREY, linestyle=":")
        axes.set_title(canvas.plain(one.name), fontsize=10)
        axes.set(xlabel=f"training {one.unit}s", ylabel="accuracy")
        axes.grid(color=canvas.PALE)
    canvas.save(figure, path)

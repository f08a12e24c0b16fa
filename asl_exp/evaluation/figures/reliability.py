"""How far stated confidence can be trusted: the reliability diagram and the risk-coverage curve."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from asl_exp.config import readable
from asl_exp.evaluation.figures import canvas
from asl_exp.evaluation.risk_coverage import WANTED, RiskCoverage
from asl_exp.evaluation.scores import N_BINS, Reliability

CENTRES = (np.arange(N_BINS) + 0.5) / N_BINS
WIDTH = 1 / N_BINS


def reliability_figure(path: Path, bins: Reliability, what: str, line: str) -> None:
    """Draw accuracy against confidence above the counts of each bin."""
    figure = canvas.new_figure(7.2, 8.2)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.3))
    _draw_accuracy(above, bins)
    _draw_counts(below, bins)
    below.set(xlim=(0, 1), xlabel="confidence: probability of the predicted class")
    canvas.title(figure, what, line)
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


def risk_coverage_figure(path: Path, curve: RiskCoverage, what: str, line: str) -> None:
    """Draw the curve into a PNG, with the coverage at which each wanted accuracy is reached."""
    figure = canvas.new_figure(7.2, 5.4)
    axes = figure.add_subplot()
    canvas.title(figure, what, line)
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

"""The reliability diagram: how far stated confidence is from accuracy, and for how many images."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from asl_exp.evaluation.figures import canvas
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

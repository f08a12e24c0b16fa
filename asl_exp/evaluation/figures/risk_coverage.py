"""The risk-coverage curve: errors among the answers given, by the share of images answered."""

from pathlib import Path

from asl_exp.config import readable
from asl_exp.evaluation.figures import canvas
from asl_exp.evaluation.risk_coverage import WANTED, RiskCoverage


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

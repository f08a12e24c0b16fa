"""The winner and the default, repeated: a line for each seed between its two values."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from asl_exp.evaluation.figures import canvas
from asl_exp.study.confirmation import Comparison


def confirm_figure(comparisons: list[Comparison]) -> Figure | None:
    """Draw a panel for each objective; None where nothing was compared."""
    shown = [one for one in comparisons if one.differences]
    if not shown:
        return None
    figure = canvas.new_figure(8, 3.6 * len(shown) + 0.8)
    seeds = ", ".join(str(seed) for seed in shown[0].winner)
    canvas.title(figure, "Winner and default with other seeds", f"seeds {seeds}")
    panels = figure.subplots(len(shown), 1, squeeze=False)[:, 0]
    for axes, comparison in zip(panels, shown, strict=True):
        _draw(axes, comparison)
    return figure


def _draw(axes: Axes, comparison: Comparison) -> None:
    default = comparison.default or {}
    for seed, value in comparison.winner.items():
        if seed in default:
            axes.plot([0, 1], [default[seed], value], "o-", color=canvas.BLUE, alpha=0.7)
            axes.annotate(f"seed {seed}", (1, value), xytext=(8, 0), fontsize=9,
                          textcoords="offset points", va="center")  # fmt: skip
    axes.plot(1, comparison.best, "*", color=canvas.ORANGE, markersize=15, linestyle="none",
              markeredgecolor="white", label="in the study, where it was chosen for this value",
              zorder=4)  # fmt: skip
    axes.set_xticks([0, 1], ["default", f"winner (trial {comparison.trial})"])
    axes.set_xlim(-0.4, 1.6)
    axes.set_ylabel(canvas.plain(comparison.metric))
    axes.set_title(comparison.verdict(), fontsize=10)
    axes.grid(axis="y", color=canvas.PALE)
    axes.legend(fontsize=9)

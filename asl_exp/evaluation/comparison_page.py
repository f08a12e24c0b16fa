"""The report on several runs as Markdown and as one HTML file that needs nothing else."""

from collections.abc import Iterable, Sequence
from html import escape
from io import BytesIO
from statistics import mean, stdev
from typing import Final

from matplotlib.figure import Figure

from asl_exp.config import names
from asl_exp.config.documents import html_document, html_image, html_table, markdown_table
from asl_exp.config.signature import network_name
from asl_exp.evaluation.comparison import (
    Compared,
    Pair,
    differing_settings,
    repetitions,
    set_names,
    warnings,
)
from asl_exp.evaluation.figures.canvas import mark
from asl_exp.evaluation.figures.compared import curves_figure, recall_figure
from asl_exp.evaluation.intervals import Interval
from asl_exp.evaluation.paired import is_shown, sentence

_MOST_SENTENCES: Final = 12
Table = tuple[list[str], list[list[str]]]


def markdown(runs: Sequence[Compared], found: Sequence[Pair]) -> str:
    """Return the report on runs and what `pairs` found as Markdown, without its figures."""
    parts = [
        "# Comparison of runs",
        *(f"> **Warning:** {text}" for text in warnings(runs)),
        "Accuracy of the kept checkpoint, with its 95 % interval, measured / published.",
        _markdown_table(score_table(runs)),
        _basis(runs),
        *(["## Differences", *(f"- {text}" for text in sentences(found))] if found else []),
        *(["## What differs", _markdown_table(settings_table(runs))] if len(runs) > 1 else []),
        "## Time",
        _markdown_table(time_table(runs)),
    ]
    return "\n\n".join(part for part in parts if part).replace("\n\n- ", "\n- ") + "\n"


def html_page(runs: Sequence[Compared], found: Sequence[Pair]) -> str:
    """Return the same as one HTML page with its figures inside."""
    body = [
        *(f"<p class='note bad'>{escape(text)}</p>" for text in warnings(runs)),
        "<h2>Scores</h2><p>Accuracy of the kept checkpoint, with its 95 % interval; "
        "a slash sets the published figure beside it.</p>",
        _html_table(score_table(runs)),
        f"<p>{escape(_basis(runs))}</p>",
        *_differences(found),
        "<h2>Learning curves</h2>",
        _image(curves_figure(runs), "learning curves", _cautions(runs, "val")),
        *(
            f"<h2>Recall by class, {escape(where)}</h2>"
            + _image(
                recall_figure(runs, where), f"recall by class on {where}", _cautions(runs, where)
            )
            for where in set_names(runs)
        ),
        *(["<h2>What differs</h2>", _html_table(settings_table(runs))] if len(runs) > 1 else []),
        "<h2>Time</h2>",
        _html_table(time_table(runs)),
    ]
    return html_document("Comparison of runs", "".join(body))


def score_table(runs: Sequence[Compared]) -> Table:
    """Return header and rows: a row for each configuration, its repetitions together."""
    sets = set_names(runs)
    header = ["run", "network", "split", "train", "val", *sets]
    return header, [_score_row(same, sets) for same in repetitions(runs)]


def _score_row(same: Sequence[Compared], sets: Sequence[str]) -> list[str]:
    first = same[0]
    label = first.label if len(same) == 1 else f"{first.label} and {len(same) - 1} more (repeated)"
    caution = first.result.cautions.get("test")
    split = (first.result.split or first.config.data.split) + (f" ({caution})" if caution else "")
    cells = [label, _network(first), split]
    for name in ("train", "val"):
        values = [run.result.metrics.get(names.score_key(name, "accuracy")) for run in same]
        known = [value for value in values if value is not None]
        cells.append(_cell(known, None, first.published.get(name)))
    for where in sets:
        scored = [run.sets[where] for run in same if where in run.sets]
        interval = scored[0].intervals.of.get("accuracy") if len(scored) == 1 else None
        known = [one.values["accuracy"] for one in scored]
        cells.append(_cell(known, interval, first.published.get(where.split("/")[0])))
    return cells


def _network(run: Compared) -> str:
    """Return the network's name, and what its backbone started from, where it has one."""
    if run.config.hand.mode == "joints":
        return network_name(run.config)
    weights = "pretrained" if run.config.backbone.pretrained else "random"
    return f"{network_name(run.config)}, {weights}"


def _cell(values: Sequence[float], interval: Interval | None, published: float | None) -> str:
    if not values:
        return "-"
    text = f"{mean(values):.3f}"
    if len(values) > 1:
        text += f" ± {stdev(values):.3f}"
    elif interval:
        text = f"{values[0]:.{_digits(interval)}f} [{interval[0]:.2f}, {interval[1]:.2f}]"
    return text if published is None else f"{text} / {published:.2f}"


def _digits(interval: Interval) -> int:
    """Return the digits that an interval allows."""
    return 3 if interval[1] - interval[0] < 0.02 else 2


def _basis(runs: Sequence[Compared]) -> str:
    told = {f"{w}: {run.sets[w].intervals.described()}" for run in runs for w in run.sets}
    return "; ".join(sorted(told)) + "." if told else ""


def sentences(found: Sequence[Pair]) -> list[str]:
    """Return a sentence for each pair, those that are shown first; the rest are counted."""
    ranked = sorted(found, key=lambda one: (not is_shown(one.found, one.p), one.where, one.p))
    told = [sentence(p.first, p.second, p.where, p.found, p.p) for p in ranked[:_MOST_SENTENCES]]
    more = len(ranked) - len(told)
    return told + ([f"and {more} more pairs, in report.json"] if more else [])


def _differences(found: Sequence[Pair]) -> Iterable[str]:
    if found:
        yield "<h2>Differences</h2><p>Tested on the same images; p is McNemar's, corrected for the "
        yield "number of pairs (Holm); intervals draw groups where they are known.</p><ul>"
        yield from (f"<li>{escape(text)}</li>" for text in sentences(found))
        yield "</ul>"


def settings_table(runs: Sequence[Compared]) -> Table:
    """Return the settings in which the runs differ."""
    rows = [[key, *map(str, values)] for key, values in differing_settings(runs).items()]
    return ["setting", *(run.label for run in runs)], rows


def time_table(runs: Sequence[Compared]) -> Table:
    """Return what each run took, by stage."""
    stages = list(dict.fromkeys(stage for run in runs for stage in run.result.seconds))
    rows = [
        [run.label, *(_seconds(run.result.seconds.get(stage)) for stage in stages)] for run in runs
    ]
    return ["run, seconds", *stages], rows


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _markdown_table(table: Table) -> str:
    return markdown_table(*table) if table[1] else "Nothing."


def _html_table(table: Table) -> str:
    return html_table(*table) if table[1] else "<p>Nothing.</p>"


def _cautions(runs: Sequence[Compared], where: str) -> str:
    """Return what must stand beside the scores of one set, once for all runs."""
    said = dict.fromkeys(run.result.cautions.get(where, "") for run in runs)
    return "; ".join(filter(None, said))


def _image(figure: Figure, text: str, caution: str) -> str:
    mark(figure, caution)
    content = BytesIO()
    figure.savefig(content, format="png", dpi=110)
    return html_image(content.getvalue(), alt=text)

"""The report on several runs as Markdown and as one HTML file that needs nothing else."""

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from io import BytesIO
from statistics import mean, stdev
from typing import Final

from matplotlib.figure import Figure

from asl_exp.config import names, readable
from asl_exp.config.documents import html_document, html_image, html_table, markdown_table
from asl_exp.config.signature import network_name
from asl_exp.evaluation.comparison import (
    Compared,
    Configuration,
    best_by_validation,
    configurations,
    differing_settings,
    set_names,
    shown,
)
from asl_exp.evaluation.differences import (
    MOST_PAIRED,
    Pair,
    common_images,
    is_shown,
    sentence,
    warnings,
)
from asl_exp.evaluation.figures.canvas import mark
from asl_exp.evaluation.figures.compared import cost_figure, curves_figure, recall_figure
from asl_exp.evaluation.intervals import Interval

_MOST_SENTENCES: Final = 8
_MOST_COLUMNS: Final = 6
_SCORES: Final = (
    "Accuracy of the kept checkpoint, with its 95 % interval; of repeated runs, mean and standard "
    "deviation."
)
Table = tuple[list[str], list[list[str]]]


def markdown(runs: Sequence[Compared], found: Sequence[Pair]) -> str:
    """Return the report on runs and what `pairs` found as Markdown, without its figures."""
    compared = configurations(runs)
    parts = [
        "# Comparison of runs",
        *(f"> **Warning:** {text}" for text in warnings(runs, compared)),
        f"{_SCORES} Measured / published.",
        _markdown_table(score_table(compared)),
        _basis(runs),
        *(["## Differences", *(f"- {text}" for text in sentences(found))] if found else []),
        *(["## What differs", _markdown_table(settings_table(runs))] if len(runs) > 1 else []),
        "## Cost",
        _markdown_table(cost_table(runs)),
    ]
    return "\n\n".join(part for part in parts if part).replace("\n\n- ", "\n- ") + "\n"


def html_page(runs: Sequence[Compared], found: Sequence[Pair]) -> str:
    """Return the same as one HTML page with its figures inside."""
    compared = configurations(runs)
    drawn = best_by_validation(compared, MOST_PAIRED)
    sets = set_names(runs)
    body = [
        *(f"<p class='note bad'>{escape(text)}</p>" for text in warnings(runs, compared)),
        f"<h2>Scores</h2><p>{_SCORES} A slash sets the published figure beside it.</p>",
        _html_table(score_table(compared)),
        f"<p>{escape(_basis(runs))}</p>",
        *_differences(found),
        "<h2>Learning curves</h2>",
        _image(curves_figure(drawn), "learning curves", _cautions(runs, "val")),
        *(
            f"<h2>Recall by class, {escape(where)}</h2>"
            + _image(
                recall_figure(drawn, where), f"recall by class on {where}", _cautions(runs, where)
            )
            for where in set_names([run for one in drawn for run in one.runs])
        ),
        *(["<h2>What differs</h2>", _html_table(settings_table(runs))] if len(runs) > 1 else []),
        "<h2>Cost</h2>",
        _html_table(cost_table(runs)),
        *(
            [_image(cost_figure(drawn, sets[0]), "cost against accuracy", "")]
            if sets and len(drawn) > 1
            else []
        ),
    ]
    return html_document("Comparison of runs", "".join(body))


def score_table(compared: Sequence[Configuration]) -> Table:
    """Return header and rows: a row for each configuration, its repetitions together.

    Beside several external sets stands their mean; beside a set on which different images were
    tested, the accuracy on the common ones.
    """
    sets = set_names([run for one in compared for run in one.runs])
    external = [where for where in sets if where.startswith(names.EXTERNAL)]
    common = [one for one in common_images(compared) if len(one.images)]
    header = ["run", "network", "split", "train", "val", *sets]
    header += ["external, mean"] if len(external) > 1 else []
    header += [f"{one.where}, {len(one.images):,} common images" for one in common]
    rows = []
    for one in compared:
        row = _score_row(one, sets, external)
        for shared in common:
            told = shared.accuracy(one) if one.scored(shared.where) else None
            row.append(_cell([told[0]], told[1], None) if told else "-")
        rows.append(row)
    return header, rows


def _score_row(one: Configuration, sets: Sequence[str], external: Sequence[str]) -> list[str]:
    first = one.first
    caution = first.result.cautions.get("test")
    split = (first.result.split or first.config.data.split) + (f" ({caution})" if caution else "")
    cells = [one.label, _network(first), split]
    for name in ("train", "val"):
        key = names.score_key(name, "accuracy")
        known = [run.result.metrics[key] for run in one.runs if key in run.result.metrics]
        bounds = first.result.intervals.get(key)
        interval = (bounds[0], bounds[1]) if bounds else None
        cells.append(_cell(known, interval, first.published.get(name)))
    for where in sets:
        scored = one.scored(where)
        interval = scored[0].intervals.of.get("accuracy") if len(scored) == 1 else None
        known = [each.values["accuracy"] for each in scored]
        alone = where not in external or len(external) == 1
        published = first.published.get(where.split("/")[0]) if alone else None
        cells.append(_cell(known, interval, published))
    if len(external) > 1:
        cells.append(_cell(_external_means(one, external), None, first.published.get("external")))
    return cells


def _external_means(one: Configuration, external: Sequence[str]) -> list[float]:
    """Return each run's mean over the external sets, of runs that were scored on all of them."""
    return [
        mean(run.sets[where].values["accuracy"] for where in external)
        for run in one.runs
        if all(where in run.sets for where in external)
    ]


def _network(run: Compared) -> str:
    """Return the network's name, and what its backbone started from, where it has one."""
    if run.config.hand.mode == "joints":
        return network_name(run.config)
    weights = "pretrained" if run.config.backbone.pretrained else "random"
    return f"{network_name(run.config)}, {weights}"


def _cell(values: Sequence[float], interval: Interval | None, published: float | None) -> str:
    if not values:
        return "-"
    text = readable.score(mean(values))
    if len(values) > 1:
        text += f" ± {readable.score(stdev(values))}"
    elif interval:
        text = f"{readable.score(values[0], _digits(interval))} ({readable.interval(interval)})"
    return text if published is None else f"{text} / {published:.2f}"


def _digits(interval: Interval) -> int:
    """Return the digits that an interval allows."""
    return 3 if interval[1] - interval[0] < 0.02 else 2


def _basis(runs: Sequence[Compared]) -> str:
    told = {f"{w}: {run.sets[w].intervals.described()}" for run in runs for w in run.sets}
    return "; ".join(sorted(told)) + "." if told else ""


def sentences(found: Sequence[Pair]) -> list[str]:
    """Return a sentence for each pair, set by set, the shown first; the rest is counted."""
    told = []
    for where in dict.fromkeys(pair.where for pair in found):
        here = [pair for pair in found if pair.where == where]
        here.sort(key=lambda one: (not is_shown(one.found, one.p), one.p))
        told += [sentence(p.first, p.second, where, p.found, p.p) for p in here[:_MOST_SENTENCES]]
        if (more := len(here) - _MOST_SENTENCES) > 0:
            told.append(f"and {more} more pairs on {where}, in report.json")
    return told


def _differences(found: Sequence[Pair]) -> Iterable[str]:
    if found:
        yield "<h2>Differences</h2><p>Tested on the same images; p is McNemar's, corrected for the "
        yield "number of pairs (Holm); intervals draw groups where they are known.</p><ul>"
        yield from (f"<li>{escape(text)}</li>" for text in sentences(found))
        yield "</ul>"


def settings_table(runs: Sequence[Compared]) -> Table:
    """Return the settings in which the runs differ: a row a setting, or a run where many are."""
    differing = {key: shown(values) for key, values in differing_settings(runs).items()}
    rows = [[key, *values] for key, values in differing.items()]
    if len(runs) <= _MOST_COLUMNS:
        return ["setting", *(run.label for run in runs)], rows
    if len(rows) <= _MOST_COLUMNS:
        return _turned((["run", *(run.label for run in runs)], rows))
    usual = {key: Counter(values).most_common(1)[0][0] for key, values in differing.items()}
    own = [
        [f"{key}={values[at]}" for key, values in differing.items() if values[at] != usual[key]]
        for at in range(len(runs))
    ]
    most = ["what most have", ", ".join(f"{key}={value}" for key, value in usual.items())]
    alone = [[run.label, ", ".join(part) or "-"] for run, part in zip(runs, own, strict=True)]
    return ["run", "settings of its own"], [most, *alone]


def _turned(table: Table) -> Table:
    """Return a table with a row for each of its columns."""
    header, *rows = zip(table[0], *table[1], strict=True)
    return list(header), [list(row) for row in rows]


def cost_table(runs: Sequence[Compared]) -> Table:
    """Return what each network and run took: its size, speed, and seconds by stage."""
    few = len(runs) <= _MOST_COLUMNS
    stages = list(dict.fromkeys(stage for run in runs for stage in run.result.seconds))
    phases = list(dict.fromkeys(phase for run in runs for phase in run.cost.epoch_seconds))
    header = ["run", "parameters", "GFLOPs an image", "images/s in training"]
    header += [f"s an epoch, {phase}" for phase in phases]
    header += [f"s, {stage}" for stage in stages] if few else ["s in all"]
    rows = []
    for run in runs:
        one = run.cost
        cells = [
            "-" if one.parameters is None else f"{one.parameters:,}",
            "-" if one.flops is None else f"{one.flops / 1e9:.3g}",
            "-" if one.images_per_second is None else f"{one.images_per_second:,.0f}",
        ]
        cells += [_seconds(one.epoch_seconds.get(phase)) for phase in phases]
        spent = run.result.seconds
        cells += (
            [_seconds(spent.get(one)) for one in stages] if few else [f"{sum(spent.values()):.4g}"]
        )
        rows.append([run.label, *cells])
    return _turned((header, rows)) if few else (header, rows)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


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

"""A study as one HTML page that needs nothing else: tables, and figures that answer the mouse.

The drawing library is inside the page, once, so that it opens without a network and in the MLflow
UI, which shows one file at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Any

import optuna
import plotly.graph_objects as go
from optuna import visualization
from plotly.offline import get_plotlyjs

from asl_exp.compat.optuna import quiet
from asl_exp.config import readable
from asl_exp.config.documents import html_document, html_table
from asl_exp.study import results
from asl_exp.study.figures import target
from asl_exp.study.importance import caution, importances
from asl_exp.study.results import Survey


def html_page(survey: Survey, title: str, sentences: Sequence[str], command: str) -> str:
    """Return the whole page.

    Args:
        survey: of the study.
        title: of the page.
        sentences: what it came to, in words.
        command: that runs the best trial again; empty where there is none.
    """
    told = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
    again = f"<p>Run it again:</p><pre>{escape(command)}</pre>" if command else ""
    body = "\n".join(
        [f"<div class='note good'>{told}{again}</div>", _table(survey), *_figures(survey)]
    )
    return html_document(title, body, script=get_plotlyjs())


def _table(survey: Survey) -> str:
    if not survey.finished:
        return ""
    table = html_table(results.header(survey), results.best_rows(survey))
    return (
        f"<h2>Best trials</h2>{_caution(survey)}{table}"
        "<p>All trials are in <code>trials.csv</code>.</p>"
    )


def _caution(survey: Survey) -> str:
    return f"<p><small>{escape(survey.caution)}</small></p>" if survey.caution else ""


def _figures(survey: Survey) -> Iterator[str]:
    for heading, figure in _drawn(survey):
        figure.update_layout(title=None, template="plotly_white", margin={"t": 30})
        figure.update_xaxes(exponentformat="none").update_yaxes(exponentformat="none")  # no 100µ
        drawn = figure.to_html(
            full_html=False, include_plotlyjs=False, config={"displaylogo": False}
        )
        yield f"<h2>{escape(heading)}</h2>{_caution(survey)}<div class='scroll'>{drawn}</div>"


def _drawn(survey: Survey) -> Iterator[tuple[str, go.Figure]]:
    if not survey.finished:
        return
    study, several = survey.study, len(survey.metrics) > 1
    if several:
        yield (
            "Pareto front",
            _made(visualization.plot_pareto_front, study, target_names=list(survey.metrics)),
        )
    for place, metric in enumerate(survey.metrics):
        aimed = target(survey, place)
        yield f"History: {metric}", _made(visualization.plot_optimization_history, study, **aimed)
        if not several and any(trial.intermediate_values for trial in survey.trials):
            yield f"Epochs: {metric}", _epochs(study, metric)
        if shares := importances(survey, place):
            yield f"Importances: {metric}", _bars(shares, caution(survey))
        if any(survey.drawn(key) for key in survey.keys):
            yield f"Slices: {metric}", _made(visualization.plot_slice, study, **aimed)
            if len(survey.finished) > 1:
                yield (
                    f"Parallel coordinates: {metric}",
                    _made(visualization.plot_parallel_coordinate, study, **aimed),
                )


def _epochs(study: optuna.Study, metric: str) -> go.Figure:
    """Draw each trial's epochs, from 1 on as everywhere that a person reads."""
    figure = _made(visualization.plot_intermediate_values, study)
    figure.for_each_trace(lambda trace: trace.update(x=[step + 1 for step in trace.x]))
    return figure.update_layout(xaxis_title="epoch", yaxis_title=metric)


def _bars(shares: dict[str, float], told_of: str) -> go.Figure:
    names, values = list(reversed(shares)), list(reversed(shares.values()))
    told = [readable.score(value, 2) for value in values]
    bars = go.Bar(x=values, y=names, orientation="h", text=told, textposition="outside")
    return go.Figure(bars, {"xaxis": {"title": f"share of the objective's spread, {told_of}"}})


def _made(plot: Callable[..., go.Figure], study: optuna.Study, **settings: Any) -> go.Figure:
    with quiet():
        return plot(study, **settings)

"""All images in two dimensions, as the network places them, in one interactive page.

Principal components first, then t-SNE (van der Maaten and Hinton, JMLR 2008), seeded. Distances
between far clusters mean little; what lies within one does.
"""

from collections.abc import Mapping
from html import escape
from pathlib import PurePath
from typing import Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.colors import qualitative
from plotly.offline import get_plotlyjs
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from asl_exp.config.documents import html_document
from asl_exp.evaluation.linear_head import Labelled

_MOST: Final = 3000
_COMPONENTS: Final = 50
_MOST_COLOURS: Final = 40
_FOLDERS: Final = 3  # last parts of a path that are shown
_BY: Final = {"class": "label", "source": "source", "split": "split", "group": "group"}


def places(sets: Mapping[str, Labelled]) -> pd.DataFrame:
    """Return a row an image, at most 3,000: x, y, split, label, source, group, path.

    Args:
        sets: split or external set to its features.
    """
    tables = [one.table.assign(split=name) for name, one in sets.items()]
    table = pd.concat(tables, ignore_index=True)
    features = np.concatenate([one.features for one in sets.values()])
    rows = np.random.default_rng(0).permutation(len(table))[:_MOST]
    at = _in_two(features[np.sort(rows)])
    kept = table.iloc[np.sort(rows)][["split", "label", "source", "group", "path"]]
    return kept.reset_index(drop=True).assign(x=at[:, 0], y=at[:, 1])


def _in_two(features: NDArray[np.float32]) -> NDArray[np.float32]:
    scaled = (features - features.mean(0)) / (features.std(0) + 1e-6)
    components = min(_COMPONENTS, *scaled.shape)
    reduced = PCA(components, random_state=0, svd_solver="full").fit_transform(scaled)
    if len(reduced) < 4:
        return np.asarray(np.pad(reduced, ((0, 0), (0, 2)))[:, :2], dtype=np.float32)
    perplexity = min(30.0, (len(reduced) - 1) / 3)
    return np.asarray(TSNE(perplexity=perplexity, random_state=0).fit_transform(reduced))


def html_page(table: pd.DataFrame, title: str) -> str:
    """Return the page: a point an image, coloured by class, source, split or group at choice."""
    figure = go.Figure()
    shown: list[str] = []
    for name, column in _BY.items():
        values = table[column].astype(str)
        common = values.value_counts().index[:_MOST_COLOURS]
        named = values.where(values.isin(common), "others")
        for value in sorted(named.unique()):
            figure.add_trace(_points(table[(named == value).to_numpy()], value, name == "class"))
            shown.append(name)
    buttons = [
        {"label": f"by {name}", "method": "restyle",
         "args": [{"visible": [one == name for one in shown]}]}
        for name in _BY
    ]  # fmt: skip
    figure.update_layout(
        template="plotly_white", height=820, margin={"l": 8, "r": 8, "t": 56, "b": 8},
        colorway=qualitative.Alphabet if table["label"].nunique() > 10 else qualitative.D3,
        legend={"itemsizing": "constant", "orientation": "h", "y": 0, "yanchor": "top"},
        updatemenus=[{"type": "buttons", "direction": "right", "buttons": buttons, "x": 0,
                      "xanchor": "left", "y": 1, "yanchor": "bottom", "font": {"size": 11}}],
        xaxis={"visible": False}, yaxis={"visible": False, "scaleanchor": "x"},
    )  # fmt: skip
    drawn = figure.to_html(full_html=False, include_plotlyjs=False, config={"displaylogo": False})
    told = f"{len(table):,} images by their features; what lies together looks alike to the network"
    return html_document(title, f"<p>{escape(told)}.</p>{drawn}", script=get_plotlyjs())


def _points(rows: pd.DataFrame, name: str, visible: bool) -> go.Scattergl:
    told = [
        f"{escape(str(one.label))}, {escape(str(one.split))}<br>"
        + escape("/".join(PurePath(str(one.path)).parts[-_FOLDERS:]))
        for one in rows.itertuples()
    ]
    return go.Scattergl(
        x=rows["x"], y=rows["y"], mode="markers", name=escape(name), visible=visible, text=told,
        hoverinfo="text", marker={"size": 5, "opacity": 0.75},
    )  # fmt: skip

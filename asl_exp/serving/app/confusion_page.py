"""The page Confusions: a run's confusion matrix, and behind each cell its pictures."""

from typing import Any, Final

import altair as alt
import pandas as pd
import streamlit as st

from asl_exp.config import readable
from asl_exp.data.decode import UnreadableImageError
from asl_exp.serving.app import parts
from asl_exp.serving.app.choices import Choice
from asl_exp.serving.app.parts import plain
from asl_exp.serving.app.pictures import answers_of, classes_of, thumbnail

TRUE, ANSWERED = "true letter", "answer"
_MATRIX, _CELL = "matrix", "cell"
_SHOWN: Final = 12
_SIDE: Final = 160
_MEGAPIXELS: Final = 100.0
_ROW: Final = 26
"""Pixels of a row of the matrix."""

_WITH_NUMBERS: Final = 12
"""Classes up to which the counts are written into the cells."""


def show(choice: Choice) -> None:
    """Show the page.

    Raises:
        UserError: the run's predictions cannot be read.
    """
    if not choice.sets:
        st.info("This model has no scores. A run is scored by")
        st.code(f"python -m asl_exp.evaluate {choice.path}", language="bash")
        return
    name = st.selectbox("Set", choice.sets, index=len(choice.sets) - 1)
    answers = answers_of(choice, name)
    right = float((answers["label"] == answers["predicted"]).mean())
    told = parts.share(right, choice.interval(name))
    st.markdown(f"{len(answers):,} pictures, **{told}** right. {parts.worth(choice)}")
    cells = cells_of(answers)
    keys = [tuple(pair) for pair in cells[[TRUE, ANSWERED]].to_numpy().tolist()]
    if st.session_state.get(_CELL) not in keys:
        st.session_state[_CELL] = keys[0]
    chart = _chart(cells, classes_of(choice, name))
    st.altair_chart(chart, width="stretch", key=_MATRIX, on_select=lambda: _clicked(keys))
    counts = dict(zip(keys, cells["pictures"], strict=True))
    chosen = st.selectbox(
        "Pictures of (or click the matrix)",
        keys,
        key=_CELL,
        format_func=lambda key: f"{said(key)} ({counts[key]})",
    )
    _show_pictures(answers, chosen)


def cells_of(answers: pd.DataFrame) -> pd.DataFrame:
    """Return true letter, answer, pictures and share of the true letter's; mistakes first."""
    counted = answers.groupby(["label", "predicted"], as_index=False).size()
    counted.columns = pd.Index([TRUE, ANSWERED, "pictures"])
    counted["share"] = counted["pictures"] / counted.groupby(TRUE)["pictures"].transform("sum")
    counted["wrong"] = counted[TRUE] != counted[ANSWERED]
    return counted.sort_values(["wrong", "pictures"], ascending=False, ignore_index=True)


def said(cell: tuple[str, str]) -> str:
    """Return ``A taken for S``, or ``A, rightly``."""
    true, answer = cell
    return f"{true}, rightly" if true == answer else f"{true} taken for {answer}"


def _clicked(keys: list[tuple[str, str]]) -> None:
    """Choose the cell that was clicked on; the page then runs again."""
    selected: Any = st.session_state[_MATRIX].selection.get(_CELL) or []
    for one in selected:
        key = (one.get(TRUE), one.get(ANSWERED))
        if key in keys:
            st.session_state[_CELL] = key


def _chart(cells: pd.DataFrame, names: list[str]) -> Any:
    every = alt.Scale(domain=names)  # an answer that was never given is a column as well
    click = alt.selection_point(name=_CELL, fields=[TRUE, ANSWERED], empty=False)
    base = alt.Chart(cells).encode(
        x=alt.X(
            f"{ANSWERED}:N",
            scale=every,
            axis=alt.Axis(orient="top", labelAngle=0, labelOverlap=False),
        ),
        y=alt.Y(f"{TRUE}:N", scale=every, axis=alt.Axis(labelOverlap=False, labelFlush=False)),
        tooltip=[TRUE, ANSWERED, "pictures", alt.Tooltip("share", format=".0%")],
    )
    colour = alt.Color("share:Q", scale=alt.Scale(scheme="blues", domain=[0, 1]), legend=None)
    stroke = alt.condition(click, alt.value("#d55e00"), alt.value("transparent"))
    squares = base.mark_rect(strokeWidth=3, cursor="pointer").encode(color=colour, stroke=stroke)
    squares = squares.add_params(click).properties(height=_ROW * len(names) + 60)
    if len(names) > _WITH_NUMBERS:
        return squares
    ink = alt.condition("datum.share > 0.5", alt.value("white"), alt.value("#222222"))
    numbers = base.mark_text(fontSize=14).encode(text="pictures:Q", color=ink)
    return alt.layer(squares, numbers)


def _show_pictures(answers: pd.DataFrame, cell: tuple[str, str]) -> None:
    chosen = answers[(answers["label"] == cell[0]) & (answers["predicted"] == cell[1])]
    chosen = chosen.sort_values("confidence", ascending=False)
    shown, captions = [], []
    for path, confidence in zip(chosen["path"][:_SHOWN], chosen["confidence"], strict=False):
        try:
            shown.append(thumbnail(str(path), _SIDE, _MEGAPIXELS))
        except UnreadableImageError as error:
            st.caption(plain(str(error)))
            continue
        captions.append(f"{readable.percent(confidence)} sure")
    if shown:
        st.image(shown, caption=captions, width=_SIDE)
    if len(chosen) > _SHOWN:
        st.caption(f"The {_SHOWN} surest of {len(chosen):,}.")

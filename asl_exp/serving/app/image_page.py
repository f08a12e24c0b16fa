"""The page One image: a picture, and what one model or two read in it and why."""

from collections.abc import Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from asl_exp.config.errors import UserError
from asl_exp.data.decode import SUFFIXES, UnreadableImageError
from asl_exp.data.hands.hand import NO_HAND
from asl_exp.evaluation.explain import explain, picture
from asl_exp.serving.app import parts
from asl_exp.serving.app.choices import Choice, loaded
from asl_exp.serving.app.parts import plain
from asl_exp.serving.app.pictures import answers_of, confused_with, encoded

UPLOAD, CAMERA, SCORED = "Upload", "Camera", "Pictures it was scored on"
_NOBODY = "no other model"


def show(choice: Choice, choices: list[Choice]) -> None:
    """Show the page."""
    taken = _picture(choice)
    if taken is None:
        return
    others = [one for one in choices if one != choice]
    second = None
    if others:
        second = st.selectbox(
            "Side by side with",
            [None, *others],
            format_func=lambda one: one.told() if one else _NOBODY,
        )
    name, image, truth = taken
    if truth is not None:
        st.markdown(f"The picture shows **{plain(truth)}**.")
    if second is None:
        _read(choice, name, image, st.columns(2))
        return
    for column, one in zip(st.columns(2), (choice, second), strict=True):
        with column:
            st.markdown(f"**{plain(one.name)}**")
            _read(one, name, image, [column, column])


def _picture(choice: Choice) -> tuple[str, bytes, str | None] | None:
    """Return name, bytes and true letter of the picture that is chosen; None before one is."""
    sources = [UPLOAD, CAMERA, *([SCORED] if choice.sets else [])]
    source = st.radio("Picture", sources, horizontal=True, label_visibility="collapsed")
    if source == SCORED:
        return _scored_picture(choice)
    if source == CAMERA:
        given = st.camera_input("Hold one hand into the picture", label_visibility="collapsed")
        return ("the photo", given.getvalue(), None) if given else None
    endings = [ending.removeprefix(".") for ending in sorted(SUFFIXES)]
    given = st.file_uploader("A picture of one hand", type=endings)
    return (given.name, given.getvalue(), None) if given else None


def _scored_picture(choice: Choice) -> tuple[str, bytes, str | None] | None:
    first, second, third = st.columns(3)
    name = first.selectbox("Set", choice.sets)
    table = answers_of(choice, name)
    letter = second.selectbox("Letter", sorted(table["label"].unique()))
    rows = table[table["label"] == letter].reset_index(drop=True)
    row = third.number_input(f"Picture, of {len(rows)}", 1, len(rows), 1)
    path = str(rows["path"][int(row) - 1])
    try:
        return path, encoded(path), str(letter)
    except UnreadableImageError as error:
        st.error(plain(str(error)))
        return None


def _read(choice: Choice, name: str, image: bytes, columns: Sequence[DeltaGenerator]) -> None:
    """Show what a model reads in a picture and why, and beside it how else it might be read.

    On a phone the second column stands below the first.
    """
    try:
        model = loaded(choice)
        with model.lock:
            seen = model.recognizer.look(image)
            row = model.recognizer.recognize([seen]).iloc[0]
    except UnreadableImageError as error:
        columns[0].error(f"{plain(name)}: {plain(error.reason)}")
        return
    except UserError as error:
        columns[0].error(plain(str(error)))
        return
    shares = row.filter(like="probability/").astype(float)
    shares.index = [str(key).removeprefix("probability/") for key in shares.index]
    letter = str(row["letter"])
    known = letter in model.recognizer.kept.classes
    with columns[0]:
        parts.answer(letter, float(row["probability"]) if known else None)
        st.markdown(parts.worth(choice))
        if seen.found is False:
            st.info("No hand was found. Show one whole hand, lit from the front.")
        _show_why(choice, image)
    with columns[1]:
        if letter != NO_HAND:
            parts.bars(shares)
            _show_confusions(choice, letter if known else str(shares.idxmax()))
        parts.cautions(choice)


def _show_confusions(choice: Choice, letter: str) -> None:
    if not choice.sets:
        return
    name = choice.sets[-1]  # of other people, where there are some
    parts.confusions(letter, confused_with(answers_of(choice, name), letter), name)


def _show_why(choice: Choice, image: bytes) -> None:
    """Show what the network saw with what its answer rested on."""
    model = loaded(choice)
    with model.lock:
        try:
            explained = explain(model.recognizer, image)
        except UserError as error:  # the extra is not installed
            st.caption(plain(str(error)))
            return
    st.image(picture(explained), width="stretch")
    told = []
    if explained.heat is not None:
        told.append("Grad-CAM: red is where the picture spoke for this letter.")
    if explained.joint_weights is not None:
        told.append("Large red joints moved the answer most.")
    st.caption(" ".join(told))

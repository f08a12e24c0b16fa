"""The app's front: a model, and what to do with it.

Texts of a model, a file or a person are shown as they are written: class names and paths may come
from a stranger.
"""

from pathlib import Path

import streamlit as st

from asl_exp.config.errors import UserError
from asl_exp.serving.app import confusion_page, image_page, live_page, parts
from asl_exp.serving.app.choices import Choice, all_choices
from asl_exp.serving.app.parts import plain

IMAGE, SPELL, CONFUSES = "One image", "Spell", "Confusions"
_FRESH_S = 30  # until a run that has ended since is among the models


def show(runs_dir: Path, models: tuple[Path, ...]) -> None:
    """Show the page of a folder of runs and further models; what is wrong is said in words."""
    st.html(parts.STYLE)
    try:
        choices = _choices(runs_dir, models)
        if choices:
            _show(choices)
        else:
            _say_how_to_train(runs_dir)
    except UserError as error:
        st.error(plain(str(error)))


@st.cache_data(ttl=_FRESH_S, show_spinner="Looking for models")
def _choices(runs_dir: Path, models: tuple[Path, ...]) -> list[Choice]:
    return all_choices(runs_dir, models)


def _show(choices: list[Choice]) -> None:
    st.header("Letters of ASL", anchor=False)
    choice = st.selectbox("Model", choices, format_func=Choice.told)
    pages = [IMAGE, SPELL, CONFUSES]
    page = st.segmented_control("Page", pages, default=IMAGE, label_visibility="collapsed")
    if page == SPELL:
        live_page.show(choice)
    elif page == CONFUSES:
        confusion_page.show(choice)
    else:
        image_page.show(choice, choices)


def _say_how_to_train(runs_dir: Path) -> None:
    st.header("No model yet", anchor=False)
    st.markdown(
        f"There is no trained model in **{plain(str(runs_dir))}**. Train one on drawn hands, which "
        "takes some minutes on a CPU and downloads nothing:"
    )
    st.code("python -m asl_exp experiment=demo", language="bash")
    st.markdown("or on your own photos, a folder for each letter:")
    st.code("python -m asl_exp data=folder data.root=photos", language="bash")
    st.markdown("Then load this page again. `--runs-dir FOLDER` looks into another folder of runs.")

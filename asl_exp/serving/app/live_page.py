"""The page that spells: the live camera, and the word that grows.

A frame comes as the component's value and runs this fragment alone; the answer goes back as the
component's argument, and then it sends the next. So the component stands last: what follows it
would be cut short by the frame after. A frame is answered once, however often the page runs.
"""

from pathlib import Path
from typing import Any

import streamlit as st
import streamlit.components.v1 as components

from asl_exp.config.errors import UserError
from asl_exp.serving.app import parts
from asl_exp.serving.app.choices import Choice, loaded
from asl_exp.serving.app.parts import plain
from asl_exp.serving.app.spelling import Speller, answered, shown

_FRAME, _ANSWER = "frame", "answer"
_camera = components.declare_component(
    "asl_exp_camera", path=str(Path(__file__).with_name("camera"))
)


def show(choice: Choice) -> None:
    """Show the page.

    Raises:
        UserError: the model cannot be loaded.
    """
    loaded(choice)
    st.markdown(
        "Hold a letter still for a second and it is typed. To type it twice, take the hand away "
        f"in between. {parts.worth(choice)}"
    )
    _spell(choice)


@st.fragment
def _spell(choice: Choice) -> None:
    speller: Speller = st.session_state.setdefault("speller", Speller())
    frame = st.session_state.get(_FRAME)
    answer = st.session_state.get(_ANSWER) or shown(speller, None)
    if isinstance(frame, dict) and frame.get("id") != answer["id"]:
        answer = _answer(choice, speller, frame)
        st.session_state[_ANSWER] = answer
    _camera(answer=answer, key=_FRAME, default=None)


def _answer(choice: Choice, speller: Speller, frame: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to a frame; what is wrong with it is said above the picture."""
    model = loaded(choice)
    try:
        with model.lock:
            return answered(model.recognizer, speller, frame)
    except (UserError, ValueError, KeyError, TypeError) as error:
        st.error(plain(str(error)))
        return shown(speller, frame.get("id"))

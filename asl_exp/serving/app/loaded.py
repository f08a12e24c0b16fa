"""Models that are in memory, shared by all who look at the app."""

from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import streamlit as st

from asl_exp.model.recognizer import Recognizer, find_checkpoint
from asl_exp.serving.app.choices import Choice

_AT_ONCE = 4


@dataclass(frozen=True)
class Loaded:
    """A model and its lock.

    Attributes:
        recognizer: of the model.
        lock: held while it works: the hand detector does one picture at a time.
    """

    recognizer: Recognizer
    lock: Lock = field(default_factory=Lock)


def loaded(choice: Choice) -> Loaded:
    """Return a model; the same one until its file changes.

    Raises:
        UserError: it cannot be read, or its hand detector cannot be had.
    """
    return _load(choice.path, find_checkpoint(choice.path).stat().st_mtime_ns)


@st.cache_resource(max_entries=_AT_ONCE, show_spinner="Loading the model")
def _load(path: Path, changed_ns: int) -> Loaded:
    return Loaded(Recognizer.load(path))

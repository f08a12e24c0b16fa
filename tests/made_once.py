"""What a session of tests makes once and then copies: empty stores of runs, pictures of scores.

A picture depends on what it is given and on nothing else, and hundreds of tiny runs score the same
few letters alike: the first draws it, and others get a copy, a quarter of what they take.
"""

import hashlib
import os
import pickle
import shutil
import threading
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any


def made(name: str) -> Path:
    """Return where all processes of the session keep a file that one of them has made."""
    return Path(os.environ["ASL_EXP_TEST_MADE"]) / name


def make_once() -> None:
    """Let this process, and those forked from it, copy what another one has made."""
    from asl_exp.evaluation.figures import confusion, probabilities
    from asl_exp.tracking import store

    store._make_store = _stores_once(store._make_store, made(store.DATABASE))
    for module in (confusion, probabilities):
        for name in [name for name in vars(module) if name.endswith("_figure")]:
            setattr(module, name, _drawn_once(getattr(module, name)))


def _stores_once(make: Callable[[Path], None], template: Path) -> Callable[[Path], None]:
    """Return a function that copies the first local store; MLflow takes 2 CPU s for each."""

    def make_or_copy(runs_dir: Path) -> None:
        store = runs_dir / template.name
        if template.exists():
            _copy_whole(template, store)
        else:
            make(runs_dir)
            _copy_whole(store, template)

    return make_or_copy


def _drawn_once(draw: Callable[..., None]) -> Callable[..., None]:
    @wraps(draw)
    def draw_or_copy(path: Path, *given: Any) -> None:
        asked = pickle.dumps((draw.__name__, given))
        drawn = made(f"{hashlib.sha256(asked).hexdigest()}.png")
        if drawn.exists():
            shutil.copyfile(drawn, path)
        else:
            draw(path, *given)
            _copy_whole(path, drawn)

    return draw_or_copy


def _copy_whole(source: Path, target: Path) -> None:
    """Copy a file that is there at once or not at all."""
    copied = target.with_name(f".{target.name}.{threading.get_native_id()}")
    shutil.copyfile(source, copied)
    copied.replace(target)

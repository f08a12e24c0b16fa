"""Pieces of the app's pages: escaped text, the letter, its bars, and what a model is worth."""

import re
from collections.abc import Sequence
from html import escape
from typing import Final

import pandas as pd
import streamlit as st

from asl_exp.config import names, readable
from asl_exp.config.redact import printable, scrubbed
from asl_exp.serving.app.choices import Choice

_MARKUP: Final = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>$:~&])")
_BARS: Final = 8

STYLE: Final = """<style>
.stMainBlockContainer { padding-top: 2.5rem; }
[data-stale="true"] { opacity: 1 !important; }
.asl-answer { display: flex; align-items: baseline; gap: .8rem; flex-wrap: wrap; }
.asl-letter { font-size: 6rem; font-weight: 700; line-height: 1; overflow-wrap: anywhere; }
.asl-word { font-size: 2.6rem; }
.asl-sure { font-size: 1.2rem; opacity: .75; }
.asl-bars { display: grid; grid-template-columns: max-content 1fr 3.5rem; gap: .25rem .6rem;
            align-items: center; margin: .6rem 0; max-width: 30rem; }
.asl-bars span { font-variant-numeric: tabular-nums; }
.asl-bars i { display: block; height: .8rem; border-radius: .2rem; background: #8a8a8a; }
.asl-bars i.first { background: #0072b2; }
</style>"""


def plain(text: str) -> str:
    """Return a text as Markdown shows it letter by letter: no link, picture, formula or icon."""
    return _MARKUP.sub(r"\\\1", printable(scrubbed(text), lines=True))


def answer(letter: str, probability: float | None) -> None:
    """Show the letter large and how sure the model is; None where it does not say."""
    word = " asl-word" if len(letter) > 2 else ""
    sure = (
        ""
        if probability is None
        else f"<span class='asl-sure'>{escape(readable.percent(probability))} sure</span>"
    )
    large = f"<span class='asl-letter{word}'>{escape(letter)}</span>"
    st.html(f"<div class='asl-answer'>{large}{sure}</div>")


def bars(probabilities: pd.Series) -> None:
    """Show the likeliest letters as bars; the index is their names."""
    ranked = probabilities.sort_values(ascending=False)
    n_shown = _BARS if len(ranked) > _BARS + 1 else len(ranked)
    rows = []
    for place, (name, share) in enumerate(ranked[:n_shown].items()):
        first = " class='first'" if place == 0 else ""
        rows.append(
            f"<b>{escape(str(name))}</b><div><i{first} style='width:{share:.1%}'></i></div>"
            f"<span>{escape(readable.percent(share, 1))}</span>"
        )
    if rest := len(ranked) - n_shown:
        share = ranked[n_shown:].sum()
        told = escape(readable.percent(share, 1))
        rows.append(f"<span>{rest} others</span><div></div><span>{told}</span>")
    st.html(f"<div class='asl-bars'>{''.join(rows)}</div>")


def share(value: float, interval: Sequence[float] | None) -> str:
    """Return ``42% (35% to 49%)``, in words where there is no interval or it says nothing."""
    if interval is None:  # of one group, or of a run that kept none
        return f"{readable.percent(value)} (no interval)"
    spread = " to ".join(map(readable.percent, interval))
    told = readable.interval(interval) if readable.says_nothing(interval) else spread
    return f"{readable.percent(value)} ({told})"


def worth(choice: Choice) -> str:
    """Return, as Markdown, how often the model is right: what must stand beside its confidence."""
    test = ""
    if choice.test is not None:
        test = f"{share(choice.test, choice.interval('test'))} of its own test pictures"
    if choice.external is not None:
        told = share(choice.external, choice.interval(names.EXTERNAL))
        other = f"right on **{told} of other people's pictures**"
        return f"This model is {other}" + (f", and {test}." if test else ".")
    if test:
        return f"This model is right on {test}; on other people it was never tried. Expect less."
    return "This model was never scored: nobody knows how often it is right."


def cautions(choice: Choice) -> None:
    """Show what must stand beside the scores, where something must."""
    for name, caution in choice.cautions.items():
        st.caption(f"{plain(name)}: {plain(caution)}")


def confusions(letter: str, counted: Sequence[tuple[str, int, int]], where: str) -> None:
    """Show what a letter is most often confused with."""
    if not counted:
        st.caption(f"On the set {plain(where)} it confused {plain(letter)} with nothing.")
        return
    told = []
    for other, taken, given in counted[:3]:
        both = [f"called {other} {times(taken)}"] if taken else []
        both += [f"answered for {other} {times(given)}"] if given else []
        told.append(f"**{plain(other)}** ({plain(', '.join(both))})")
    st.markdown(f"{plain(letter)} is most often confused with {', '.join(told)}.")
    st.caption(f"Counted on the set {plain(where)}.")


def times(count: int) -> str:
    """Return ``once`` or ``3 times``."""
    return "once" if count == 1 else f"{count:,} times"

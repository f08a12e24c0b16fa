"""What Streamlit runs, from above and again at every click; front.py has the page itself.

The first time it loads PyTorch, which takes seconds: a person is told so meanwhile.
"""

import argparse
import sys
from pathlib import Path

import streamlit as st


def main() -> None:
    """Show the page of the arguments: a folder of runs, then further models."""
    parser = argparse.ArgumentParser()
    parser.add_argument("runs_dir", type=Path)
    parser.add_argument("models", type=Path, nargs="*")
    given = parser.parse_args(sys.argv[1:])
    st.set_page_config("Letters of ASL", page_icon="\N{RAISED HAND}", layout="centered")
    with st.spinner("Starting; the first time takes some seconds"):
        from asl_exp.serving.app import front
    front.show(given.runs_dir, tuple(given.models))


if __name__ == "__main__":
    main()

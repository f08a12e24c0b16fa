"""What forked commands find done: their process, before it forks, composed and drew once.

Hydra's parser learns its grammar, plugins are looked for and fonts are read at the first use in a
process: a fifth of what a tiny run takes, and in no way another than in the process before.
"""

import tempfile
from pathlib import Path

import httpx  # noqa: F401  tests/processes.py, which each fork imports, does
import numpy as np
import pytest  # noqa: F401

from asl_exp.config.compose import compose_config
from asl_exp.config.process_setup import collector_paused
from asl_exp.config.signature import told_settings
from asl_exp.evaluation.figures.confusion import confusion_figure

with collector_paused(), tempfile.TemporaryDirectory() as folder:
    told_settings(compose_config(["experiment=demo", "seed=1"]))
    confusion_figure(Path(folder) / "any.png", np.eye(2, dtype=int), "AB", "any", "any")

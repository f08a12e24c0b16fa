"""What the forkserver preloads: all that a run needs, in one go."""

from asl_exp.compat.quick_start import load_quickly
from asl_exp.config.process_setup import collector_paused

with collector_paused():
    load_quickly("timm", "pytorch_lightning", "mlflow")
    import asl_exp.training.launcher
    import asl_exp.training.run  # noqa: F401

"""What the group `debug` makes of an experiment, and what must stand beside its scores."""

from asl_exp.config.schema import Config, DebugConfig


def shortened(config: Config) -> Config:
    """Return a configuration whose phases have no more epochs than ``debug.epochs`` allows."""
    most = config.debug.epochs
    if most is None:
        return config
    schedule = {
        name: phase.model_copy(
            update={
                "epochs": min(phase.epochs, most),
                "views": None if phase.views is None else min(phase.views, most),
            }
        )
        for name, phase in config.schedule.items()
    }
    return config.model_copy(update={"schedule": schedule})


def debug_caution(debug: DebugConfig) -> str:
    """Return what must stand beside every score of a debug run; "" for other runs."""
    if debug == DebugConfig():
        return ""
    told = {
        "one batch": debug.one_batch,
        f"{debug.batches} batches": debug.batches is not None and not debug.one_batch,
        f"{100 * debug.share:.3g} % of the images": debug.share < 1,
        f"phases cut at epoch {debug.epochs}": debug.epochs is not None,
        "profiled": debug.profile,
    }
    return f"debug run ({', '.join(word for word, so in told.items() if so)}): no result"


def joined(said: str, more: str) -> str:
    """Return two cautions as one; either may be empty."""
    return "; ".join(filter(None, (said, more)))

"""Which detector an experiment's configuration names."""

from asl_exp.config.schema import HandConfig
from asl_exp.data.hands.finder import FinderSettings
from asl_exp.data.hands.hand_store import HandSource
from asl_exp.data.hands.model_file import model_file


def hand_source(hand: HandConfig, cache_dir: str) -> HandSource:
    """Return the detector of photos, its file the one given or the cache's, fetched on first use.

    Raises:
        DataError: the file cannot be had, or is another.
    """
    settings = FinderSettings(hand.confidence, hand.look_again)
    return HandSource(model_file(hand.model, cache_dir), settings)


def detector_digest(hand: HandConfig, cache_dir: str) -> str:
    """Return what joints depend on beside the image; "" where no hand is looked for."""
    if hand.mode == "none":
        return ""
    return "exact" if hand.detector == "exact" else hand_source(hand, cache_dir).digest

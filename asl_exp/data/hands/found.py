"""Which detector a configuration names, and the hands of an experiment's images that it finds."""

from collections.abc import Mapping

import numpy as np

from asl_exp.config.conf_folder import home_expanded
from asl_exp.config.errors import DataError
from asl_exp.config.rules import EXACT_ALONE
from asl_exp.config.schema import DataConfig, HandConfig
from asl_exp.data.hands.finder import FinderSettings
from asl_exp.data.hands.hand import Hands
from asl_exp.data.hands.hand_store import HandSource, HandStore
from asl_exp.data.hands.model_file import model_file
from asl_exp.data.manifest import Manifest
from asl_exp.data.sources.listing import is_file_key


def hands_of(
    manifest: Manifest, hand: HandConfig, data: DataConfig
) -> tuple[Hands, Mapping[int, str]]:
    """Return the hands of a manifest's images; looks for those that are not stored yet.

    Returns:
        The hands, and row to reason of images that turned out to be unreadable.

    Raises:
        DataError: the detector cannot be had, or there is no room for what it finds.
    """
    paths = manifest.table["path"].tolist()
    if hand.detector == "exact":
        if any(is_file_key(path) for path in paths):  # a table among data.external was of photos
            raise DataError(EXACT_ALONE)
        from asl_exp.data.hands.rendered import rendered_hands  # draws: no run of photos needs it

        return rendered_hands(paths), {}
    store = HandStore(
        home_expanded(data.cache_dir) / "hands",
        paths,
        manifest.table["sha256"].tolist(),
        hand_source(hand, data.cache_dir),
    )
    hands = store.open(
        max_megapixels=data.max_megapixels, workers=data.workers, limit_gb=data.cache_limit_gb
    )
    unreadable = np.flatnonzero(hands.sizes[:, 0] == 0)
    return hands, dict.fromkeys(unreadable.tolist(), "cannot be decoded")


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

"""Heads trained anew on stored features: the price of a leak, the worth of more people."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from asl_exp.config.errors import UserError
from asl_exp.config.names import Artifact
from asl_exp.data.audit.looks import look_at
from asl_exp.data.decode_pool import progress
from asl_exp.data.near_duplicates import near_pairs
from asl_exp.evaluation.certificate import LEAK, write_certificate
from asl_exp.evaluation.leak_price import LeakPrice, leak_price
from asl_exp.evaluation.more_people import PeopleCurve, more_people_figure, people_curves
from asl_exp.runs.result import Result
from asl_exp.runs.writing import replaced
from asl_exp.serving.kept_features import KeptFeatures, kept_features

PEOPLE: Final = "more_people"


def leak(folder: Path) -> LeakPrice:
    """Say what near-duplicates of a run's test images were worth.

    Writes evaluation/leak.json, and the certificate with what it says.

    Raises:
        UserError: no kept model, or features that already know the training images.
    """
    known = kept_features(folder, frozen=True)
    train, test = known.of["train"], known.of["test"]
    found = leak_price(train, test, _near(known), known.data.classes)
    _write(folder / Artifact.EVALUATION / LEAK, {**found.as_json(), "sentence": found.sentence()})
    result = Result.read(folder)
    assert result is not None  # or it had no features
    write_certificate(folder, known.config, result)
    return found


def people(folder: Path) -> list[PeopleCurve]:
    """Extrapolate a run's accuracy to more training people; write evaluation/more_people.*.

    Raises:
        UserError: as `leak`, or too few groups among the training images.
    """
    known = kept_features(folder, frozen=True)
    tested = {name: one for name, one in known.of.items() if name not in ("train", "val")}
    curves = people_curves(known.of["train"], tested)
    evaluation = folder / Artifact.EVALUATION
    _write(evaluation / f"{PEOPLE}.json", {curve.name: curve.as_json() for curve in curves})
    more_people_figure(evaluation / f"{PEOPLE}.png", curves)
    return curves


def _near(known: KeptFeatures) -> NDArray[np.int64]:
    """Return pairs ``(P, 2)``, rows of train and of test, whose pictures are near-duplicates."""
    splits = {name: known.data.splits[name] for name in ("train", "test")}
    if (splits["train"].rows < 0).any():
        raise UserError("the training data have hands without images (data.joints)")
    with progress("comparing", sum(map(len, splits.values()))) as advance:
        looks = look_at(splits, known.config.data, advance)
    n_train = len(splits["train"])
    pairs = near_pairs(looks.hashes)
    across = pairs[(pairs[:, 0] < n_train) & (pairs[:, 1] >= n_train)]
    return np.asarray(across - np.array([0, n_train]), dtype=np.int64)


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as part:
        part.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")

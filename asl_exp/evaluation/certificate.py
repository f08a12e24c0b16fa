"""certificate.json: a run's scores with all that is needed to check them, and the check.

Beside the scores stand the digests of the data, of each split and of predictions.parquet, what the
split leaks, the calibration, seeds and versions. ``verify`` makes every score and every interval
anew from the predictions. The pooled answers of folds have one of their own. Beside it lies which
images were trained on, so that nobody scores them as new ones.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from asl_exp.config import readable
from asl_exp.config.errors import UserError
from asl_exp.config.names import Artifact
from asl_exp.config.schema import Config
from asl_exp.data.cache_files import file_digest
from asl_exp.data.letters import LetterData, Split
from asl_exp.evaluation.folder import PREDICTIONS, score_file
from asl_exp.evaluation.intervals import METHOD
from asl_exp.runs.result import Result
from asl_exp.runs.writing import replaced

FILE: Final = "certificate.json"
LEAK: Final = "leak.json"
"""Beside it, once somebody asked what near-duplicates in training were worth."""

TRAINED_ON: Final = "trained_on.npy"
"""Beside it: the first 64 bits of the digest of every image that was trained on."""

_PACKAGES: Final = ("asl-exp", "torch", "timm", "pytorch-lightning", "numpy", "scikit-learn")
_TOLERANCE: Final = 1e-9


def write_certificate(
    run_folder: Path, config: Config, result: Result, data: LetterData | None = None
) -> Path:
    """Write ``evaluation/certificate.json`` of a run that has been scored; return its path.

    Args:
        data: of the run; None: what an earlier certificate says of its splits stays.
    """
    evaluation = run_folder / Artifact.EVALUATION
    if data is not None:
        with replaced(evaluation / TRAINED_ON) as part, part.open("wb") as file:
            np.save(file, np.unique(_beginnings(data.splits["train"])))
    content = {
        "name": result.name,
        "signature": result.signature,
        "data_digest": result.start.get("data"),
        "split": {
            "rule": config.data.split,
            "seed": config.data.split_seed,
            "leaks": result.split_leaks,
            "cautions": result.cautions,
        },
        "audit": _known(evaluation / FILE, "audit") if data is None else _audit(data),
        "leak": _known(evaluation / LEAK),
        "seed": config.seed,
        "calibration": result.calibration,
        "checkpoints": result.checkpoints,
    }
    return _write(evaluation, content)


def write_folds_certificate(folder: Path, config: Config, folds: Mapping[str, Result]) -> Path:
    """Write the same of the pooled answers of folds; each fold's run has one of its own.

    Args:
        folds: name to the outcome of its run.
    """
    content = {
        "folds": {
            name: {"signature": run.signature, "data_digest": run.start.get("data")}
            for name, run in folds.items()
        },
        "split": {"rule": f"folds={config.data.folds}", "seed": config.data.split_seed},
        "seed": config.seed,
    }
    return _write(folder / Artifact.EVALUATION, content)


def _write(evaluation: Path, content: Mapping[str, Any]) -> Path:
    whole = {
        **content,
        "versions": {name: _version(name) for name in _PACKAGES},
        "sets": {
            file.parent.relative_to(evaluation).as_posix(): _scores(file)
            for file in sorted(evaluation.rglob(PREDICTIONS))
        },
    }
    path = evaluation / FILE
    with replaced(path) as part:
        part.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _audit(data: LetterData) -> dict[str, Any]:
    """Return each split's images, their digest, and how many of them training has as well.

    Near copies take a look at every image: they are there once ``report --leak`` has looked.
    """
    trained = data.splits["train"].table
    bytes_of, groups_of = set(trained["sha256"]) - {""}, set(trained["group"]) - {""}
    return {
        "groups": data.grouping.kind,
        "splits": {
            name: {
                "images": len(split),
                "digest": hashlib.sha256(
                    "\n".join(sorted(split.table["sha256"])).encode()
                ).hexdigest(),
                **({} if name == "train" else _in_train(split, bytes_of, groups_of)),
            }
            for name, split in data.splits.items()
        },
    }


def _in_train(split: Split, bytes_of: set[str], groups_of: set[str]) -> dict[str, int]:
    return {
        "exact_copies_in_train": int(split.table["sha256"].isin(bytes_of).sum()),
        "of_groups_in_train": int(split.table["group"].isin(groups_of).sum()),
    }


def n_trained_on(run_folder: Path, split: Split) -> int:
    """Return how many images of a set a run was trained on; 0 where it does not say."""
    try:
        known = np.load(run_folder / Artifact.EVALUATION / TRAINED_ON, allow_pickle=False)
    except (OSError, ValueError):
        return 0
    return int(np.isin(_beginnings(split), known).sum())


def _beginnings(split: Split) -> NDArray[np.uint64]:
    """Return the first 64 bits of the digests of a split's images; hands without one are none."""
    digests = split.table["sha256"][split.table["path"] != ""]
    return np.array([int(digest[:16], 16) for digest in digests if digest], np.uint64)


def _known(file: Path, key: str | None = None) -> Any:
    """Return what a JSON file says, or says under a key; None where it says nothing."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return content if key is None else content[key]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def verify(certificate: Path) -> list[str]:
    """Return what does not hold: one sentence each, none where scores and intervals are as said.

    Raises:
        UserError: the file is no certificate.
    """
    try:
        content = json.loads(certificate.read_text(encoding="utf-8"))
        of_sets = content["sets"].items()
        found = [fault for name, said in of_sets for fault in _faults(certificate, name, said)]
        return [*found, *_other_method(content)]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{certificate}: not a certificate of asl_exp ({error})") from error


def _faults(certificate: Path, name: str, said: dict[str, Any]) -> Iterator[str]:
    file = certificate.parent / name / PREDICTIONS
    if not file.resolve().is_relative_to(certificate.parent.resolve()) or not file.is_file():
        yield f"{name}: its {PREDICTIONS} is not there"
        return
    if file_digest(file) != said["predictions_sha256"]:
        yield f"{name}: {PREDICTIONS} was changed after the certificate was written"
    made = _scores(file)
    if made["images"] != said["images"]:
        yield f"{name}: {said['images']} images are certified, {made['images']} are there"
    checked = {"scores": ""} | ({"intervals": "the interval of "} if _same_method(said) else {})
    for kind, what in checked.items():
        for score, value in said[kind].items():
            found = made[kind].get(score)
            if found is None or not np.allclose(found, value, rtol=0, atol=_TOLERANCE):
                yield (
                    f"{name}: {what}{score} is certified as {_told(value)}, the predictions give "
                    f"{'none' if found is None else _told(found)}"
                )


def _same_method(said: Mapping[str, Any]) -> bool:
    return not said["intervals"] or said.get("intervals_method") == METHOD


def _other_method(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield why intervals were not checked, if any were made in another way than today's."""
    sets = [name for name, said in content["sets"].items() if not _same_method(said)]
    if sets:
        yield (
            f"{', '.join(sets)}: the intervals were not checked: asl-exp "
            f"{content['versions'].get('asl-exp')} made them by another method than this version "
            f"({METHOD}); `python -m asl_exp.evaluate RUN` makes them and the certificate anew"
        )


def _told(value: float | list[float]) -> str:
    """Return a score, or an interval as ``0.5000 to 0.9000``."""
    if isinstance(value, float):
        return readable.score(value, 4)
    return f"{value[0]:.4f} to {value[1]:.4f}"


def _scores(file: Path) -> dict[str, Any]:
    scored = score_file(file)
    return {
        "images": len(scored.table),
        "predictions_sha256": file_digest(file),
        "scores": scored.values,
        "intervals": {name: list(interval) for name, interval in scored.intervals.of.items()},
        "intervals_method": METHOD,
        "intervals_over": f"{scored.intervals.n_units} {scored.intervals.unit}s",
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None

"""certificate.json: a run's scores with all that is needed to check them, and the check.

Beside the scores stand the digests of the data and of predictions.parquet, the split and whether it
may leak, seeds and versions. ``verify`` makes every score anew from the predictions.
"""

import hashlib
import json
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from asl_exp.config import readable
from asl_exp.config.errors import UserError
from asl_exp.config.names import Artifact
from asl_exp.config.schema import Config
from asl_exp.evaluation.answers_file import PREDICTIONS, score_file
from asl_exp.runs.result import Result
from asl_exp.runs.writing import replaced

FILE: Final = "certificate.json"
_PACKAGES: Final = ("asl-exp", "torch", "timm", "pytorch-lightning", "numpy", "scikit-learn")
_TOLERANCE: Final = 1e-9


def write_certificate(run_folder: Path, config: Config, result: Result) -> Path:
    """Write ``evaluation/certificate.json`` of a run that has been scored; return its path."""
    evaluation = run_folder / Artifact.EVALUATION
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
        "seed": config.seed,
        "checkpoints": result.checkpoints,
        "versions": {name: _version(name) for name in _PACKAGES},
        "sets": {
            file.parent.relative_to(evaluation).as_posix(): _scores(file)
            for file in sorted(evaluation.rglob(PREDICTIONS))
        },
    }
    path = evaluation / FILE
    with replaced(path) as part:
        part.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def verify(certificate: Path) -> list[str]:
    """Return what does not hold: one sentence each, none where every score is what it says.

    Raises:
        UserError: the file is no certificate.
    """
    try:
        sets = json.loads(certificate.read_text(encoding="utf-8"))["sets"]
        return [fault for name, said in sets.items() for fault in _faults(certificate, name, said)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{certificate}: not a certificate of asl_exp ({error})") from error


def _faults(certificate: Path, name: str, said: dict[str, Any]) -> Iterator[str]:
    file = certificate.parent / name / PREDICTIONS
    if not file.resolve().is_relative_to(certificate.parent.resolve()) or not file.is_file():
        yield f"{name}: its {PREDICTIONS} is not there"
        return
    if _digest(file) != said["predictions_sha256"]:
        yield f"{name}: {PREDICTIONS} was changed after the certificate was written"
    made = _scores(file)
    if made["images"] != said["images"]:
        yield f"{name}: {said['images']} images are certified, {made['images']} are there"
    for score, value in said["scores"].items():
        if abs(made["scores"].get(score, float("nan")) - value) <= _TOLERANCE:
            continue
        yield (
            f"{name}: {score} is certified as {readable.score(value, 4)}, the predictions give "
            + (f"{readable.score(made['scores'][score], 4)}" if score in made["scores"] else "none")
        )


def _scores(file: Path) -> dict[str, Any]:
    scored = score_file(file)
    return {
        "images": len(scored.table),
        "predictions_sha256": _digest(file),
        "scores": scored.values,
        "intervals": {name: list(interval) for name, interval in scored.intervals.of.items()},
        "intervals_over": f"{scored.intervals.n_units} {scored.intervals.unit}s",
    }


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None

"""model.json and weights.safetensors: a kept model as files that hold no code.

A folder may come from a stranger. Only JSON and safetensors are read here, each checked before it
is used; a pickle that lies beside them is never opened. The digests tell a damaged or a partly
copied folder; they are no signature.
"""

import hashlib
import json
import stat
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import safetensors
import safetensors.torch
import torch

from asl_exp.config.errors import UserError, first_line
from asl_exp.data.cache_files import file_digest
from asl_exp.model.kept import KeptModel, faults_of, kept_model, read_calibration
from asl_exp.runs.writing import flush, replaced

DESCRIPTION: Final = "model.json"
"""Says everything but the weights; a folder that has it is complete."""

WEIGHTS: Final = "weights.safetensors"
FORMAT: Final = 1
"""Of model.json. Goes up when an older version of asl_exp would read it wrongly."""

_LARGEST: Final = 4_000_000
"""Bytes of a model.json; one of a thousand classes has about 30,000."""

_RESIZE: Final = "resize"
_DIGEST: Final = "digest"
"""Of all else in model.json; those of before have none."""


def read_model(description: Path) -> KeptModel:
    """Load the model that a model.json describes; nothing in the folder is executed.

    Raises:
        UserError: missing, damaged, changed, of a newer version, or no model of asl_exp.
    """
    content = _read(description)
    changed = content.get(_DIGEST, _own_digest(content)) != _own_digest(content)
    weights = _whole(description, content, WEIGHTS)
    with faults_of(weights):
        tensors = _tensors(weights)
    with faults_of(description):
        calibration = read_calibration(content.get("calibration"))
        resize = _taken_resize(content)
        kept = kept_model(content, tensors, calibration)
        if resize != kept.config.data.resize:
            raise UserError(
                f"damaged: its images are resized by '{resize}' in one place and by "
                f"'{kept.config.data.resize}' in another"
            )
        if changed:
            raise UserError("changed since it was written; copy the whole folder again")
    return kept


def write_model(kept: KeptModel, folder: Path, beside: Iterable[str] = ()) -> None:
    """Write weights.safetensors and, as the last file, model.json.

    Args:
        folder: exists.
        beside: names of further files there that the model is used with; they get a digest.
    """
    tensors = {
        name: tensor.detach().clone(memory_format=torch.contiguous_format)  # may share storage
        for name, tensor in kept.model.state_dict().items()
    }
    weights = folder / WEIGHTS
    weights.touch()
    rights = stat.S_IMODE(weights.stat().st_mode)
    safetensors.torch.save_file(tensors, weights)
    weights.chmod(rights)  # else its owner alone could read it, and a container's user could not
    flush(weights)
    about = kept.description()
    about["preprocessing"][_RESIZE] = kept.config.data.resize
    content = {
        "format": FORMAT,
        "made_by": made_by(),
        **about,
        "files": {name: _facts(folder / name) for name in (WEIGHTS, *beside)},
    }
    with replaced(folder / DESCRIPTION) as part:
        text = json.dumps({**content, _DIGEST: _own_digest(content)}, indent=2)
        part.write_text(text + "\n", encoding="utf-8")


def made_by() -> str:
    """Return this package and its version, where it is installed."""
    try:
        return f"asl_exp {metadata.version('asl-exp')}"
    except metadata.PackageNotFoundError:
        return "asl_exp"


def require_whole(description: Path, name: str) -> Path:
    """Return a file that lies beside a model.json, once its size and digest are as it says.

    Raises:
        UserError: it is not there, or is another.
    """
    return _whole(description, _read(description), name)


def _tensors(weights: Path) -> dict[str, torch.Tensor]:
    try:
        tensors: dict[str, torch.Tensor] = safetensors.torch.load_file(weights)
    except (OSError, ValueError, RuntimeError, KeyError, safetensors.SafetensorError) as error:
        raise UserError(f"damaged, no safetensors file ({first_line(error)[:200]})") from error
    return tensors


def _taken_resize(content: dict[str, Any]) -> object:
    """Remove the resize rule, which is a part of the configuration as well, and return it."""
    preprocessing = content.get("preprocessing")
    if not isinstance(preprocessing, dict) or _RESIZE not in preprocessing:
        raise UserError("damaged: it does not say how images become its input")
    return preprocessing.pop(_RESIZE)


def _read(path: Path) -> dict[str, Any]:
    """Return the table of a model.json of a format that this version knows."""
    try:
        if not path.is_file():
            raise UserError(f"{path}: no such file")
        if path.stat().st_size > _LARGEST:
            raise UserError(f"{path}: too large for the description of a model")
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_table)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged, no JSON ({str(error)[:200]})") from error
    known = content.get("format") if isinstance(content, dict) else None
    if not isinstance(content, dict) or type(known) is not int or known < 1:
        raise UserError(f"{path}: not the description of a model of asl_exp")
    if known > FORMAT:
        made_by = str(content.get("made_by"))[:60]
        raise UserError(
            f"{path}: of format {known}, made by a newer version ({made_by}); this one reads up "
            f"to format {FORMAT}; update asl_exp to use it"
        )
    return content


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that stands twice: another program might take the other one."""
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in table if names.count(name) > 1)
        raise ValueError(f"{twice[:60]!r} stands in it twice")
    return table


def _whole(path: Path, content: dict[str, Any], name: str) -> Path:
    file, files = path.with_name(name), content.get("files")
    said = files.get(name) if isinstance(files, dict) else None
    if not isinstance(said, dict):
        raise UserError(f"{path}: damaged: it has no digest of {name}")
    if not file.is_file():
        raise UserError(f"{file}: missing, and the model is nothing without it; copy it as well")
    if file.stat().st_size != said.get("bytes") or _facts(file) != said:
        raise UserError(
            f"{file}: damaged or changed (its digest is not the one in {DESCRIPTION}); copy the "
            "whole folder again"
        )
    return file


def _own_digest(content: dict[str, Any]) -> str:
    rest = {key: value for key, value in content.items() if key != _DIGEST}
    return hashlib.sha256(json.dumps(rest).encode()).hexdigest()


def _facts(file: Path) -> dict[str, int | str]:
    return {"bytes": file.stat().st_size, "sha256": file_digest(file)}

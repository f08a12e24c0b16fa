"""A network as an ONNX file: what is written into it beside the graph, and how it is read back.

The file holds all that predict needs, as JSON under one key of its metadata: classes,
preprocessing, configuration, where it was kept, and the digest of the weights that it was made
from. Nothing in it is executed but the graph's own operators.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from asl_exp.config.errors import UserError
from asl_exp.config.extras import require_extra
from asl_exp.model.checkpoint import KeptModel, checkpoint_metadata, kept_with
from asl_exp.model.classifier import LetterClassifier

KEY: Final = "asl_exp"
"""Of the metadata."""

SUFFIX: Final = ".onnx"
_FORMAT: Final = 1
IMAGES: Final = "images"
JOINTS: Final = "joints"
SCORES: Final = "scores"
"""Names of a graph's inputs and of its output."""


class OnnxNetwork(nn.Module):
    """An exported network, called as the one that it was made from; it runs on the CPU.

    Args:
        file: the network's.

    Attributes:
        about: what the file says of the network.
        joints: not None where it sees joints.
        sees_pixels: whether it looks at images.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        require_extra("export", "onnxruntime")
        self._session = _session(file)
        self.about = _about(file, self._session.get_modelmeta().custom_metadata_map)
        inputs = {one.name: one.type for one in self._session.get_inputs()}
        outputs = [one.name for one in self._session.get_outputs()]
        if not inputs or not inputs.keys() <= {IMAGES, JOINTS} or outputs != [SCORES]:
            raise UserError(f"{file}: its inputs and outputs are not those of an exported network")
        self.sees_pixels = IMAGES in inputs
        self._takes_levels = inputs.get(IMAGES) == "tensor(uint8)"
        self.joints = nn.Identity() if JOINTS in inputs else None

    def forward(self, images: Tensor | None, joints: Tensor | None = None) -> Tensor:
        """Return scores (logits) ``(B, C)`` on the device of what is given.

        Args:
            images: ``(B, 3, S, S)`` of 0..1, whatever the file itself takes.
            joints: ``(B, 21, 3)``, needed where it sees joints.
        """
        place = next(one for one in (images, joints) if one is not None).device
        return torch.from_numpy(self.raw(self.arrays(images, joints))).to(place)

    def arrays(self, images: Tensor | None, joints: Tensor | None) -> dict[str, Any]:
        """Return what `forward` is given as the file itself takes it."""
        given: dict[str, Any] = {}
        if self.sees_pixels and images is not None:
            pixels = images.cpu()
            if self._takes_levels:
                pixels = (pixels * 255).round().byte().permute(0, 2, 3, 1)
            given[IMAGES] = pixels.contiguous().numpy()
        if self.joints is not None and joints is not None:
            given[JOINTS] = joints.float().cpu().numpy()
        return given

    def raw(self, given: dict[str, Any]) -> Any:
        """Return the scores of arrays as the file itself takes them."""
        return self._session.run([SCORES], given)[0]

    def state_dict(self, *_: Any, **__: Any) -> Any:
        """Refuse: an exported network is used, not trained, averaged or looked into."""
        raise UserError(
            "an exported network (.onnx) gives scores and nothing else; give the run or the model "
            "folder that it was made from"
        )


def read_onnx(path: Path) -> KeptModel:
    """Load an exported network as a kept model, checking what the file says of it.

    Raises:
        UserError: damaged, of a newer version, or no exported network of asl_exp.
    """
    network = OnnxNetwork(path)
    return kept_with(network.about, cast(LetterClassifier, network.eval()), path)


def described(kept: KeptModel) -> str:
    """Return what a file says of its network, as the one string that ONNX holds."""
    about = checkpoint_metadata(kept.config, kept.classes, kept.preprocessing, kept.detector)
    values = {
        "format": _FORMAT,
        "hand": kept.config.hand.mode,
        "resize": kept.config.data.resize,
        "phase": kept.phase,
        "epoch": kept.epoch,
        "calibration": asdict(kept.calibration),
        "weights_sha256": _weights_digest(kept.model.state_dict()),
        **about,
    }
    return json.dumps(values, ensure_ascii=False)


def _weights_digest(state: dict[str, Tensor]) -> str:
    """Return the sha256 of named tensors, whatever file they come from."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _session(file: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    try:
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no class of their own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
        raise UserError(f"{file}: damaged or no ONNX network ({reason[:200]})") from None


def _about(file: Path, metadata: dict[str, str]) -> dict[str, Any]:
    if KEY not in metadata:
        raise UserError(
            f"{file}: no network of asl_exp (its metadata does not name classes and "
            "preprocessing); export one with python -m asl_exp.export RUN"
        )
    try:
        about = json.loads(metadata[KEY])
        found = about["format"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UserError(f"{file}: damaged: its metadata cannot be read") from None
    if found != _FORMAT:
        raise UserError(
            f"{file}: of format {found}, and this version of asl_exp reads format {_FORMAT}; "
            "update asl_exp, or export the run again"
        )
    return dict(about)

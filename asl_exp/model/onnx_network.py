"""A network as an ONNX file: what is written into it beside the graph, and how it is read back.

Where photos are taken as they are, resizing is a part of the graph.

The file holds all that predict needs, as JSON under one key of its metadata: classes,
preprocessing, configuration, where it was kept, and the digest of the weights that it was made
from. Nothing in it is executed but the graph's own operators.
"""

import json
import math
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from asl_exp.config.errors import UserError, first_line, require_extra
from asl_exp.data.decode import Geometry
from asl_exp.model.classifier import LetterClassifier
from asl_exp.model.kept import KeptModel, kept_with
from asl_exp.model.weights import tensors_digest

KEY: Final = "asl_exp"
"""Of the metadata."""

_FORMAT: Final = 1
IMAGES: Final = "images"
JOINTS: Final = "joints"
SCORES: Final = "scores"
"""Names of a graph's inputs and of its output."""


class OnnxNetwork(nn.Module):
    """An exported network, called as the one that it was made from; it runs on the CPU.

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
    values = {
        "format": _FORMAT,
        "hand": kept.config.hand.mode,
        "resize": kept.config.data.resize,
        "weights_sha256": tensors_digest(kept.model.state_dict()),
        **kept.description(),
    }
    return json.dumps(values, ensure_ascii=False)


def _session(file: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    try:
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no class of their own
        reason = first_line(error)[:200]
        raise UserError(f"{file}: damaged or no ONNX network ({reason})") from None


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


_SUPPORT: Final = {"bilinear": 1.0, "bicubic": 2.0, "lanczos": 3.0}
"""How far a filter reaches, in pixels of the smaller image."""


class PhotoInput(nn.Module):
    """From photos (B, H, W, 3) uint8 of any size to inputs (B, 3, S, S) of 0..1.

    The rules and filters are those of data/decode.py, whose results are Pillow's: weights of all
    pixels along one side, then along the other. Written as products of matrices, because exported
    networks know neither Pillow's filters nor its boxes. Pillow rounds between the two, in an order
    that differs from version to version, and this does not: of a photo one pixel in ten differs by
    one level, and a few at hard edges by up to eight (lanczos).
    """

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        self.size, self.resize = geometry.size, geometry.resize
        self.interpolation = geometry.interpolation

    def forward(self, images: Tensor) -> Tensor:
        """Return what the network behind it takes."""
        height = torch.arange(images.shape[1], dtype=torch.float32)
        width = torch.arange(images.shape[2], dtype=torch.float32)
        rows = self._weights(height, height[-1] + 1, width[-1] + 1)
        columns = self._weights(width, width[-1] + 1, height[-1] + 1)
        levels = images.permute(0, 3, 1, 2).float()
        narrow = torch.matmul(levels, columns.T)  # (B, 3, H, S)
        return torch.floor(torch.matmul(rows, narrow) + 0.5).clamp(0.0, 255.0) / 255.0

    def _weights(self, pixels: Tensor, length: Tensor, other: Tensor) -> Tensor:
        """Return (S, N): what each pixel of one side adds to each of the S pixels of the square.

        Args:
            pixels: 0 to N - 1.
            length: N.
            other: pixels of the other side.
        """
        start, extent = torch.zeros(()), length
        shown, offset = torch.tensor(float(self.size)), torch.zeros(())
        if self.resize == "crop":
            extent = torch.minimum(length, other)
            start = (length - extent) / 2
        if self.resize == "pad":
            shown = torch.round(length / torch.maximum(length, other) * self.size).clamp_min(1)
            offset = torch.round((self.size - shown) / 2)
        place = torch.arange(self.size, dtype=torch.float32) - offset
        centre = start + (place + 0.5) * (extent / shown)
        weights = self._filtered(pixels, centre[:, None], (extent / shown).clamp_min(1.0))
        inside = (place >= 0) & (place < shown)
        return torch.where(inside[:, None], weights, 0.0)

    def _filtered(self, pixels: Tensor, centre: Tensor, stretch: Tensor) -> Tensor:
        """Return (S, N) weights that sum to one along N, of a filter that is made so much wider."""
        if self.interpolation == "nearest":
            return (pixels == centre.floor()).float()
        at = (pixels + 0.5 - centre) / stretch
        weights = torch.where(
            at.abs() < _SUPPORT[self.interpolation], _FILTERS[self.interpolation](at), 0.0
        )
        return weights / weights.sum(1, keepdim=True)


def _triangle(x: Tensor) -> Tensor:
    return 1 - x.abs()


def _cubic(x: Tensor) -> Tensor:
    """Keys's cubic with a = -0.5, which is Pillow's."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, far)


def _lanczos(x: Tensor) -> Tensor:
    return _sinc(x) * _sinc(x / 3)


def _sinc(x: Tensor) -> Tensor:
    angle = torch.where(x == 0, 1.0, x) * math.pi
    return torch.where(x == 0, 1.0, torch.sin(angle) / angle)


_FILTERS: Final = {"bilinear": _triangle, "bicubic": _cubic, "lanczos": _lanczos}

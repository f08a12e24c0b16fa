"""MediaPipe's two networks, run by LiteRT: where palms are, and the joints within a square.

Their inputs, outputs and anchors are as MediaPipe's graphs palm_detection and hand_landmark
describe them. One thread each: images are searched in parallel processes.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from asl_exp.config.errors import DataError, first_line
from asl_exp.data.hands.hand import N_JOINTS, Floats
from asl_exp.data.hands.model_file import JOINT_NETWORK, PALM_NETWORK, ModelFile
from asl_exp.data.hands.regions import Points, Region, pixels_in

_PALM_SIDE: Final = 192
_JOINT_SIDE: Final = 224
_ANCHORS: Final = ((8, 2), (16, 6))
"""Pixels between places of the grid, and anchors at each place."""
_N_ANCHORS: Final = 2016
_PALM_POINTS: Final = 7
"""Wrist, the roots of index, middle, ring and little finger, two joints of the thumb."""
_SAME_PALM: Final = 0.3
"""Boxes that share more of their area are one palm."""


@dataclass(frozen=True, eq=False)
class Palm:
    """A palm that was detected.

    Attributes:
        score: 0..1.
        box: (2, 2): left, top; right, bottom, in pixels of the image.
        points: (7, 2).
    """

    score: float
    box: Points
    points: Points


@dataclass(frozen=True, eq=False)
class Joints:
    """What the joint network says of a region.

    Attributes:
        presence: 0..1, that a hand is there.
        left: 0..1, that it is a left one, in an image that is not mirrored.
        xyz: (21, 3) in pixels of the image; z relative to the wrist.
        metres: (21, 3), the axes of the image.
    """

    presence: float
    left: float
    xyz: Floats
    metres: Floats


class PalmNetwork:
    """Finds palms in a square of an image."""

    def __init__(self, model: ModelFile) -> None:
        self._network = _Network(model, PALM_NETWORK, _PALM_SIDE)
        n_numbers = 4 + 2 * _PALM_POINTS
        (self._boxes,) = self._network.outputs((1, _N_ANCHORS, n_numbers), 1)
        (self._scores,) = self._network.outputs((1, _N_ANCHORS, 1), 1)

    def __call__(
        self, image: Image.Image, region: Region, *, least: float, gamma: float = 1.0
    ) -> list[Palm]:
        """Return the palms that score `least` or more, the surest first."""
        pixels = pixels_in(image, region, _PALM_SIDE, gamma)
        boxes, scores = self._network.run(pixels, (self._boxes, self._scores))
        scores = _sigmoid(scores.reshape(-1))
        chosen = np.flatnonzero(scores >= least)
        if not len(chosen):
            return []
        corners = _corners(boxes[0, chosen], _anchors()[chosen])
        return [
            Palm(score, placed[:2], placed[2:])
            for score, points in _distinct(scores[chosen], corners)
            for placed in [region.to_image(points)]
        ]


class JointNetwork:
    """Finds the joints of the hand in a square of an image."""

    def __init__(self, model: ModelFile) -> None:
        self._network = _Network(model, JOINT_NETWORK, _JOINT_SIDE)
        # MediaPipe's order: joints in the square, presence, handedness, joints in metres.
        self._wanted = (
            *self._network.outputs((1, 3 * N_JOINTS), 2),
            *self._network.outputs((1, 1), 2),
        )

    def __call__(self, image: Image.Image, region: Region, *, gamma: float = 1.0) -> Joints:
        """Return what it sees, whether or not a hand is there."""
        pixels = pixels_in(image, region, _JOINT_SIDE, gamma)
        square, metres, presence, mirrored_left = self._network.run(pixels, self._wanted)
        found: Floats = square.reshape(N_JOINTS, 3) * np.float32(1 / _JOINT_SIDE)
        around = metres.reshape(N_JOINTS, 3).copy()
        around[:, :2] = around[:, :2] @ region.turn.T
        xyz = np.empty((N_JOINTS, 3), np.float32)
        xyz[:, :2] = region.to_image(found[:, :2])
        xyz[:, 2] = (found[:, 2] - found[0, 2]) * region.side
        # The network says left in a mirrored image, as a selfie is: right in one that is not.
        return Joints(presence.item(), 1 - mirrored_left.item(), xyz, around)


class _Network:
    """One network of the file.

    Raises:
        DataError: LiteRT is not installed, or the network is another one than expected.
    """

    def __init__(self, model: ModelFile, name: str, side: int) -> None:
        self._where = f"'{model.path}' ({name})"
        interpreter = _litert()
        try:
            self._interpreter: Any = interpreter(model_content=model.network(name), num_threads=1)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise self._other(first_line(error)) from error
        (self._input, *more) = self._interpreter.get_input_details()
        shape = tuple(self._input["shape"].tolist())
        if more or shape != (1, side, side, 3) or self._input["dtype"] != np.float32:
            raise self._other(f"its input is {shape}, not {(1, side, side, 3)}")

    def outputs(self, shape: tuple[int, ...], count: int) -> list[int]:
        """Return the outputs of a shape, in the order that the network gives them."""
        details = self._interpreter.get_output_details()
        fitting = [one["index"] for one in details if tuple(one["shape"]) == shape]
        if len(fitting) != count:
            shapes = ", ".join(str(tuple(one["shape"].tolist())) for one in details)
            raise self._other(f"its outputs are {shapes}, not {count} of {shape} among others")
        return fitting

    def run(
        self, pixels: NDArray[np.float32], outputs: tuple[int, ...]
    ) -> list[NDArray[np.float32]]:
        """Return copies of some outputs for (S, S, 3) in 0..1."""
        self._interpreter.set_tensor(self._input["index"], pixels[None])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(output) for output in outputs]

    def _other(self, reason: str) -> DataError:
        return DataError(
            f"hand.model: {self._where} is not MediaPipe's network: {reason}; give MediaPipe's "
            "hand_landmarker.task, or leave hand.model out and it is fetched"
        )


def _litert() -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise DataError(
            "hand: finding hands needs LiteRT, which is not installed "
            f'({error}); pip install "asl-exp[hands]", or choose hand=none'
        ) from error
    return Interpreter


@cache
def _anchors() -> Points:
    """(2016, 2): centres in 0..1 of the places that the palm network looks at."""
    centres = []
    for stride, n_anchors in _ANCHORS:
        places = (np.arange(_PALM_SIDE // stride, dtype=np.float32) + 0.5) * stride / _PALM_SIDE
        y, x = np.meshgrid(places, places, indexing="ij")
        centres.append(np.stack([x, y], 2).reshape(-1, 2).repeat(n_anchors, 0))
    return np.concatenate(centres)


def _corners(raw: NDArray[np.float32], anchors: Points) -> NDArray[np.float32]:
    """Return (N, 9, 2) in 0..1: the box's corners and seven points, from offsets to anchors."""
    points = raw.reshape(len(raw), -1, 2) / _PALM_SIDE
    centre, half = points[:, :1] + anchors[:, None], points[:, 1:2] / 2
    around = points[:, 2:] + anchors[:, None]
    return np.concatenate([centre - half, centre + half, around], 1)


def _distinct(
    scores: NDArray[np.float32], corners: NDArray[np.float32]
) -> list[tuple[float, Points]]:
    """Return one palm for all boxes that overlap: their mean, weighted by their scores."""
    left = np.argsort(-scores, kind="stable")
    palms = []
    while len(left):
        same = _shared(corners[left[0]], corners[left]) > _SAME_PALM
        same[0] = True
        weights = scores[left[same], None, None]
        mean = (corners[left[same]] * weights).sum(0) / weights.sum()
        palms.append((float(scores[left[0]]), mean))
        left = left[~same]
    return palms


def _shared(one: Points, many: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (N,): area shared of a box and others, over that of both."""
    low = np.maximum(one[0], many[:, 0])
    high = np.minimum(one[1], many[:, 1])
    shared: NDArray[np.float32] = np.maximum(high - low, 0).prod(1)
    both = (one[1] - one[0]).prod() + (many[:, 1] - many[:, 0]).prod(1) - shared
    shares: NDArray[np.float32] = shared / np.maximum(both, 1e-9)
    return shares


def _sigmoid(values: NDArray[np.float32]) -> NDArray[np.float32]:
    scores: NDArray[np.float32] = np.reciprocal(1 + np.exp(-np.clip(values, -100, 100)))
    return scores

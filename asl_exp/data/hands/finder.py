"""Finds the hand of an image with MediaPipe's networks: a cheap attempt first, more where it fails.

An attempt looks for palms in the image, enlarged by a black border or cut into tiles, as it is or
brightened, and runs the joint network on the square that a palm implies. Joints count when that
network is sure of a hand; a palm's own score decides little. Which attempts there are, in which
order, and what each adds and costs was measured: docs/unseen-people.md has the table.

Of several hands in the attempt that succeeds the largest wins: most often the nearest to the
camera. A small one may be the other hand of a person in view, so larger ones are looked for in
tiles as well.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
from PIL import Image, ImageOps

from asl_exp.data.decode import Pixels
from asl_exp.data.hands.hand import N_LOOKS, Floats, Hand, no_hand
from asl_exp.data.hands.model_file import ModelFile
from asl_exp.data.hands.networks import JointNetwork, Joints, Palm, PalmNetwork
from asl_exp.data.hands.regions import Region, overlap, tiles, whole

FINDER_VERSION: Final = 2
"""Part of a detector's digest: raise it when any answer changes. Models that were trained on the
joints of a version before go on: the joints are the same, only where they are looked for is not.
"""


@dataclass(frozen=True)
class Attempt:
    """One way to look for palms.

    Attributes:
        scale: of the square looked at, to the image's longer side; under 1 it is cut into tiles.
        gamma: under 1 the image is brightened for the palm network.
        least_side: of the image, in pixels: tiles of a small one hold nothing.
        twice: joints count only as the network sees them again in their own square. What later
            attempts see is less often a hand: of four false ones in 84 scenes this refused three,
            and it brings the joints nearer to where they are.
    """

    scale: float
    gamma: float = 1.0
    least_side: int = 0
    twice: bool = True


ATTEMPTS: Final = (
    Attempt(1.5, twice=False),
    Attempt(3.5, gamma=0.5),
    Attempt(1.5, gamma=0.35),
    Attempt(2.2),
    Attempt(0.5),
    Attempt(0.5, gamma=0.5),
    Attempt(0.33, least_side=480),
    Attempt(0.33, gamma=0.5, least_side=480),
)
_FOR_LARGER: Final = Attempt(0.5)
_SMALL: Final = 0.2
"""Of the image's longer side: a hand up to this size does not end the search."""
_LEAST_PALM: Final = 0.1
"""Score of a palm worth a look; the joint network decides."""
_MOST_PALMS: Final = 3
_RIVAL: Final = 0.5
"""Palms of less than this share of the best score are not looked at."""
_SAME_PLACE: Final = 0.4
_SURE: Final = 0.8
"""Presence from which no further attempt is made."""
_WORTH_ANOTHER: Final = 0.5
_ANGLES: Final = (0.0, 0.6, -0.6)
_TONES: Final = (1.0, 0.5)
_ROUNDS: Final = 3
_TURN: Final = 0.3
"""Radians by which the square of a further look is turned, either way."""
_NO_WORSE: Final = 0.9
"""Joints seen again in their own square replace the former if presence falls by no more."""

_PALM_SCALE: Final = 2.6
_PALM_SHIFT: Final = 0.5
_HAND_SCALE: Final = 2.0
_HAND_SHIFT: Final = 0.1
_INNER: Final = (0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18)
"""The joints up to the middle of each finger, which place the square as MediaPipe does."""


@dataclass(frozen=True)
class FinderSettings:
    """What may be chosen.

    Attributes:
        confidence: the least presence of a hand that is reported.
        again: whether the joint network looks again at the hand that was found: in the square
            round its joints, in that turned either way, and in the mirrored image.
    """

    confidence: float = 0.7
    again: bool = False

    @property
    def n_looks(self) -> int:
        """How many answers there are: the one that found the hand, and the further ones."""
        return N_LOOKS if self.again else 1


class HandFinder:
    """MediaPipe's networks as a Detector.

    Raises:
        DataError: LiteRT is not installed, or the file holds other networks.
    """

    def __init__(self, model: ModelFile, settings: FinderSettings | None = None) -> None:
        self._settings = settings or FinderSettings()
        self._palms = PalmNetwork(model)
        self._joints = JointNetwork(model)

    def find(self, image: Pixels) -> Hand:
        """Return the hand of an upright (H, W, 3) RGB image."""
        height, width = image.shape[:2]
        search = _Search(Image.fromarray(image), self._palms, self._joints)
        best = search.by_palms()
        if best is None or best.presence < _SURE:
            best = _surer(best, search.by_joints())
        if best is None or not best.presence >= self._settings.confidence:
            return no_hand(width, height, self._settings.n_looks)
        hand = Hand(best.xyz, best.metres, best.presence, best.left, width, height)
        if self._settings.again:
            hand = replace(hand, looks=np.stack([again.xyz for again in search.looks(best)]))
        return hand


def finder_digest(model: ModelFile, settings: FinderSettings, version: int = FINDER_VERSION) -> str:
    """Return 64 digits, others where any answer of a HandFinder may be, or was, another."""
    parts = [str(version), model.digest, repr(settings.confidence)]
    if settings.again:
        parts += [repr(N_LOOKS), repr(_TURN)]
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


@dataclass(frozen=True)
class _Search:
    """The search in one image."""

    image: Image.Image
    palms: PalmNetwork
    joints: JointNetwork

    @cached_property
    def _side(self) -> int:
        return max(self.image.size)

    def by_palms(self) -> Joints | None:
        """Return the first joints that are sure, or the surest of all attempts."""
        best: Joints | None = None
        for attempt in ATTEMPTS:
            if self._side < attempt.least_side:
                continue
            seen = [self._seen(region, attempt.twice) for region in self._regions(attempt)]
            sure = [joints for joints in seen if joints.presence >= _SURE]
            if sure:
                return self._or_larger(max(sure, key=_extent), attempt)
            for joints in seen:
                best = _surer(best, joints)
        return best if best is None else self._again(best, 1.0)

    def _or_larger(self, found: Joints, attempt: Attempt) -> Joints:
        """Return a larger hand in another place that tiles show, or the one that was found."""
        if attempt.scale < 1 or _extent(found) > _SMALL * self._side:
            return found
        place = region_of_joints(found.xyz)
        seen = [self._seen(region, _FOR_LARGER.twice) for region in self._regions(_FOR_LARGER)]
        others = [
            joints
            for joints in seen
            if joints.presence >= _SURE
            and overlap(region_of_joints(joints.xyz), place) < _SAME_PLACE
        ]
        return max([found, *others], key=_extent)

    def _seen(self, region: Region, twice: bool) -> Joints:
        joints = self.joints(self.image, region)
        if not twice or joints.presence < _WORTH_ANOTHER:
            return joints
        return self.joints(self.image, region_of_joints(joints.xyz))

    def _regions(self, attempt: Attempt) -> list[Region]:
        """Return the squares round the hands of the palms found, no two of one hand."""
        found: list[Palm] = []
        for tile in tiles(*self.image.size, attempt.scale):
            found += self.palms(self.image, tile, least=_LEAST_PALM, gamma=attempt.gamma)
        found.sort(key=lambda palm: -palm.score)
        regions: list[Region] = []
        for palm in found:
            region = region_of_palm(palm)
            other = all(overlap(region, known) < _SAME_PLACE for known in regions)
            if palm.score >= _RIVAL * found[0].score and other:
                regions.append(region)
        return regions[:_MOST_PALMS]

    def by_joints(self) -> Joints | None:
        """Search without palms: the joint network on the whole image, then round its joints."""
        best: Joints | None = None
        for gamma in _TONES:
            squares = [replace(whole(*self.image.size), angle=angle) for angle in _ANGLES]
            seen = [self.joints(self.image, square, gamma=gamma) for square in squares]
            start = max(seen, key=lambda joints: joints.presence)
            best = _surer(best, self._again(start, gamma))
            if best is not None and best.presence >= _SURE:
                break
        return best

    def looks(self, found: Joints) -> list[Joints]:
        """Return four more answers of the joint network to a hand that was found.

        Where it sees no hand in one of the squares, that answer is the hand as it was found.
        """
        square = region_of_joints(found.xyz)
        turned = [replace(square, angle=square.angle + turn) for turn in (0.0, _TURN, -_TURN)]
        seen = [self.joints(self.image, one) for one in turned]
        seen.append(self._mirrored(square))
        return [one if one.presence >= _WORTH_ANOTHER else found for one in seen]

    def _mirrored(self, square: Region) -> Joints:
        """Return what the joint network sees in the mirrored image, in places of the image."""
        width, mirror = self.image.width, np.array([-1, 1, 1], np.float32)
        there = replace(square, x=width - square.x, angle=-square.angle)
        seen = self.joints(ImageOps.mirror(self.image), there)
        xyz = seen.xyz * mirror + np.array([width, 0, 0], np.float32)
        return replace(seen, left=1 - seen.left, xyz=xyz, metres=seen.metres * mirror)

    def _again(self, joints: Joints, gamma: float) -> Joints:
        """Look again in the square round the joints, as long as the network stays as sure."""
        for _ in range(_ROUNDS):
            again = self.joints(self.image, region_of_joints(joints.xyz), gamma=gamma)
            if again.presence < _NO_WORSE * joints.presence:
                break
            joints = again
        return joints


def region_of_palm(palm: Palm) -> Region:
    """Return the square of the hand that a palm belongs to, with the fingers up."""
    angle = _upwards(palm.points[2] - palm.points[0])
    width, height = (palm.box[1] - palm.box[0]).tolist()
    x, y = palm.box.mean(0).tolist()
    shift = _PALM_SHIFT * height
    side = _PALM_SCALE * max(width, height)
    return Region(x + float(np.sin(angle)) * shift, y - float(np.cos(angle)) * shift, side, angle)


def region_of_joints(xyz: Floats) -> Region:
    """Return the square round the joints (21, 3) of a hand, with the fingers up."""
    joints = xyz[:, :2]
    middle = (joints[6] + joints[14]) / 4 + joints[10] / 2
    angle = _upwards(middle - joints[0])
    turn = Region(0, 0, 1, angle).turn
    inner = joints[list(_INNER)] @ turn
    low, high = inner.min(0), inner.max(0)
    x, y = ((low + high) / 2 - np.array([0, _HAND_SHIFT * (high - low)[1]])) @ turn.T
    return Region(float(x), float(y), _HAND_SCALE * max(float((high - low).max()), 1.0), angle)


def _upwards(direction: Floats) -> float:
    """Return the angle by which an upright square is turned to have a direction as its up."""
    return float(np.arctan2(direction[0], -direction[1]))


def _surer(first: Joints | None, second: Joints | None) -> Joints | None:
    if first is None or second is None:
        return first or second
    return second if second.presence > first.presence else first


def _extent(joints: Joints) -> float:
    return float(np.ptp(joints.xyz[:, :2], axis=0).max())

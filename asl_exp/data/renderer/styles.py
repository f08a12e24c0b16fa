"""How people differ in showing one letter: other fingers, another thumb, another way to hold it.

letters.POSES has one hand a letter, as a chart shows it. Signers keep the letter and differ in what
does not tell it from others: where a folded finger ends, how far M's and N's fingers hang, whether
G and H are seen from the palm, the back or the edge of the hand. Ranges are in degrees, set by eye
from charts and from joints of people who sign; exact_joints.py makes joints with them, the pictures
of the embedded source are drawn without.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from asl_exp.data.renderer.hand import Finger, Thumb
from asl_exp.data.renderer.letters import POSES, Pose

Span = tuple[float, float]
Fingers = tuple[Finger, Finger, Finger, Finger]
Rng = np.random.Generator
_FOLDED: Final = 30.0
"""A finger whose middle joint is bent by more is folded."""


@dataclass(frozen=True)
class Spread:
    """Standard deviations (degrees) of what one person does otherwise than another."""

    folding: float = 6.0  # of all folded fingers together
    finger: float = 3.0  # of each joint of a finger
    abduction: float = 1.2
    thumb: float = 6.0  # of each of its five angles
    yaw: float = 12.0
    pitch: float = 9.0
    roll: float = 7.0

    def times(self, factor: float) -> "Spread":
        """Return a multiple of it."""
        return Spread(*(factor * value for value in vars(self).values()))


def in_a_style(letter: str, rng: Rng) -> Pose:
    """Return a letter as one person shows it."""
    pose = POSES[letter]
    return _VARIANTS[letter](pose, rng) if letter in _VARIANTS else pose


def varied(pose: Pose, spread: Spread, rng: Rng) -> Pose:
    """Return the pose with every angle a little off; no finger bends backwards at its middle."""
    root, middle = rng.normal(0.0, max(spread.folding, 1e-9), 2)
    fingers = [_varied_finger(finger, root, middle, spread, rng) for finger in pose.fingers]
    thumb = Thumb(*np.array([*vars(pose.thumb).values()]) + rng.normal(0.0, 1.0, 5) * spread.thumb)
    return replace(
        pose,
        fingers=_four(fingers),
        thumb=replace(thumb, mcp=max(-18.0, thumb.mcp), ip=max(-20.0, thumb.ip)),
        yaw=pose.yaw + rng.normal() * spread.yaw,
        pitch=pose.pitch + rng.normal() * spread.pitch,
        roll=pose.roll + rng.normal() * spread.roll,
    )


def _varied_finger(finger: Finger, root: float, middle: float, spread: Spread, rng: Rng) -> Finger:
    folded = finger.pip > _FOLDED
    mcp, pip, dip = rng.normal(0.0, 1.0, 3) * spread.finger
    return Finger(
        finger.mcp + (root if folded else 0.4 * root) + mcp,
        max(0.0, finger.pip + (middle if folded else 0.0) + pip),
        max(0.0, finger.dip + dip),
        finger.abduction + rng.normal() * spread.abduction,
    )


def _four(fingers: list[Finger]) -> Fingers:
    index, middle, ring, pinky = fingers
    return index, middle, ring, pinky


def _held(pose: Pose, rng: Rng, yaw: Span, pitch: Span, roll: Span) -> Pose:
    return replace(
        pose, yaw=rng.uniform(*yaw), pitch=rng.uniform(*pitch), roll=rng.uniform(*roll), bend=0.0
    )


def _finger(rng: Rng, mcp: Span, pip: Span, dip: Span, abduction: Span = (0.0, 0.0)) -> Finger:
    return Finger(rng.uniform(*mcp), rng.uniform(*pip), rng.uniform(*dip), rng.uniform(*abduction))


def _thumb(rng: Rng, spread: Span, lift: Span, pronation: Span, mcp: Span, ip: Span) -> Thumb:
    return Thumb(*(rng.uniform(*span) for span in (spread, lift, pronation, mcp, ip)))


def _with_fingers(pose: Pose, fingers: dict[int, Finger]) -> Pose:
    """Return the pose with other fingers: 0 the index to 3 the little finger."""
    return replace(pose, fingers=_four([fingers.get(i, own) for i, own in enumerate(pose.fingers)]))


def _either(rng: Rng) -> float:
    return 1.0 if rng.uniform() < 0.5 else -1.0


def _closed(pose: Pose, rng: Rng) -> Pose:
    """A and S: a tighter or a looser fist."""
    return _bent_by(pose, rng.uniform(0.88, 1.08), dip=1.0)


def _bent_by(pose: Pose, factor: float, dip: float) -> Pose:
    fingers = [replace(f, mcp=f.mcp * factor, pip=f.pip * factor, dip=f.dip * dip)
               for f in pose.fingers]  # fmt: skip
    return replace(pose, fingers=_four(fingers))


def _b(pose: Pose, rng: Rng) -> Pose:
    apart = rng.uniform(0.3, 1.3)
    fingers = _four([replace(f, abduction=apart * f.abduction) for f in pose.fingers])
    thumb = pose.thumb
    if rng.uniform() < 0.3:
        thumb = replace(thumb, spread=rng.uniform(0.0, 30.0), lift=rng.uniform(20.0, 45.0))
    return replace(pose, fingers=fingers, thumb=thumb)


def _rounded(pose: Pose, rng: Rng) -> Pose:
    """C and O: seen from the palm or from the side, wider or narrower."""
    factor = rng.uniform(0.75, 1.2)
    held = replace(pose, yaw=rng.uniform(-5.0, 85.0), roll=8.0 * rng.normal())
    return _bent_by(held, factor, dip=factor)


def _d(pose: Pose, rng: Rng) -> Pose:
    root, middle = rng.uniform(45.0, 80.0), rng.uniform(45.0, 95.0)
    others = {i: Finger(root + 4 * i, middle + 4 * rng.normal(), rng.uniform(25.0, 55.0))
              for i in (1, 2, 3)}  # fmt: skip
    return _with_fingers(replace(pose, yaw=rng.uniform(-10.0, 75.0)), others)


def _e(pose: Pose, rng: Rng) -> Pose:
    root, middle = rng.uniform(15.0, 75.0), rng.uniform(90.0, 118.0)
    fingers = {i: Finger(root + 4 * rng.normal(), middle + 4 * rng.normal(),
                         rng.uniform(30.0, 65.0)) for i in range(4)}  # fmt: skip
    return _with_fingers(pose, fingers)


def _upright(pose: Pose, rng: Rng) -> Pose:
    """F and W."""
    return replace(pose, yaw=pose.yaw + 12.0 * rng.normal())


def _sideways(pose: Pose, rng: Rng) -> Pose:
    """G and H held level: seen from the palm, from the back, or along the fingers' edge."""
    way = rng.uniform()
    if way < 0.5:
        return _held(pose, rng, (-50.0, 60.0), (-15.0, 25.0), (35.0, 100.0))
    if way < 0.8:
        return _held(pose, rng, (110.0, 200.0), (-15.0, 25.0), (-100.0, -35.0))
    held = _held(pose, rng, (60.0, 110.0), (0.0, 30.0), (50.0, 95.0))
    return replace(held, roll=_either(rng) * held.roll)


def _wrist_below(pose: Pose, rng: Rng, n_straight: int) -> Pose:
    """G and H with the forearm upright: the straight fingers bend sideways at their knuckles."""
    held = _held(pose, rng, (40.0, 105.0), (-10.0, 20.0), (-30.0, 30.0))
    held = replace(held, yaw=_either(rng) * held.yaw)
    return _with_fingers(
        held, {i: _finger(rng, (55.0, 95.0), (0.0, 20.0), (0.0, 10.0)) for i in range(n_straight)}
    )


def _g(pose: Pose, rng: Rng) -> Pose:
    thumb = _thumb(rng, (15.0, 45.0), (25.0, 70.0), (5.0, 40.0), (-5.0, 40.0), (-10.0, 20.0))
    index = _finger(rng, (0.0, 35.0), (0.0, 20.0), (0.0, 15.0))
    pose = _with_fingers(replace(pose, thumb=thumb), {0: index})
    return _wrist_below(pose, rng, 1) if rng.uniform() < 0.3 else _sideways(pose, rng)


def _h(pose: Pose, rng: Rng) -> Pose:
    return _wrist_below(pose, rng, 2) if rng.uniform() < 0.3 else _sideways(pose, rng)


def _j(pose: Pose, rng: Rng) -> Pose:
    """Any phase of the movement: from I over the turned wrist to the hook's end."""
    way = rng.uniform()
    if way < 0.15:
        return replace(pose, roll=rng.uniform(-60.0, 0.0))
    yaw = (-30.0, 60.0) if way < 0.65 else (60.0, 200.0)
    return _held(pose, rng, yaw, (-10.0, 40.0), (-10.0, 100.0))


def _k(pose: Pose, rng: Rng) -> Pose:
    index = _finger(rng, (-5.0, 10.0), (4.0, 4.0), (3.0, 3.0), (0.0, 12.0))
    middle = _finger(rng, (5.0, 50.0), (0.0, 15.0), (0.0, 8.0), (-12.0, -3.0))
    thumb = _thumb(rng, (15.0, 35.0), (15.0, 42.0), (10.0, 35.0), (5.0, 45.0), (0.0, 15.0))
    held = replace(pose, thumb=thumb, yaw=rng.uniform(-40.0, 40.0))
    return _with_fingers(held, {0: index, 1: middle})


def _l(pose: Pose, rng: Rng) -> Pose:
    return replace(pose, thumb=replace(pose.thumb, spread=rng.uniform(38.0, 62.0)))


def _over_the_thumb(pose: Pose, rng: Rng, n_over: int, spread: Span) -> Pose:
    """M and N: fingers folded over the thumb, or hanging straight over it."""
    root, middle = rng.uniform(35.0, 88.0), rng.uniform(72.0, 128.0)
    if rng.uniform() < 0.3:
        root, middle = rng.uniform(60.0, 100.0), rng.uniform(5.0, 60.0)
    fingers = {i: Finger(root + 4 * rng.normal(), middle + 5 * rng.normal(),
                         rng.uniform(5.0, 40.0), (-3.0, -1.0, 2.0)[i])
               for i in range(n_over)}  # fmt: skip
    thumb = pose.thumb
    if rng.uniform() < 0.7:
        thumb = _thumb(rng, spread, (22.0, 46.0), (5.0, 30.0), (15.0, 48.0), (-5.0, 45.0))
    held = replace(pose, thumb=thumb, pitch=rng.uniform(-15.0, 35.0))
    return _with_fingers(held, fingers)


def _m(pose: Pose, rng: Rng) -> Pose:
    return _over_the_thumb(pose, rng, 3, (-14.0, 8.0))


def _n(pose: Pose, rng: Rng) -> Pose:
    return _over_the_thumb(pose, rng, 2, (2.0, 24.0))


def _downwards(pose: Pose, rng: Rng) -> Pose:
    """P and Q: seen from the edge of the hand, its back, its palm, or the fingertips."""
    way = rng.uniform()
    if way < 0.5:
        return _held(pose, rng, (-120.0, -45.0), (-20.0, 20.0), (50.0, 125.0))
    if way < 0.65:
        return _held(pose, rng, (-110.0, -30.0), (-20.0, 40.0), (70.0, 150.0))
    if way < 0.75:
        return _held(pose, rng, (120.0, 220.0), (-20.0, 40.0), (-170.0, -80.0))
    if way < 0.85:
        return _held(pose, rng, (-40.0, 40.0), (-20.0, 20.0), (100.0, 190.0))
    if way < 0.92:
        return _held(pose, rng, (-40.0, 30.0), (30.0, 80.0), (30.0, 90.0))
    level = _held(pose, rng, (-40.0, 90.0), (-10.0, 30.0), (-10.0, 60.0))
    return _with_fingers(level, {0: _finger(rng, (30.0, 90.0), (0.0, 15.0), (5.0, 5.0))})


def _p(pose: Pose, rng: Rng) -> Pose:
    middle = _finger(rng, (25.0, 90.0), (0.0, 20.0), (0.0, 15.0), (-9.0, 0.0))
    return _with_fingers(_downwards(pose, rng), {1: middle})


def _q(pose: Pose, rng: Rng) -> Pose:
    index = _finger(rng, (25.0, 95.0), (0.0, 25.0), (0.0, 15.0))
    thumb = _thumb(rng, (20.0, 55.0), (35.0, 85.0), (5.0, 40.0), (-8.0, 35.0), (-10.0, 20.0))
    return _with_fingers(replace(_downwards(pose, rng), thumb=thumb), {0: index})


def _two_up(pose: Pose, rng: Rng) -> Pose:
    """U: the thumb over the ring finger, the middle finger, or the palm."""
    if rng.uniform() >= 0.35:
        return pose
    return replace(pose, thumb=POSES["S" if rng.uniform() < 0.5 else "W"].thumb)


def _apart(pose: Pose, rng: Rng, index: float, middle: float) -> Pose:
    first, second, *_ = pose.fingers
    pose = _with_fingers(pose, {0: replace(first, abduction=index),
                                1: replace(second, abduction=middle)})  # fmt: skip
    return _two_up(pose, rng)


def _v(pose: Pose, rng: Rng) -> Pose:
    apart = rng.uniform(6.0, 15.0)
    return _apart(pose, rng, apart, -apart)


def _r(pose: Pose, rng: Rng) -> Pose:
    crossed = rng.uniform(0.6, 1.3)
    return _apart(pose, rng, -11.0 * crossed, 12.0 * crossed)


def _t(pose: Pose, rng: Rng) -> Pose:
    index = _finger(rng, (40.0, 75.0), (75.0, 115.0), (20.0, 55.0), (0.0, 12.0))
    thumb = _thumb(rng, (12.0, 34.0), (15.0, 38.0), (0.0, 25.0), (10.0, 45.0), (-5.0, 35.0))
    return _with_fingers(replace(pose, thumb=thumb), {0: index})


def _x(pose: Pose, rng: Rng) -> Pose:
    index = _finger(rng, (-5.0, 40.0), (25.0, 100.0), (10.0, 60.0))
    thumb = POSES["S"].thumb if rng.uniform() < 0.4 else pose.thumb
    held = replace(pose, thumb=thumb, yaw=rng.uniform(-70.0, 85.0), roll=18.0 * rng.normal())
    return _with_fingers(held, {0: index})


def _y(pose: Pose, rng: Rng) -> Pose:
    return replace(pose, thumb=replace(pose.thumb, spread=rng.uniform(34.0, 58.0)))


def _z(pose: Pose, rng: Rng) -> Pose:
    """Any stroke of the movement, from the palm or from the back."""
    yaw = (-80.0, 80.0) if rng.uniform() < 0.8 else (130.0, 210.0)
    held = _held(pose, rng, yaw, (-10.0, 60.0), (-60.0, 60.0))
    return _with_fingers(held, {0: _finger(rng, (0.0, 30.0), (0.0, 20.0), (0.0, 12.0))})


_VARIANTS: Final[dict[str, Callable[[Pose, Rng], Pose]]] = {
    "A": _closed, "B": _b, "C": _rounded, "D": _d, "E": _e, "F": _upright, "G": _g, "H": _h,
    "J": _j, "K": _k, "L": _l, "M": _m, "N": _n, "O": _rounded, "P": _p, "Q": _q, "R": _r,
    "S": _closed, "T": _t, "U": _two_up, "V": _v, "W": _upright, "X": _x, "Y": _y, "Z": _z,
}  # fmt: skip

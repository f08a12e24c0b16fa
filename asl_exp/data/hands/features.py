"""Numbers that tell letters apart, made from the 21 joints of a hand in the image's plane.

`joint_features` owns the formulas. It needs neither depth nor handedness, so that joints from any
detector, or from a file without images, give the same numbers. What moves with the hand in the
picture, and how large the hand is, is taken out; how the hand is turned is kept, because it tells
G from Q, K from P and U from H.

With the joints p_0..p_20 (x to the right, y down; numbered as in hand.py):

    palm    m = mean of p_0, p_5, p_9, p_13, p_17
    scale   s = the largest |p_i - m|
    c_i     = (p_i - m) / s

and for vectors u, v: u x v = u_x v_y - u_y v_x, the sine of the angle from u to v times lengths.

=============  ======  ===========================================================================
block          numbers formula
=============  ======  ===========================================================================
place          42      c_i
distance       210     |c_i - c_j|, i < j
bend           30      sine and cosine from one bone to the next, three a finger, from the wrist
palm           44      e = direction from the wrist to the mean knuckle; (c_i - c_0) across and
                       along e; e itself
order          15      a = direction from knuckle 5 to knuckle 17; (c_i - c_j) . a of the joints
                       beyond the knuckle of two fingers: which finger is on which side
side           12      k (u x (c_j - c_i)) with u from a finger's knuckle c_i to its tip, c_j a
                       joint of another finger, k = sign of a x (c_0 - c_9): fingers that cross
thumb          32      (c_t - c_j) . a of the thumb's outer joints t = 3, 4 and the fingers' joints:
                       between which fingers the thumb ends
shape          2       (c_5 - c_0) x (c_17 - c_0): which side of the hand is seen, and how much of
                       it; mean |c_k - c_0| of the knuckles: how foreshortened the palm is
=============  ======  ===========================================================================

distance, order, side and thumb do not change when the picture is mirrored; the horizontal parts of
place and palm's e, the sines of bend, the across part of palm and the first of shape change their
sign. distance, bend, palm without e, order, side, thumb and shape do not change when the hand turns
in the picture's plane.
"""

from itertools import combinations
from typing import Final

import torch
from torch import Tensor

from asl_exp.data.hands.hand import FINGERS, N_JOINTS

KNUCKLES: Final = (5, 9, 13, 17)
_PALM: Final = (0, *KNUCKLES)
_PAIRS: Final = tuple(combinations(range(N_JOINTS), 2))
_NEIGHBOURS: Final = ((5, 9), (9, 13), (13, 17), (5, 13), (9, 17))
_BESIDE: Final = ((5, 9), (9, 5), (9, 13), (13, 17))
_OUTER: Final = (1, 2, 3)
_THUMB: Final = (3, 4)
_TINY: Final = 1e-6
_SHORT: Final = 1e-3
"""Lengths are relative to the hand; a direction of less than this is no direction."""

BLOCKS: Final = {
    "place": 2 * N_JOINTS,
    "distance": len(_PAIRS),
    "bend": 2 * 3 * len(FINGERS),
    "palm": 2 * N_JOINTS + 2,
    "order": len(_NEIGHBOURS) * len(_OUTER),
    "side": len(_BESIDE) * len(_OUTER),
    "thumb": len(_THUMB) * (N_JOINTS - 5),
    "shape": 2,
}
"""Names and widths of the blocks, in their order."""

N_FEATURES: Final = sum(BLOCKS.values())


def joint_features(joints: Tensor) -> Tensor:
    """Return (B, N_FEATURES) of joints (B, 21, 2 or more), in any unit and from any origin.

    Depth and what else follows x and y is not looked at. A hand of which a coordinate is not a
    finite number, and one whose joints are all one point, gives zeros.
    """
    plane = joints[..., :2]
    known = torch.isfinite(plane).all(-1).all(-1)[:, None, None]
    plane = torch.where(known, plane, torch.zeros_like(plane))
    centred = plane - plane[:, _PALM].mean(1, keepdim=True)
    reach = centred.norm(dim=-1).amax(1)[:, None, None]
    seen = (reach > _TINY * plane.abs().amax((1, 2), keepdim=True)) & (reach > 0)
    c = torch.where(seen, centred / reach, torch.zeros_like(centred))
    parts = [_place(c), _distance(c), _bend(c), _palm(c), *_order_side_thumb(c), _shape(c)]
    return torch.cat(parts, 1)


def block(features: Tensor, name: str) -> Tensor:
    """Return the columns of one block."""
    names = list(BLOCKS)
    start = sum(BLOCKS[earlier] for earlier in names[: names.index(name)])
    return features[:, start : start + BLOCKS[name]]


def _place(c: Tensor) -> Tensor:
    return c.flatten(1)


def _distance(c: Tensor) -> Tensor:
    first, second = ([pair[end] for pair in _PAIRS] for end in (0, 1))
    distance: Tensor = (c[:, first] - c[:, second]).norm(dim=-1)
    return distance


def _bend(c: Tensor) -> Tensor:
    chains = c[:, [[0, *finger] for finger in FINGERS]]  # (B, 5, 5, 2)
    bones = _direction(chains[:, :, 1:] - chains[:, :, :-1], _TINY)
    before, after = bones[:, :, :-1], bones[:, :, 1:]
    return torch.stack([_cross(before, after), (before * after).sum(-1)], -1).flatten(1)


def _palm(c: Tensor) -> Tensor:
    up = _direction(c[:, KNUCKLES].mean(1) - c[:, 0], _TINY)
    arm = c - c[:, :1]
    along = (arm * up[:, None]).sum(-1)
    across = _cross(arm, up[:, None].expand_as(arm))
    return torch.cat([torch.stack([across, along], -1).flatten(1), up], 1)


def _order_side_thumb(c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    a = _direction(c[:, 17] - c[:, 5], _TINY)
    place = (c * a[:, None]).sum(-1)  # (B, 21), from the index's side to the little finger's
    order = [place[:, i + k] - place[:, j + k] for i, j in _NEIGHBOURS for k in _OUTER]
    turned = torch.sign(_cross(a, c[:, 0] - c[:, 9]))
    side = []
    for i, j in _BESIDE:
        finger = _direction(c[:, i + 3] - c[:, i], _SHORT)
        side += [turned * _cross(finger, c[:, j + k] - c[:, i]) for k in _OUTER]
    fingers = place[:, 5:]
    thumb = [place[:, [joint]] - fingers for joint in _THUMB]
    return torch.stack(order, 1), torch.stack(side, 1), torch.cat(thumb, 1)


def _shape(c: Tensor) -> Tensor:
    facing = _cross(c[:, 5] - c[:, 0], c[:, 17] - c[:, 0])
    length = (c[:, KNUCKLES] - c[:, :1]).norm(dim=-1).mean(1)
    return torch.stack([facing, length], 1)


def _cross(u: Tensor, v: Tensor) -> Tensor:
    return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]


def _direction(vectors: Tensor, shortest: float) -> Tensor:
    """Return vectors of length 1, shorter ones where they were shorter than `shortest`."""
    length: Tensor = vectors.norm(dim=-1, keepdim=True)
    return vectors / length.clamp_min(shortest)

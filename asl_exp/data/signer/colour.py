"""Colour of the hand: skin, nails and cloth under the light that reaches them."""

import numpy as np

from .light import Light, Lit
from .person import Person
from .raster import Plane, Surface

_GAMMA = 2.2
_NAIL = np.array([1.25, 1.2, 1.22], dtype=np.float32)  # times the palm's colour
_RIM = np.array([0.0, 0.1, 0.1], dtype=np.float32)  # skin seen at a slant is redder


def coloured(
    surface: Surface, lit: Lit, person: Person, light: Light, surroundings: Plane
) -> tuple[Plane, Plane]:
    """sRGB (H/2, W/2, 3) premultiplied by alpha, and alpha (H/2, W/2), from planes of (H, W).

    surroundings is the room's mean sRGB (3,): its walls tint the light that they throw back.
    Colours are mixed after the reduction, on a quarter of the pixels.
    """
    covered = surface.covered.astype(np.float32)
    alpha = _halved(covered)
    whole = 1 / np.maximum(alpha, 1e-3)
    lamp, room, gloss, rim, palmar, nail, cloth, crease = (
        _halved(plane * covered) * whole
        for plane in (
            lit.lamp, lit.room, lit.gloss, lit.rim,
            surface.palmar, surface.nail, surface.cloth, surface.crease,
        )
    )  # fmt: skip
    back, palm, sleeve = (
        part.astype(np.float32) for part in (person.back, person.palm, person.sleeve)
    )
    palm_share = np.clip(palmar * 1.2 + 0.35, 0, 1)
    skin = _mixed(back, palm, palm_share) * (1 - crease[..., None]) * (1 - _RIM * rim[..., None])
    reflectance = _mixed(_mixed(skin, palm * _NAIL, nail), sleeve, cloth)

    warm = np.array([1 + 0.1 * light.warmth, 1.0, 1 - 0.14 * light.warmth], dtype=np.float32)
    tint = 0.5 + 0.5 * surroundings / max(float(surroundings.mean()), 0.05)
    received = (light.lamp * lamp)[..., None] * warm + (light.room * room)[..., None] * tint
    shine = person.gloss * light.lamp * (1 + 0.25 * nail) * (1 - cloth) * gloss
    linear = np.clip(reflectance * received + shine[..., None] * warm, 0, 1)
    return linear ** np.float32(1 / _GAMMA) * alpha[..., None], alpha


def _mixed(first: Plane, second: Plane, share: Plane) -> Plane:
    """share (H, W) of the second colour in the first."""
    return first + (second - first) * share[..., None]


def _halved(plane: Plane) -> Plane:
    """Mean of every 2 x 2 pixels."""
    rows = plane[0::2] + plane[1::2]
    return (rows[:, 0::2] + rows[:, 1::2]) * np.float32(0.25)

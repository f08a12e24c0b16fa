"""Light and colour of the hand: what reaches each pixel from lamp and room, on skin and cloth."""

from dataclasses import dataclass

import numpy as np

from asl_exp.data.renderer.hand import Array
from asl_exp.data.renderer.raster import Plane, Surface
from asl_exp.data.renderer.signer import Person

_SHADOW_STEPS = 7
_SHADOW_STRENGTH = 0.68
_OCCLUSION_STRENGTH = 0.55


@dataclass(frozen=True)
class Light:
    """One lamp (or window) and the room's diffuse light; in linear units, 1 shows skin as it is."""

    direction: Array  # (3,) unit vector to the lamp: x right, y down, z to the viewer
    lamp: float
    room: float
    warmth: float  # -1 bluish .. 1 yellowish


@dataclass(frozen=True)
class Lit:
    """Light received, (H, W) float32 planes."""

    lamp: Plane
    room: Plane
    gloss: Plane
    rim: Plane  # 1 where the surface turns away from the viewer


def illuminate(surface: Surface, light: Light, pixels_per_cm: float) -> Lit:
    """Lamp, room light, gloss and rim for every covered pixel; zero elsewhere."""
    x, y, z = surface.normal
    toward = light.direction.astype(np.float32)
    facing = x * toward[0] + y * toward[1] + z * toward[2]
    wrapped = np.clip((facing + 0.25) / 1.25, 0, 1)  # skin lets light through: no hard terminator
    half = toward + np.array([0, 0, 1], dtype=np.float32)
    half /= max(float(np.linalg.norm(half)), 1e-3)
    shine = np.clip(x * half[0] + y * half[1] + z * half[2], 0, 1)
    shine *= shine
    shine *= shine
    shine *= shine
    openness = _openness(surface, pixels_per_cm)
    shadow = _shadow(surface, light.direction, pixels_per_cm)
    lamp = wrapped * shadow * (0.55 + 0.45 * openness)
    sky = 0.78 - 0.22 * y  # more light from above
    return Lit(lamp, sky * openness, shine * shine * shadow * openness, 1 - z)


def _openness(surface: Surface, pixels_per_cm: float) -> Plane:
    """1 where a pixel lies free, less in grooves: how far the surroundings stand out before it."""
    mask = surface.covered.astype(np.float32)
    found = np.ones_like(mask)
    for reach_cm, weight in ((0.9, 0.6), (2.6, 0.4)):
        width = max(3, 2 * round(reach_cm * pixels_per_cm / 2) + 1)
        near = _smooth(surface.depth * mask, width) / np.maximum(_smooth(mask, width), 1e-3)
        sunk = np.clip((near - surface.depth) / np.float32(reach_cm * pixels_per_cm) - 0.02, 0, 1)
        found -= np.float32(_OCCLUSION_STRENGTH * weight * 2.4) * sunk
    return np.clip(found, 0.12, 1) * mask


def _shadow(surface: Surface, direction: Array, pixels_per_cm: float) -> Plane:
    """1 in the light, less where the way to the lamp, walked over the depth, meets the hand."""
    size = surface.depth.shape[0]
    flat = float(np.hypot(direction[0], direction[1]))
    mask = surface.covered.astype(np.float32)
    if flat < 0.05:
        return mask
    rise = float(direction[2]) / flat
    blocked = np.zeros_like(mask)
    reach = 4.0 * pixels_per_cm
    for step in range(1, _SHADOW_STEPS + 1):
        length = reach * (step / _SHADOW_STEPS) ** 1.5 + 1.0
        dx, dy = (
            round(float(direction[0]) / flat * length),
            round(float(direction[1]) / flat * length),
        )
        here = np.s_[max(0, -dy) : size - max(0, dy), max(0, -dx) : size - max(0, dx)]
        there = np.s_[max(0, dy) : size - max(0, -dy), max(0, dx) : size - max(0, -dx)]
        over = surface.depth[there] - surface.depth[here] - np.float32(rise * length)
        over *= mask[there]
        soft = np.float32(1 / (0.35 * pixels_per_cm))
        np.maximum(blocked[here], np.clip(over * soft, 0, 1), out=blocked[here])
    return mask * (1 - np.float32(_SHADOW_STRENGTH) * _smooth(blocked, 3))


def _smooth(plane: Plane, width: int) -> Plane:
    """Mean over squares of width pixels."""
    from scipy.ndimage import uniform_filter  # 0.1 s, where hands are drawn alone

    return np.asarray(uniform_filter(plane, width))


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

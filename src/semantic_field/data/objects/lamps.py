"""Lamps that stand on the floor or on a table, or hang: bases, poles and shades, from solids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from semantic_field.data.objects.materials import (
    Random,
    chance,
    choice,
    color_of,
    random_frame,
    random_metal,
    random_paint,
)
from semantic_field.data.room.shapes import Material, Shape, box, cylinder, ellipsoid, rod

PARTS = ("base", "pole", "shade")


@dataclass(frozen=True)
class LampDesign:
    """Sizes in metres and forms of a lamp.

    Attributes:
        base: a key of ``BASES``; ``base_radius``, ``base_height`` of it.
        pole_radius, pole_top: of the pole.
        bend: how far the pole's upper end reaches forwards; 0 = straight.
        shade: a key of ``SHADES``; ``shade_radius`` at its lower edge, ``shade_height``.
        taper: ratio of the upper to the lower radius of a conical shade.
        shade_low: height of the shade's lower edge.
        metal, foot, cloth: materials of pole, base and shade.
    """

    base: str
    base_radius: float
    base_height: float
    pole_radius: float
    pole_top: float
    bend: float
    shade: str
    shade_radius: float
    shade_height: float
    taper: float
    shade_low: float
    metal: Material
    foot: Material
    cloth: Material


def random_lamp(rng: Random) -> LampDesign:
    """Return a random lamp."""
    kind = choice(rng, {"floor": 1.0, "table": 1.0, "hanging": 0.4})
    scale = 1.0 if kind == "floor" else (0.45 if kind == "table" else 0.7)
    pole_top = {"floor": (1.2, 1.55), "table": (0.28, 0.55), "hanging": (0.45, 1.0)}[kind]
    top = rng.uniform(*pole_top)
    shade_height = rng.uniform(0.16, 0.34) * (0.75 if kind == "table" else 1.0)
    radius = rng.uniform(0.14, 0.24) * (0.75 if kind == "table" else 1.0)
    bases = {"floor": FLOOR_BASES, "table": TABLE_BASES, "hanging": {"rose": 1.0}}[kind]
    hanging = kind == "hanging"
    return LampDesign(
        base=choice(rng, bases),
        base_radius=rng.uniform(0.1, 0.18) * (1.0 if kind == "floor" else 0.55),
        base_height=rng.uniform(0.015, 0.04),
        pole_radius=rng.uniform(0.009, 0.016) * max(scale, 0.7),
        pole_top=top,
        bend=0.0 if hanging or chance(rng, 0.7) else rng.uniform(0.1, 0.3) * max(scale, 0.6),
        shade=choice(rng, SHADE_WEIGHTS),
        shade_radius=radius,
        shade_height=shade_height,
        taper=rng.uniform(0.25, 1.0),
        shade_low=0.0 if hanging else top - rng.uniform(0.01, 0.08),
        metal=random_metal(rng) if chance(rng, 0.7) else random_frame(rng),
        foot=_foot(rng),
        cloth=_cloth(rng),
    )


def _foot(rng: Random) -> Material:
    return random_frame(rng) if chance(rng, 0.5) else random_paint(rng)


def _cloth(rng: Random) -> Material:
    """A shade's cloth, mostly warm and light; it glows."""
    if chance(rng, 0.6):
        color = color_of(rng.uniform(0.08, 0.13), rng.uniform(0.05, 0.4), rng.uniform(0.85, 1.0))
    else:
        color = color_of(rng.random(), rng.uniform(0.2, 0.7), rng.uniform(0.5, 0.95))
    return Material("fabric", color, 0.3, emission=rng.uniform(0.0, 0.8))


def lamp_solids(d: LampDesign) -> Mapping[str, list[Shape]]:
    """Return the solids of a lamp by part; origin under the middle of its base."""
    return {"base": BASES[d.base](d), "pole": _pole(d), "shade": SHADES[d.shade](d)}


def _disc(d: LampDesign) -> list[Shape]:
    return [cylinder((0, 0, 0), d.base_radius, d.base_height, d.foot)]


def _cone(d: LampDesign) -> list[Shape]:
    return [cylinder((0, 0, 0), d.base_radius, 2.2 * d.base_height, d.foot, top=0.35)]


def _block(d: LampDesign) -> list[Shape]:
    r = 0.85 * d.base_radius
    return [box((-r, -r, 0), (r, r, d.base_height), d.foot)]


def _tripod(d: LampDesign) -> list[Shape]:
    """Three legs that meet in the pole."""
    height = 0.55 * d.pole_top
    return [
        rod(
            (1.3 * d.base_radius * np.cos(angle), 1.3 * d.base_radius * np.sin(angle), 0.003),
            (0.0, 0.0, height),
            0.8 * d.pole_radius + 0.002,
            d.foot,
        )
        for angle in np.arange(3) * 2 * np.pi / 3 + np.pi / 2
    ]


def _gourd(d: LampDesign) -> list[Shape]:
    """A vase-like body of two bulges on a flat foot."""
    r, height = d.base_radius, 0.6 * d.pole_top
    return [
        cylinder((0, 0, 0), 0.75 * r, 0.02, d.foot),
        ellipsoid((0, 0, 0.33 * height), (r, r, 0.33 * height), d.foot),
        ellipsoid((0, 0, 0.72 * height), (0.62 * r, 0.62 * r, 0.28 * height), d.foot),
    ]


def _rose(d: LampDesign) -> list[Shape]:
    """The holder at the ceiling, at the upper end of the cable."""
    high = d.pole_top
    return [cylinder((0, 0, high - 0.03), 0.5 * d.base_radius + 0.03, 0.03, d.foot, top=0.8)]


def _pole(d: LampDesign) -> list[Shape]:
    low = {"rose": 0.8 * d.shade_height, "tripod": 0.5 * d.pole_top, "gourd": 0.5 * d.pole_top}.get(
        d.base, d.base_height
    )
    if not d.bend:
        return [cylinder((0, 0, low), d.pole_radius, d.pole_top - low, d.metal)]
    # Upright up to the bend, then forwards along an arc in four rods.
    knee, turns = d.pole_top - d.bend, np.linspace(0, np.pi / 2, 5)
    y = -d.bend * (1 - np.cos(turns))
    points = np.stack([0 * y, y, knee + d.bend * np.sin(turns)], axis=1)
    arc = [rod(a, b, d.pole_radius, d.metal) for a, b in pairwise(points)]
    upright = cylinder((0, 0, low), d.pole_radius, knee - low + 0.003, d.metal)
    return [upright, *arc]


def _drop(d: LampDesign) -> tuple[float, float]:
    """Return where the shade hangs: its middle along y, and its lower edge."""
    if not d.bend:
        return 0.0, d.shade_low
    return -d.bend, d.pole_top - d.shade_height


def _cone_shade(d: LampDesign) -> list[Shape]:
    y, low = _drop(d)
    return [cylinder((0, y, low), d.shade_radius, d.shade_height, d.cloth, top=d.taper)]


def _drum_shade(d: LampDesign) -> list[Shape]:
    y, low = _drop(d)
    return [cylinder((0, y, low), 0.85 * d.shade_radius, d.shade_height, d.cloth)]


def _globe_shade(d: LampDesign) -> list[Shape]:
    y, low = _drop(d)
    half = d.shade_height / 2
    r = min(0.8 * d.shade_radius, 1.25 * half)
    return [ellipsoid((0, y, low + half), (r, r, half), d.cloth)]


def _square_shade(d: LampDesign) -> list[Shape]:
    (y, low), r = _drop(d), 0.72 * d.shade_radius
    return [box((-r, y - r, low), (r, y + r, low + d.shade_height), d.cloth)]


BASES = {
    "disc": _disc,
    "cone": _cone,
    "block": _block,
    "tripod": _tripod,
    "gourd": _gourd,
    "rose": _rose,
}
FLOOR_BASES = {"disc": 3, "cone": 1, "block": 1, "tripod": 1.2}
TABLE_BASES = {"disc": 1.2, "cone": 1, "block": 1, "gourd": 2}
SHADES = {"cone": _cone_shade, "drum": _drum_shade, "globe": _globe_shade, "square": _square_shade}
SHADE_WEIGHTS = {"cone": 3, "drum": 1.5, "globe": 1, "square": 0.7}

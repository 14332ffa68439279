"""Mugs and bottles, from solids of revolution and handles of rods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from semantic_field.data.objects.materials import (
    Random,
    chance,
    choice,
    color_of,
    random_metal,
    random_paint,
)
from semantic_field.data.room.shapes import Material, Shape, box, cylinder, ellipsoid, rod

MUG_PARTS = ("body", "handle")
BOTTLE_PARTS = ("body", "neck", "cap")


@dataclass(frozen=True)
class MugDesign:
    """Sizes in metres of a mug; its handle is at +x.

    Attributes:
        radius, height: of the body; the radius is that at its lower end.
        taper: ratio of the body's upper to its lower radius.
        foot: height of a narrower foot; 0 = none.
        drink_height: of the drink, a thin disc above the rim.
        handle: "box", "ring" or "ear"; ``reach`` = from the body to its outer side.
        low, high: heights of the handle's ends on the body.
        thickness: of the handle.
        glaze, handle_glaze, drink: materials.
    """

    radius: float
    height: float
    taper: float
    foot: float
    handle: str
    reach: float
    low: float
    high: float
    thickness: float
    drink_height: float
    glaze: Material
    handle_glaze: Material
    drink: Material

    def radius_at(self, z: float) -> float:
        """Return the body's radius at a height."""
        return self.radius * (1 + (self.taper - 1) * z / self.height)


def random_mug(rng: Random) -> MugDesign:
    """Return a random mug."""
    height, glaze = rng.uniform(0.075, 0.13), _glaze(rng)
    return MugDesign(
        radius=rng.uniform(0.034, 0.05),
        height=height,
        taper=rng.uniform(0.8, 1.35) if chance(rng, 0.6) else 1.0,
        foot=rng.uniform(0.006, 0.012) if chance(rng, 0.25) else 0.0,
        handle=choice(rng, {"box": 1.0, "ring": 2.0, "ear": 1.5}),
        reach=rng.uniform(0.025, 0.042),
        low=height * rng.uniform(0.15, 0.3),
        high=height * rng.uniform(0.72, 0.9),
        thickness=rng.uniform(0.008, 0.014),
        drink_height=0.0015,
        glaze=glaze,
        handle_glaze=glaze if chance(rng, 0.8) else _glaze(rng),
        drink=Material("plain", DRINKS[int(rng.integers(len(DRINKS)))]),
    )


DRINKS = ((0.18, 0.11, 0.07), (0.45, 0.28, 0.16), (0.62, 0.36, 0.12), (0.9, 0.88, 0.82))


def _glaze(rng: Random) -> Material:
    if chance(rng, 0.25):
        return Material("plain", (0.93, 0.92, 0.90), 0.4)
    color = color_of(rng.random(), rng.uniform(0.35, 0.85), rng.uniform(0.4, 0.95))
    return Material("plain", color, 0.4)


def mug_solids(d: MugDesign) -> Mapping[str, list[Shape]]:
    """Return the solids of a mug by part; handle at +x, origin under the middle of the body."""
    body = [cylinder((0, 0, d.foot), d.radius, d.height - d.foot, d.glaze, top=d.taper)]
    if d.foot:
        body.append(cylinder((0, 0, 0), 0.75 * d.radius, d.foot, d.glaze))
    rim = d.radius * d.taper
    body.append(cylinder((0, 0, d.height), rim - 0.006, d.drink_height, d.drink))
    return {"body": body, "handle": HANDLES[d.handle](d)}


def _box_handle(d: MugDesign) -> list[Shape]:
    """Two bars and an upright, square in section."""
    t, outer = d.thickness, max(d.radius_at(d.low), d.radius_at(d.high)) + d.reach
    shapes = [
        box(
            (d.radius_at(z) - 0.002, -t / 2, z - t / 2),
            (outer - 0.002, t / 2, z + t / 2),
            d.handle_glaze,
        )
        for z in (d.high, d.low)
    ]
    low, high = d.low - t / 3, d.high + t / 3
    return [*shapes, box((outer - t, -t / 2, low), (outer, t / 2, high), d.handle_glaze)]


def _curved_handle(d: MugDesign, turns: NDArray, squareness: float) -> list[Shape]:
    """Rods along a curve from the upper to the lower end."""
    middle, half = (d.low + d.high) / 2, (d.high - d.low) / 2
    shift = 0.3 * (d.radius_at(d.high) - d.radius_at(d.low))
    across = np.sign(np.cos(turns)) * np.abs(np.cos(turns)) ** squareness
    up = np.sign(np.sin(turns)) * np.abs(np.sin(turns)) ** squareness
    x = d.radius_at(middle) - 0.003 + d.reach * across + shift * up
    points = np.stack([x, np.zeros_like(x), middle + half * up], axis=1)
    r = d.thickness / 2
    shapes = [rod(a, b, r, d.handle_glaze) for a, b in pairwise(points)]
    joints = [ellipsoid(point, (r, r, r), d.handle_glaze) for point in points[1:-1]]
    return [*shapes, *joints]


def _ring_handle(d: MugDesign) -> list[Shape]:
    """Half a ring."""
    return _curved_handle(d, np.linspace(np.pi / 2, -np.pi / 2, 7), 1.0)


def _ear_handle(d: MugDesign) -> list[Shape]:
    """A fuller, squarer curve."""
    return _curved_handle(d, np.linspace(np.pi / 2, -np.pi / 2, 9), 0.6)


HANDLES = {"box": _box_handle, "ring": _ring_handle, "ear": _ear_handle}


@dataclass(frozen=True)
class BottleDesign:
    """Sizes in metres of a bottle.

    Attributes:
        radius, body: radius and height of the body up to the shoulder; ``waist`` = ratio of its
            upper to its lower radius.
        square: a body of square section.
        shoulder: height of the shoulder; ``round_shoulder`` = bulging instead of conical.
        neck_radius, neck: of the neck.
        cap_radius, cap: radius and height of the cap; ``label`` = share of the body's height.
        glass, label_paper, cap_material: materials.
    """

    radius: float
    body: float
    waist: float
    square: bool
    shoulder: float
    round_shoulder: bool
    neck_radius: float
    neck: float
    cap_radius: float
    cap: float
    label: float
    glass: Material
    label_paper: Material
    cap_material: Material


def random_bottle(rng: Random) -> BottleDesign:
    """Return a random bottle, from a squat flask to a wine bottle."""
    radius = rng.uniform(0.028, 0.05)
    neck_radius = rng.uniform(0.26, 0.5) * radius
    square = chance(rng, 0.15)
    return BottleDesign(
        radius=radius,
        body=rng.uniform(0.09, 0.19),
        waist=rng.uniform(0.82, 1.08) if chance(rng, 0.3) and not square else 1.0,
        square=square,
        shoulder=rng.uniform(0.015, 0.05),
        round_shoulder=chance(rng, 0.4),
        neck_radius=neck_radius,
        neck=rng.uniform(0.015, 0.08),
        cap_radius=neck_radius * rng.uniform(1.05, 1.35),
        cap=rng.uniform(0.012, 0.03),
        label=rng.uniform(0.3, 0.6) if chance(rng, 0.6) else 0.0,
        glass=_glass(rng),
        label_paper=random_paint(rng),
        cap_material=random_metal(rng) if chance(rng, 0.4) else random_paint(rng),
    )


def _glass(rng: Random) -> Material:
    if chance(rng, 0.5):
        kinds = ((0.16, 0.34, 0.2), (0.36, 0.2, 0.1), (0.75, 0.83, 0.85), (0.85, 0.85, 0.83))
        return Material("plain", kinds[int(rng.integers(len(kinds)))], 0.4)
    return random_paint(rng)


def bottle_solids(d: BottleDesign) -> Mapping[str, list[Shape]]:
    """Return the solids of a bottle by part; origin under its middle."""
    top = d.body + d.shoulder
    upper = d.radius * d.waist
    body = [_trunk(d)]
    if d.round_shoulder:
        half = (0.97 * upper, 0.97 * upper, d.shoulder)
        body.append(ellipsoid((0, 0, d.body), half, d.glass))
    else:
        slope = d.neck_radius / (0.98 * upper)
        body.append(cylinder((0, 0, d.body), 0.98 * upper, d.shoulder, d.glass, top=slope))
    if d.label:
        body.append(_label(d))
    low = top - 0.3 * d.shoulder
    neck = cylinder((0, 0, low), d.neck_radius, top + d.neck - low, d.glass, top=0.92)
    cap = cylinder((0, 0, top + d.neck), d.cap_radius, d.cap, d.cap_material)
    return {"body": body, "neck": [neck], "cap": [cap]}


def _trunk(d: BottleDesign) -> Shape:
    if d.square:
        return box((-d.radius, -d.radius, 0), (d.radius, d.radius, d.body), d.glass)
    return cylinder((0, 0, 0), d.radius, d.body, d.glass, top=d.waist)


def _label(d: BottleDesign) -> Shape:
    """A sleeve of paper around the body."""
    low, high = (0.5 - d.label / 2) * d.body, (0.5 + d.label / 2) * d.body
    if d.square:
        r = d.radius + 0.0008
        return box((-r, -r, low), (r, r, high), d.label_paper)
    lower, upper = (d.radius * (1 + (d.waist - 1) * z / d.body) + 0.0008 for z in (low, high))
    return cylinder((0, 0, low), lower, high - low, d.label_paper, top=upper / lower)

"""Cabinets: chests of drawers, sideboards, cupboards and wardrobes, from solids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from semantic_field.data.objects.materials import (
    Random,
    chance,
    choice,
    random_frame,
    random_metal,
    random_paint,
    random_wood,
)
from semantic_field.data.room.furniture import legs
from semantic_field.data.room.shapes import Material, Shape, box, ellipsoid, rod

PARTS = ("body", "door", "drawer", "handle", "leg")
FRONT = 0.018  # thickness of doors and fronts, metres
GAP = 0.006


@dataclass(frozen=True)
class CabinetDesign:
    """Sizes in metres and forms of a cabinet.

    Attributes:
        width, depth, height: of the whole, legs included.
        leg: height of the legs; 0 = it stands on the floor.
        columns: number of columns of fronts side by side.
        drawers: rows of drawers in each column, from the top; ``drawer_share`` = share of the
            front's height that they take, 0..1; the rest is a door.
        handle: a key of ``HANDLES``.
        leg_thickness: of the legs.
        wood, front, metal, foot: materials of body, fronts, handles and legs.
    """

    width: float
    depth: float
    height: float
    leg: float
    columns: int
    drawers: tuple[int, ...]
    drawer_share: tuple[float, ...]
    handle: str
    leg_thickness: float
    wood: Material
    front: Material
    metal: Material
    foot: Material


def random_cabinet(rng: Random) -> CabinetDesign:
    """Return a random cabinet."""
    kind = choice(rng, {"chest": 1.0, "sideboard": 1.0, "cupboard": 1.0, "bedside": 0.6})
    low, high, columns = {
        "chest": ((0.6, 0.40, 0.75), (1.2, 0.50, 1.15), (1, 2)),
        "sideboard": ((1.1, 0.35, 0.5), (1.7, 0.50, 0.85), (2, 4)),
        "cupboard": ((0.6, 0.35, 1.2), (1.1, 0.60, 1.8), (1, 3)),
        "bedside": ((0.38, 0.35, 0.45), (0.55, 0.45, 0.65), (1, 1)),
    }[kind]
    width, depth, height = (float(value) for value in rng.uniform(low, high))
    count = int(rng.integers(columns[0], columns[1] + 1))
    drawers, shares = zip(*(_column(rng, kind, height) for _ in range(count)))
    if chance(rng, 0.6):  # all columns alike
        drawers, shares = drawers[:1] * count, shares[:1] * count
    body = random_wood(rng) if chance(rng, 0.7) else random_paint(rng)
    return CabinetDesign(
        width=width,
        depth=depth,
        height=height,
        leg=rng.uniform(0.06, 0.22) if chance(rng, 0.7) else 0.0,
        columns=count,
        drawers=drawers,
        drawer_share=shares,
        handle=choice(rng, {"bar": 1.5, "upright": 1.0, "knob": 1.0}),
        leg_thickness=rng.uniform(0.03, 0.06),
        wood=body,
        front=_front(rng, body),
        metal=random_metal(rng),
        foot=random_frame(rng),
    )


def _column(rng: Random, kind: str, height: float) -> tuple[int, float]:
    """Return the rows of drawers of a column and the share of its height that they take."""
    if kind == "chest":
        return int(rng.integers(3, 6)), 1.0
    if chance(rng, 0.5 if kind == "cupboard" else 0.35):
        return 0, 0.0
    if kind == "cupboard":
        return int(rng.integers(1, 4)), rng.uniform(0.2, 0.4)
    if chance(rng, 0.4):
        return int(rng.integers(2, 4)), 1.0
    return 1, rng.uniform(0.25, 0.4)


def _front(rng: Random, body: Material) -> Material:
    if chance(rng, 0.45):
        return Material("cabinet", body.color, fit=True)
    return random_paint(rng) if chance(rng, 0.5) else body


def cabinet_solids(d: CabinetDesign) -> Mapping[str, list[Shape]]:
    """Return the solids of a cabinet by part; front -y, origin on the ground under its middle."""
    solids: dict[str, list[Shape]] = {"body": [_body(d)], "door": [], "drawer": [], "handle": []}
    solids["leg"] = _legs(d)
    edges = np.linspace(-d.width / 2 + 0.02, d.width / 2 - 0.02, d.columns + 1)
    for column, (left, right) in enumerate(pairwise(edges)):
        _add_column(d, column, left + GAP / 2, right - GAP / 2, solids)
    return solids


def _body(d: CabinetDesign) -> Shape:
    x, y = d.width / 2, d.depth / 2
    return box((-x, -y, d.leg), (x, y, d.height), d.wood)


def _legs(d: CabinetDesign) -> list[Shape]:
    if not d.leg:
        return []
    x, y = d.width / 2 - 0.03, d.depth / 2 - 0.03
    return legs(x, y, d.leg, d.leg_thickness, d.foot)


def _add_column(
    d: CabinetDesign, column: int, left: float, right: float, solids: dict[str, list[Shape]]
) -> None:
    """Add the fronts of a column, drawers above and a door below, with their handles."""
    low, high = d.leg + 0.02, d.height - 0.025
    split = high - d.drawer_share[column] * (high - low)
    rows = np.linspace(high, split, d.drawers[column] + 1)
    for upper, lower in pairwise(rows):
        solids["drawer"].append(_panel(d, left, right, lower + GAP / 2, upper - GAP / 2))
        at = (left + right) / 2, (lower + upper) / 2
        solids["handle"] += HANDLES["bar" if d.handle == "upright" else d.handle](d, *at)
    if split - low > 0.05:
        solids["door"].append(_panel(d, left, right, low, split - GAP / 2))
        side = right - 0.05 if column % 2 == 0 else left + 0.05
        height = (
            min(low + 0.6 * (split - low), split - 0.1)
            if d.height < 1.0
            else low + 0.45 * (split - low)
        )
        solids["handle"] += HANDLES["knob" if d.handle == "knob" else "upright"](d, side, height)


def _panel(d: CabinetDesign, left: float, right: float, low: float, high: float) -> Shape:
    y = -d.depth / 2
    return box((left, y - FRONT, low), (right, y + 0.002, high), d.front)


def _bar(d: CabinetDesign, x: float, z: float) -> list[Shape]:
    y = -d.depth / 2 - FRONT
    grip = rod((x - 0.07, y - 0.026, z), (x + 0.07, y - 0.026, z), 0.009, d.metal)
    feet = [
        rod((x + s, y + 0.004, z), (x + s, y - 0.026, z), 0.006, d.metal) for s in (-0.05, 0.05)
    ]
    return [grip, *feet]


def _upright(d: CabinetDesign, x: float, z: float) -> list[Shape]:
    y = -d.depth / 2 - FRONT
    grip = rod((x, y - 0.026, z - 0.08), (x, y - 0.026, z + 0.08), 0.009, d.metal)
    feet = [
        rod((x, y + 0.004, z + s), (x, y - 0.026, z + s), 0.006, d.metal) for s in (-0.055, 0.055)
    ]
    return [grip, *feet]


def _knob(d: CabinetDesign, x: float, z: float) -> list[Shape]:
    y = -d.depth / 2 - FRONT
    return [ellipsoid((x, y - 0.012, z), (0.022, 0.02, 0.022), d.metal)]


HANDLES = {"bar": _bar, "upright": _upright, "knob": _knob}

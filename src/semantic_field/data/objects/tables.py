"""Tables and desks: tops, legs, shelves and drawers, from solids."""

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
from semantic_field.data.room.shapes import Material, Shape, box, cylinder, rod

PARTS = ("top", "leg", "shelf", "drawer")


@dataclass(frozen=True)
class TableDesign:
    """Sizes in metres and forms of a table.

    Attributes:
        length, depth: of the top, along x and y; a round one is ``length`` across.
        height: of the upper side; ``top`` = thickness of the top.
        round_top: a disc instead of a board.
        base: a key of ``BASES``.
        thickness: of the legs; ``inset`` = from the edge of the top to a leg's outer side.
        apron: height of the boards between the legs, below the top; 0 = none.
        shelf: height of a shelf above the floor; 0 = none.
        drawers: number of drawers in the apron at the front.
        frame, board, metal: materials of the legs, of the top, and of handles.
    """

    length: float
    depth: float
    height: float
    top: float
    round_top: bool
    base: str
    thickness: float
    inset: float
    apron: float
    shelf: float
    drawers: int
    frame: Material
    board: Material
    metal: Material

    @property
    def below(self) -> float:
        """Height of the lower side of the top."""
        return self.height - self.top

    @property
    def leg_half(self) -> tuple[float, float]:
        """Half the extent of the legs' outer edges, along x and y."""
        if self.round_top:
            half = 0.66 * self.length / 2
            return half, half
        return self.length / 2 - self.inset, self.depth / 2 - self.inset


def random_table(rng: Random) -> TableDesign:
    """Return a random table: for dining, for coffee, beside a bed, or for writing."""
    kind = choice(rng, {"dining": 1.0, "coffee": 0.7, "side": 0.7, "desk": 0.7})
    low, high = {
        "dining": ((1.0, 0.75, 0.70), (1.7, 0.95, 0.78)),
        "coffee": ((0.75, 0.45, 0.36), (1.2, 0.70, 0.50)),
        "side": ((0.40, 0.35, 0.45), (0.65, 0.55, 0.65)),
        "desk": ((1.0, 0.50, 0.70), (1.5, 0.75, 0.78)),
    }[kind]
    length, depth, height = (float(value) for value in rng.uniform(low, high))
    round_top = kind != "desk" and chance(rng, 0.3)
    if round_top:
        length = min(length, 1.3)
    elif chance(rng, 0.2):
        length = depth = min(length, 1.0)
    base = choice(rng, ROUND_BASES if round_top else BASE_WEIGHTS)
    four = base == "legs" and not round_top
    drawers = 0
    if four and chance(rng, 0.75 if kind == "desk" else 0.15):
        drawers = max(1, int(length / 0.45))
    frame = random_frame(rng)
    return TableDesign(
        length=length,
        depth=depth,
        height=height,
        top=rng.uniform(0.02, 0.05),
        round_top=round_top,
        base=base,
        thickness=rng.uniform(0.035, 0.08),
        inset=rng.uniform(0.0, 0.06),
        apron=rng.uniform(0.11, 0.15) if drawers else rng.uniform(0.06, 0.11) * chance(rng, 0.6),
        shelf=rng.uniform(0.25, 0.45) * height if chance(rng, 0.35) else 0.0,
        drawers=drawers,
        frame=frame,
        board=frame if chance(rng, 0.5) else _top_board(rng),
        metal=random_metal(rng),
    )


def _top_board(rng: Random) -> Material:
    if chance(rng, 0.2):
        return Material("stone", (0.75, 0.74, 0.72), 0.5)
    return random_wood(rng) if chance(rng, 0.6) else random_paint(rng)


def table_solids(d: TableDesign) -> Mapping[str, list[Shape]]:
    """Return the solids of a table by part; front -y, origin on the ground under its middle."""
    return {
        "top": [_board(d, d.below, d.height, 1.0)],
        "leg": [*BASES[d.base](d), *_apron(d)],
        "shelf": _shelf(d),
        "drawer": _drawers(d),
    }


def _board(d: TableDesign, low: float, high: float, share: float) -> Shape:
    x, y = share * d.length / 2, share * d.depth / 2
    if d.round_top:
        return cylinder((0, 0, low), x, high - low, d.board)
    return box((-x, -y, low), (x, y, high), d.board)


def _four_legs(d: TableDesign) -> list[Shape]:
    x, y = d.leg_half
    return legs(x, y, d.below, d.thickness, d.frame)


def _rod_legs(d: TableDesign) -> list[Shape]:
    """Four round legs that spread outwards."""
    (x, y), r = d.leg_half, 0.36 * d.thickness
    return [
        rod(
            (sx * (x - r), sy * (y - r), 0.004),
            (sx * (0.8 * x - r), sy * (0.8 * y - r), d.below + 0.4 * d.top),
            r,
            d.frame,
        )
        for sx in (-1, 1)
        for sy in (-1, 1)
    ]


def _pedestal(d: TableDesign) -> list[Shape]:
    """A column on a disc."""
    radius = 0.3 * min(d.length, d.depth if not d.round_top else d.length) + 0.03
    return [
        cylinder((0, 0, 0), radius, 0.03, d.frame, top=0.9),
        cylinder((0, 0, 0.03), 0.8 * d.thickness, d.below - 0.03, d.frame),
    ]


def _cross(d: TableDesign) -> list[Shape]:
    """A column on four feet."""
    reach, t = 0.36 * min(d.length, d.depth if not d.round_top else d.length), d.thickness
    shapes = [cylinder((0, 0, 0.02), 0.7 * t, d.below - 0.02, d.frame)]
    for x, y in ((1, 0), (0, 1)):
        half = np.array([x, y]) * reach + np.array([y, x]) * 0.4 * t
        shapes.append(box((*-half, 0.0), (*half, 0.045), d.frame))
    return shapes


def _trestles(d: TableDesign) -> list[Shape]:
    """A frame at each end: two uprights on a foot, joined by a beam."""
    (half_x, half_y), t, shapes = d.leg_half, 0.8 * d.thickness, []
    x = 0.86 * half_x
    for side in (-x, x):
        shapes.append(box((side - t / 2, -half_y, 0), (side + t / 2, half_y, 0.8 * t), d.frame))
        for y in (-0.55 * half_y, 0.55 * half_y):
            shapes.append(
                box((side - t / 2, y - t / 2, 0.8 * t), (side + t / 2, y + t / 2, d.below), d.frame)
            )
        shapes.append(
            box((side - t / 2, -0.55 * half_y, 0.3), (side + t / 2, 0.55 * half_y, 0.33), d.frame)
        )
    shapes.append(box((-x, -0.3 * t, 0.30), (x, 0.3 * t, 0.33), d.frame))
    return shapes


def _side_boards(d: TableDesign) -> list[Shape]:
    """A board at each end."""
    (x, y), t = d.leg_half, 0.5 * d.thickness
    return [box((side - t, -y, 0), (side + t, y, d.below), d.board) for side in (-x + t, x - t)]


def _apron(d: TableDesign) -> list[Shape]:
    """Boards between the legs, below the top; with drawers they reach to the drawers' bottom."""
    if not d.apron or d.base != "legs":
        return []
    (leg_x, leg_y), t = d.leg_half, d.thickness
    low, high = d.below - d.apron, d.below
    y, x = leg_y - 0.5 * t + 0.0025, leg_x - 0.5 * t + 0.0025
    fronts = (y,) if d.drawers else (-y, y)
    along, across = leg_x - 12 / 13 * t, leg_y - 12 / 13 * t
    shapes = [box((-along, w - 0.01, low), (along, w + 0.01, high), d.frame) for w in fronts]
    shapes += [box((w - 0.01, -across, low), (w + 0.01, across, high), d.frame) for w in (-x, x)]
    return shapes


def _shelf(d: TableDesign) -> list[Shape]:
    """A board between the legs."""
    if not d.shelf:
        return []
    low, high = d.shelf, d.shelf + 0.02
    if d.base in ("pedestal", "cross"):
        return [cylinder((0, 0, low), 0.22 * min(d.length, d.depth) + 0.05, 0.02, d.board)]
    x, y = d.leg_half
    t = 0.5 * d.thickness
    if d.base == "splayed":  # where the leaning legs are at that height
        share = 1 - 0.2 * low / d.below
        return [box((-share * x, -share * y, low), (share * x, share * y, high), d.board)]
    if d.base == "trestles":
        x = 0.86 * x + t / 2
        y = 0.55 * y + t / 2
        return [box((-x, -y, low), (x, y, high), d.board)]
    return [box((-x + t / 2, -y + t / 2, low), (x - t / 2, y - t / 2, high), d.board)]


def _drawers(d: TableDesign) -> list[Shape]:
    """Boxes under the top between the legs, each with a handle at the front."""
    shapes, (x, y), t = [], d.leg_half, d.thickness
    edges = np.linspace(-x + t, x - t, d.drawers + 1)
    low = d.below - d.apron
    for left, right in pairwise(edges):
        middle, front = (left + right) / 2, -y + 0.2 * t
        shapes.append(
            box((left + 0.004, front, low), (right - 0.004, 0.5 * y, d.below + 0.002), d.board)
        )
        grip = (middle - 0.05, front - 0.012, low + d.apron / 2)
        shapes.append(rod(grip, (middle + 0.05, *grip[1:]), 0.013, d.metal))
    return shapes


BASES = {
    "legs": _four_legs,
    "splayed": _rod_legs,
    "pedestal": _pedestal,
    "cross": _cross,
    "trestles": _trestles,
    "boards": _side_boards,
}
BASE_WEIGHTS = {"legs": 5, "splayed": 1.2, "pedestal": 0.5, "trestles": 0.8, "boards": 0.8}
ROUND_BASES = {"legs": 1, "splayed": 1.5, "pedestal": 1.5, "cross": 1}

"""Chairs: seats, backs, bases and arms in many forms, from solids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from semantic_field.data.objects.materials import (
    Random,
    chance,
    choice,
    random_fabric,
    random_frame,
    random_paint,
    random_wood,
)
from semantic_field.data.room.furniture import legs
from semantic_field.data.room.shapes import Material, Shape, box, cylinder, ellipsoid, rod

PARTS = ("seat", "backrest", "leg", "armrest")
CASTOR = Material("plain", (0.1, 0.1, 0.1))


@dataclass(frozen=True)
class ChairDesign:
    """Sizes in metres and forms of a chair; the seat's lower side is at ``seat_height``.

    Attributes:
        width, depth: of the seat; a round one is as wide as the lesser of the two.
        seat_height, seat_thickness: of the board; ``pad`` = thickness of a cushion, 0 = none.
        height: of the top of the back.
        thickness: of legs and posts.
        round_seat: a disc instead of a board.
        base, back, arms: keys of ``BASES``, ``BACKS``, ``ARMS``.
        slats: number of slats or spindles; ``slat`` = height of a slat.
        clearance: of the back's lowest slat or panel above the seat.
        recline: of the back, radians.
        stretchers: rods between the legs.
        frame, board, cover: materials of legs and posts, of seat and back, and of cushions.
    """

    width: float
    depth: float
    seat_height: float
    seat_thickness: float
    pad: float
    height: float
    thickness: float
    round_seat: bool
    base: str
    back: str
    arms: str
    slats: int
    slat: float
    clearance: float
    recline: float
    stretchers: bool
    frame: Material
    board: Material
    cover: Material

    @property
    def seat_top(self) -> float:
        """Height of the upper side of the seat's board."""
        return self.seat_height + self.seat_thickness

    @property
    def radius(self) -> float:
        """Radius of a round seat."""
        return min(self.width, self.depth) / 2

    @property
    def back_half(self) -> float:
        """Half the width of the back."""
        return 0.75 * self.radius if self.round_seat else self.width / 2

    @property
    def back_y(self) -> float:
        """Position of the rear side of the back where it meets the seat."""
        return 0.64 * self.radius if self.round_seat else self.depth / 2

    @property
    def leg_half(self) -> tuple[float, float]:
        """Half the extent of the legs' outer edges below the seat, along x and y."""
        if self.round_seat:
            return 0.68 * self.radius, 0.68 * self.radius
        return self.width / 2, self.depth / 2


def random_chair(rng: Random) -> ChairDesign:
    """Return a random chair."""
    frame, seat_height = random_frame(rng), rng.uniform(0.38, 0.46)
    thickness, board = rng.uniform(0.022, 0.04), rng.uniform(0.02, 0.045)
    round_seat = chance(rng, 0.2)
    return ChairDesign(
        width=rng.uniform(0.38, 0.54),
        depth=rng.uniform(0.38, 0.50),
        seat_height=seat_height,
        seat_thickness=board,
        pad=rng.uniform(0.025, 0.07) if chance(rng, 0.5) else 0.0,
        height=rng.uniform(0.76, 1.04),
        thickness=thickness,
        round_seat=round_seat,
        base=choice(rng, BASE_WEIGHTS),
        back=choice(rng, BACK_WEIGHTS),
        arms=choice(rng, {"none": 1.0} if round_seat else ARM_WEIGHTS),
        slats=int(rng.integers(2, 6)),
        slat=rng.uniform(0.035, 0.08),
        clearance=rng.uniform(0.06, 0.15),
        recline=rng.uniform(0.0, 0.22) if chance(rng, 0.7) else 0.0,
        stretchers=chance(rng, 0.4),
        frame=frame,
        board=frame if chance(rng, 0.5) else _seat_board(rng),
        cover=random_fabric(rng),
    )


def _seat_board(rng: Random) -> Material:
    return random_wood(rng) if chance(rng, 0.5) else random_paint(rng)


def chair_solids(d: ChairDesign) -> Mapping[str, list[Shape]]:
    """Return the solids of a chair by part; front -y, origin on the ground under the seat."""
    return {
        "seat": _seat(d),
        "backrest": [_reclined(shape, d) for shape in BACKS[d.back](d)],
        "leg": BASES[d.base](d),
        "armrest": ARMS[d.arms](d),
    }


def _seat(d: ChairDesign) -> list[Shape]:
    x, y, low, high = d.width / 2, d.depth / 2, d.seat_height, d.seat_top
    if d.round_seat:
        shapes = [cylinder((0, 0, low), d.radius, high - low, d.board)]
        if d.pad:
            shapes.append(cylinder((0, 0, high), d.radius - 0.012, d.pad, d.cover, top=0.94))
        return shapes
    shapes = [box((-x, -y, low), (x, y, high), d.board)]
    if d.pad:
        shapes.append(
            box((-x + 0.01, -y + 0.005, high), (x - 0.01, y - 0.05, high + d.pad), d.cover)
        )
    return shapes


def _reclined(shape: Shape, d: ChairDesign) -> Shape:
    """Turn a solid of the back backwards about the seat's rear edge."""
    if d.recline == 0.0:
        return shape
    c, s = np.cos(-d.recline), np.sin(-d.recline)
    lean = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    hinge = np.array([0.0, d.back_y - d.thickness / 2, d.seat_height])
    return shape.moved(lean, hinge - lean @ hinge)


def _posts(d: ChairDesign) -> list[Shape]:
    x, y, t = d.back_half, d.back_y, d.thickness
    low = d.seat_top if d.recline == 0.0 and not d.round_seat else d.seat_height
    return [
        box((side - t / 2, y - t, low), (side + t / 2, y, d.height), d.frame)
        for side in (-x + t / 2, x - t / 2)
    ]


def _slats_back(d: ChairDesign) -> list[Shape]:
    """Two posts and horizontal slats."""
    x, y, t = d.back_half - d.thickness, d.back_y, d.thickness
    lowest, highest = d.seat_top + d.clearance, d.height - 0.025 - d.slat
    return [
        *_posts(d),
        *(
            box((-x, y - t / 1.2, z), (x, y - t / 4.5, z + d.slat), d.board)
            for z in np.linspace(lowest, highest, d.slats)
        ),
    ]


def _spindle_back(d: ChairDesign) -> list[Shape]:
    """Upright rods between the seat and a rail on top."""
    x, t = d.back_half - d.thickness / 2, d.thickness
    y, top = d.back_y - t / 2, d.height - 0.07
    rods = np.linspace(-x, x, d.slats + 2)
    shapes = [
        rod((a, y, d.seat_height), (a, y, top + 0.02), 0.28 * t + 0.002, d.frame) for a in rods
    ]
    shapes.append(box((-d.back_half, y - t / 2, top), (d.back_half, y + t / 2, d.height), d.board))
    return shapes


def _panel_back(d: ChairDesign) -> list[Shape]:
    """Two posts with a board between them."""
    x, y, t = d.back_half - d.thickness, d.back_y, d.thickness
    low = d.seat_top + d.clearance
    board = box((-x, y - 0.8 * t, low), (x, y - 0.2 * t, d.height - 0.01), d.board)
    return [*_posts(d), board]


def _padded_back(d: ChairDesign) -> list[Shape]:
    """A thick upholstered back with a rounded upper edge, standing on the seat."""
    x, y, t = d.back_half, d.back_y, 0.045 + d.thickness / 2
    top = d.height - t / 2
    return [
        box((-x, y - t, d.seat_height), (x, y, top), d.cover),
        rod((-x, y - t / 2, top), (x, y - t / 2, top), t / 2, d.cover),
    ]


def _oval_back(d: ChairDesign) -> list[Shape]:
    """An oval disc on two short posts."""
    y, t = d.back_y - d.thickness / 2, d.thickness
    low = d.seat_top + 0.6 * d.clearance
    middle, half = (low + d.height) / 2, (d.height - low) / 2
    disc = ellipsoid((0, y, middle), (d.back_half, 0.02 + t / 3, half), d.cover)
    x = 0.45 * d.back_half
    posts = [rod((side, y, d.seat_height), (side, y, middle), 0.4 * t, d.frame) for side in (-x, x)]
    return [disc, *posts]


def _rails_back(d: ChairDesign) -> list[Shape]:
    """Two posts with a broad board at the top and a narrow one below it."""
    x, y, t = d.back_half - d.thickness, d.back_y, d.thickness
    broad = min(0.16, 0.45 * (d.height - d.seat_top))
    low = d.height - broad - 0.01
    middle = (d.seat_top + low) / 2
    return [
        *_posts(d),
        box((-x, y - 0.8 * t, low), (x, y - 0.2 * t, d.height - 0.01), d.board),
        box((-x, y - 0.8 * t, middle), (x, y - 0.2 * t, middle + 0.035), d.board),
    ]


def _four_legs(d: ChairDesign) -> list[Shape]:
    x, y = d.leg_half
    shapes, t = legs(x, y, d.seat_height, d.thickness, d.frame), d.thickness
    if d.stretchers:
        z, radius = d.seat_height / 2.15, 11 / 36 * t
        for side in (-y + t / 2, y - t / 2):
            ends = (-x + t / 1.2, side, z), (x - t / 1.2, side, z)
            shapes.append(rod(*ends, radius, d.frame))
    return shapes


def _splayed_legs(d: ChairDesign) -> list[Shape]:
    """Four round legs that spread outwards."""
    x, y = d.leg_half
    shapes, inner, outer = [], 0.66, 0.98
    for sx in (-1, 1):
        for sy in (-1, 1):
            foot = (outer * sx * x, outer * sy * y, 0.004)
            top = (inner * sx * x, inner * sy * y, d.seat_height + 0.3 * d.seat_thickness)
            shapes.append(rod(foot, top, 0.5 * d.thickness, d.frame))
    if d.stretchers:
        middle = (inner + outer) / 2
        for sy in (-1, 1):
            at = (sy * middle * y, d.seat_height / 2)
            ends = (-middle * x, *at), (middle * x, *at)
            shapes.append(rod(*ends, 0.3 * d.thickness, d.frame))
    return shapes


def _column(d: ChairDesign, low: float) -> Shape:
    return cylinder((0, 0, low), 0.7 * d.thickness + 0.008, d.seat_height - low, d.frame)


def _pedestal(d: ChairDesign) -> list[Shape]:
    """A column on a disc."""
    radius = 0.46 * min(d.width, d.depth)
    return [cylinder((0, 0, 0), radius, 0.02, d.frame, top=0.94), _column(d, 0.02)]


def _star(d: ChairDesign) -> list[Shape]:
    """A column on five arms with castors."""
    shapes, reach = [_column(d, 0.07)], 0.27
    for angle in np.arange(5) * 2 * np.pi / 5 + np.pi / 2:
        x, y = reach * np.cos(angle), reach * np.sin(angle)
        shapes.append(rod((0, 0, 0.09), (x, y, 0.055), 0.45 * d.thickness + 0.004, d.frame))
        shapes.append(ellipsoid((x, y, 0.03), (0.03, 0.03, 0.03), CASTOR))
    return shapes


def _sled(d: ChairDesign) -> list[Shape]:
    """A bent tube at each side: two uprights on a runner."""
    shapes, (half_x, half_y), r = [], d.leg_half, 0.42 * d.thickness
    y = half_y - r
    for x in (-half_x + r, half_x - r):
        shapes.append(rod((x, -half_y, r), (x, half_y, r), r, d.frame))
        for side in (-y, y):
            shapes.append(rod((x, side, r), (x, side, d.seat_height + 0.005), r, d.frame))
    return shapes


def _side_boards(d: ChairDesign) -> list[Shape]:
    """Two boards instead of legs."""
    (half_x, half_y), t = d.leg_half, d.thickness
    return [
        box((x - t / 2, -0.96 * half_y, 0), (x + t / 2, 0.96 * half_y, d.seat_height), d.board)
        for x in (-half_x + t / 2, half_x - t / 2)
    ]


def _no_arms(d: ChairDesign) -> list[Shape]:
    return []


def _bar_arms(d: ChairDesign) -> list[Shape]:
    """A bar at each side on an upright, from the back to the front."""
    shapes, z, t = [], d.seat_top + _arm_height(d), d.thickness
    for side in (-1, 1):
        x, front = side * (d.width / 2 - t / 2), -0.6 * d.depth / 2
        bar = box((x - 0.75 * t, front - 0.04, z), (x + 0.75 * t, _arm_end(d, z), z + t), d.frame)
        post = box((x - t / 2, front, d.seat_top), (x + t / 2, front + t, z), d.frame)
        shapes += [bar, post]
    return shapes


def _arm_height(d: ChairDesign) -> float:
    return min(0.22, 0.5 * (d.height - d.seat_top))


def _arm_end(d: ChairDesign, z: float) -> float:
    """Return where an arm at height ``z`` meets the leaning back, along y."""
    return d.back_y - d.thickness / 2 + np.tan(d.recline) * (z - d.seat_height)


def _panel_arms(d: ChairDesign) -> list[Shape]:
    """A closed side from the seat to the arm's height."""
    shapes, z, t = [], d.seat_top + _arm_height(d), d.thickness + 0.012
    for side in (-1, 1):
        x0, x1 = sorted((side * (d.width / 2 - 0.002), side * (d.width / 2 + t)))
        end = _arm_end(d, z)
        shapes.append(box((x0, -0.9 * d.depth / 2, d.seat_height), (x1, end, z), d.cover))
    return shapes


BASES = {
    "legs": _four_legs,
    "splayed": _splayed_legs,
    "pedestal": _pedestal,
    "star": _star,
    "sled": _sled,
    "boards": _side_boards,
}
BASE_WEIGHTS = {"legs": 5, "splayed": 2, "pedestal": 0.7, "star": 1, "sled": 1, "boards": 0.4}
BACKS = {
    "slats": _slats_back,
    "spindles": _spindle_back,
    "panel": _panel_back,
    "padded": _padded_back,
    "oval": _oval_back,
    "rails": _rails_back,
}
BACK_WEIGHTS = {"slats": 3, "spindles": 1.5, "panel": 2, "padded": 2, "oval": 1, "rails": 1.5}
ARMS = {"none": _no_arms, "bars": _bar_arms, "panels": _panel_arms}
ARM_WEIGHTS = {"none": 0.65, "bars": 0.25, "panels": 0.1}

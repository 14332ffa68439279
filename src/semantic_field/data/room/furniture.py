"""Seats, tables and storage, assembled from solids.

Every function returns the solids of one piece in its own frame: origin on the floor in the
middle of its footprint, z up, front towards -y, metres. Sizes and colours are random (``rng``).
"""

from __future__ import annotations

import numpy as np

from semantic_field.data.room.shapes import CONE, Material, Shape, box, cylinder, ellipsoid, rod

Color = tuple[float, float, float]
Random = np.random.Generator

FABRIC_COLORS: tuple[Color, ...] = (
    (0.42, 0.50, 0.60),
    (0.55, 0.42, 0.36),
    (0.36, 0.48, 0.42),
    (0.70, 0.64, 0.55),
    (0.62, 0.36, 0.30),
)
ACCENT_COLORS: tuple[Color, ...] = (
    (0.85, 0.55, 0.20),
    (0.80, 0.30, 0.28),
    (0.25, 0.45, 0.62),
    (0.88, 0.80, 0.62),
)
WOOD_COLORS: tuple[Color, ...] = (
    (0.72, 0.52, 0.34),
    (0.50, 0.33, 0.21),
    (0.86, 0.71, 0.52),
)
STEEL = Material("metal", (0.78, 0.79, 0.80), 0.6)
DARK = Material("plain", (0.16, 0.16, 0.17), 0.5)


def pick(rng: Random, colors: tuple[Color, ...]) -> Color:
    """Return a random colour."""
    return colors[int(rng.integers(len(colors)))]


def wood(color: Color) -> Material:
    """Return wood of that colour."""
    return Material("wood", color, 0.8)


def fabric(color: Color) -> Material:
    """Return fabric of that colour."""
    return Material("fabric", color, 0.35)


def legs(
    half_x: float, half_y: float, height: float, thickness: float, material: Material
) -> list[Shape]:
    """Four square legs whose outer edges lie at +-half_x, +-half_y."""
    inset, t = thickness / 2, thickness / 2
    return [
        box((x - t, y - t, 0), (x + t, y + t, height), material)
        for x in (-half_x + inset, half_x - inset)
        for y in (-half_y + inset, half_y - inset)
    ]


def _roll(x0: float, x1: float, y: float, z: float, radius: float, material: Material) -> Shape:
    """A horizontal cylinder along x: the rounded edge of a cushion."""
    return rod((x0, y, z), (x1, y, z), radius, material)


def sofa(rng: Random, seats: int = 3, color: Color | None = None) -> list[Shape]:
    """A sofa with ``seats`` seat and back cushions, rounded arms and short feet."""
    cloth = fabric(color or pick(rng, FABRIC_COLORS))
    half, arm, depth = 0.32 * seats, 0.14, 0.44
    shapes = legs(half + arm, depth, 0.10, 0.05, wood(WOOD_COLORS[1]))
    shapes.append(box((-half - arm, -depth, 0.10), (half + arm, depth, 0.26), cloth))
    shapes.append(box((-half, depth - 0.18, 0.26), (half, depth, 0.76), cloth))
    shapes.append(_roll(-half, half, depth - 0.095, 0.75, 0.10, cloth))
    for side in (-1, 1):
        x = side * (half + arm / 2)
        shapes.append(box((x - arm / 2, -depth, 0.26), (x + arm / 2, depth, 0.54), cloth))
        shapes.append(rod((x, -depth, 0.54), (x, depth, 0.54), arm / 2 + 0.01, cloth))
    for seat in range(seats):
        x0 = -half + 2 * half * seat / seats + 0.008
        x1 = -half + 2 * half * (seat + 1) / seats - 0.008
        shapes.append(box((x0, -depth - 0.005, 0.26), (x1, depth - 0.18, 0.40), cloth))
        shapes.append(_roll(x0, x1, -depth + 0.055, 0.375, 0.068, cloth))
        shapes.append(box((x0 + 0.01, depth - 0.33, 0.41), (x1 - 0.01, depth - 0.17, 0.74), cloth))
        shapes.append(_roll(x0 + 0.01, x1 - 0.01, depth - 0.25, 0.73, 0.086, cloth))
    return shapes


def armchair(rng: Random) -> list[Shape]:
    return sofa(rng, seats=1, color=pick(rng, ACCENT_COLORS))


def cushion(rng: Random) -> list[Shape]:
    """A throw pillow that leans against a back behind it."""
    material = Material("check" if rng.random() < 0.6 else "fabric", pick(rng, ACCENT_COLORS), 0.3)
    c, s = np.cos(-0.28), np.sin(-0.28)
    lean = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    return [box((-0.2, -0.055, 0.0), (0.2, 0.055, 0.36), material).moved(lean, (0, 0, 0))]


def chair(rng: Random, color: Color) -> list[Shape]:
    """A dining chair: four legs, a padded seat and a back of three slats."""
    frame, half, top = wood(color), 0.21, 0.90
    shapes = legs(half, half, 0.43, 0.036, frame)
    shapes.append(box((-half, -half, 0.43), (half, half, 0.455), frame))
    pad = Material("fabric", (0.75, 0.70, 0.60), 0.3)
    shapes.append(box((-half + 0.01, -half + 0.005, 0.455), (half - 0.01, half - 0.05, 0.485), pad))
    for x in (-half + 0.018, half - 0.018):
        shapes.append(box((x - 0.018, half - 0.036, 0.455), (x + 0.018, half, top), frame))
    for z in (0.56, 0.68, 0.80):
        slat = ((-half + 0.036, half - 0.03, z), (half - 0.036, half - 0.008, z + 0.075))
        shapes.append(box(*slat, frame))
    for y in (-half + 0.018, half - 0.018):
        shapes.append(rod((-half + 0.03, y, 0.2), (half - 0.03, y, 0.2), 0.011, frame))
    return shapes


def dining_table(rng: Random, color: Color, length: float = 1.5) -> list[Shape]:
    """A table 0.75 m high, ``length`` along x, with legs and an apron."""
    material, half_x, half_y = wood(color), length / 2, 0.42
    shapes = legs(half_x - 0.03, half_y - 0.03, 0.71, 0.065, material)
    shapes.append(box((-half_x, -half_y, 0.71), (half_x, half_y, 0.75), material))
    for y in (-half_y + 0.06, half_y - 0.06):
        shapes.append(
            box((-half_x + 0.09, y - 0.01, 0.62), (half_x - 0.09, y + 0.01, 0.71), material)
        )
    for x in (-half_x + 0.06, half_x - 0.06):
        shapes.append(
            box((x - 0.01, -half_y + 0.09, 0.62), (x + 0.01, half_y - 0.09, 0.71), material)
        )
    return shapes


def coffee_table(rng: Random, color: Color) -> list[Shape]:
    """A low table with a shelf under its top."""
    material, half_x, half_y = wood(color), 0.5, 0.29
    return [
        *legs(half_x - 0.02, half_y - 0.02, 0.40, 0.05, material),
        box((-half_x, -half_y, 0.40), (half_x, half_y, 0.435), material),
        box((-half_x + 0.05, -half_y + 0.04, 0.13), (half_x - 0.05, half_y - 0.04, 0.15), material),
    ]


def bookshelf(rng: Random, color: Color) -> list[Shape]:
    """A shelf wall of five boards, 0.95 m wide, 2 m high, open to the front."""
    material, half, depth, top = wood(color), 0.475, 0.15, 2.0
    shapes = [box((-half, depth - 0.012, 0.0), (half, depth, top), material)]
    for x in (-half, half - 0.025):
        shapes.append(box((x, -depth, 0), (x + 0.025, depth, top), material))
    for z in shelf_heights():
        shapes.append(
            box((-half + 0.025, -depth, z - 0.025), (half - 0.025, depth - 0.012, z), material)
        )
    shapes.append(box((-half, -depth, top - 0.025), (half, depth, top), material))
    return shapes


def shelf_heights() -> tuple[float, ...]:
    """Return the heights of the boards of ``bookshelf``, metres."""
    return (0.08, 0.46, 0.84, 1.22, 1.60)


BOOK_COLORS: tuple[Color, ...] = (
    (0.55, 0.16, 0.15),
    (0.16, 0.27, 0.45),
    (0.20, 0.38, 0.27),
    (0.72, 0.55, 0.22),
    (0.35, 0.22, 0.32),
    (0.78, 0.74, 0.64),
    (0.25, 0.25, 0.27),
    (0.70, 0.35, 0.20),
)


def books(rng: Random, width: float, height: float = 0.33) -> list[Shape]:
    """A row of books, spines to the front, centred, filling most of ``width``; the last leans."""
    shapes, x, end = [], -width / 2, width / 2 - rng.uniform(0.02, 0.22) * width
    while True:
        thick, tall = rng.uniform(0.018, 0.05), rng.uniform(0.62, 0.93) * height
        if x + thick > end:
            break
        spine = Material(f"spine{rng.integers(3)}", pick(rng, BOOK_COLORS), fit=True)
        deep = rng.uniform(0.15, 0.2)
        shapes.append(box((x, -0.1, 0), (x + thick - 0.001, -0.1 + deep, tall), spine))
        x += thick
    leaning = box((0, -0.1, 0), (0.03, 0.07, 0.7 * height), shapes[-1].material)
    c, s = np.cos(-0.3), np.sin(-0.3)
    tilt = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    if width / 2 - x > 0.12:
        shapes.append(leaning.moved(tilt, (x + 0.085 - 0.07, 0, 0.009)))
    return shapes


def book_pile(rng: Random) -> list[Shape]:
    """Three books lying on each other."""
    shapes, z = [], 0.0
    for _ in range(3):
        half_x, half_y, thick = rng.uniform(0.09, 0.13), rng.uniform(0.07, 0.09), 0.028
        cover = Material("plain", pick(rng, BOOK_COLORS), 0.3)
        shapes.append(box((-half_x, -half_y, z), (half_x, half_y, z + thick), cover))
        z += thick
    return shapes


def tv_stand(rng: Random, color: Color) -> list[Shape]:
    """A low cabinet with three doors on feet."""
    half, depth, top = 0.75, 0.21, 0.5
    body, front = wood(color), Material("cabinet", color, fit=True)
    shapes = [*legs(half - 0.05, depth - 0.04, 0.1, 0.05, DARK)]
    shapes.append(box((-half, -depth, 0.1), (half, depth, top), body))
    for i in range(3):
        x0 = -half + 0.02 + i * (2 * half - 0.04) / 3
        x1 = x0 + (2 * half - 0.04) / 3 - 0.012
        shapes.append(box((x0, -depth - 0.018, 0.125), (x1, -depth, top - 0.025), front))
        shapes.append(
            rod((x1 - 0.05, -depth - 0.03, 0.28), (x1 - 0.05, -depth - 0.03, 0.36), 0.006, STEEL)
        )
    return shapes


def tv(rng: Random) -> list[Shape]:
    """A flat television, 1.1 m wide, on its foot."""
    screen = Material("screen", (1.0, 1.0, 1.0), fit=True)
    return [
        box((-0.25, -0.1, 0), (0.25, 0.1, 0.015), DARK),
        box((-0.04, -0.01, 0.015), (0.04, 0.03, 0.12), DARK),
        box((-0.56, -0.02, 0.08), (0.56, 0.03, 0.74), DARK),
        box((-0.545, -0.022, 0.10), (0.545, -0.02, 0.725), screen),
    ]


def floor_lamp(rng: Random) -> list[Shape]:
    """A standing lamp with a lit cone-shaped shade."""
    shade = Material("fabric", (1.0, 0.88, 0.66), 0.3, emission=0.75)
    return [
        cylinder((0, 0, 0), 0.15, 0.025, DARK),
        cylinder((0, 0, 0.025), 0.013, 1.35, STEEL),
        cylinder((0, 0, 1.34), 0.21, 0.30, shade, top=0.62),
    ]


def plant(rng: Random) -> list[Shape]:
    """A potted plant with broad leaves on bent stems."""
    pot = Material("plain", (0.74, 0.42, 0.30), 0.4)
    soil = Material("stone", (0.25, 0.18, 0.13), 0.2)
    shapes = [
        Shape(CONE, np.array([0, 0, 0.16]), np.array([0.12, 0.12, 0.16]), pot, top=1.4),
        cylinder((0, 0, 0.315), 0.155, 0.012, soil),
    ]
    for i in range(16):
        angle = i * 2.4 + rng.uniform(-0.3, 0.3)
        reach, height = rng.uniform(0.10, 0.30), 0.55 + 0.045 * i + rng.uniform(-0.05, 0.05)
        tip = np.array([reach * np.cos(angle), reach * np.sin(angle), height])
        green = (0.20 + rng.uniform(0, 0.12), 0.45 + rng.uniform(0, 0.15), 0.20)
        stem = Material("plain", (0.28, 0.42, 0.20), 0.4)
        shapes.append(rod((0.02 * np.cos(angle), 0.02 * np.sin(angle), 0.3), tip, 0.006, stem))
        out = np.array([np.cos(angle), np.sin(angle), rng.uniform(-0.5, 0.35)])
        out /= np.linalg.norm(out)
        side = np.cross([0, 0, 1.0], out)
        side /= np.linalg.norm(side)
        rotation = np.stack([out, side, np.cross(out, side)], axis=1)
        leaf = Material("leaf", green, 0.3, fit=True)
        shapes.append(ellipsoid(tip + 0.08 * out, (0.13, 0.065, 0.010), leaf, rotation))
    return shapes

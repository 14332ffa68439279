"""Kitchen furniture, tableware, and things on walls and ceilings; frames as in ``furniture``."""

from __future__ import annotations

import numpy as np

from semantic_field.data.room.furniture import (
    ACCENT_COLORS,
    DARK,
    STEEL,
    Color,
    Random,
    pick,
)
from semantic_field.data.room.shapes import Material, Shape, box, cylinder, ellipsoid, rod

WHITE: Color = (0.93, 0.92, 0.90)
GLAZE = Material("plain", WHITE, 0.4)


def refrigerator(rng: Random) -> list[Shape]:
    """A fridge with a freezer below and two upright handles, 1.8 m high."""
    body = Material("metal", (0.74, 0.76, 0.78), 1.2)
    shapes = [box((-0.3, -0.27, 0.04), (0.3, 0.3, 1.8), body), *_plinth(0.28, 0.25)]
    for low, high, handle in ((0.06, 0.66, 0.42), (0.675, 1.79, 0.95)):
        shapes.append(box((-0.3, -0.325, low), (0.3, -0.275, high), body))
        shapes.append(rod((-0.24, -0.36, handle), (-0.24, -0.36, handle + 0.2), 0.012, STEEL))
    return shapes


def _plinth(half_x: float, half_y: float) -> list[Shape]:
    return [box((-half_x, -half_y, 0), (half_x, half_y, 0.06), DARK)]


def counter(rng: Random, length: float, color: Color) -> list[Shape]:
    """Base cabinets with doors under a stone top, a basin and a hob, ``length`` along x."""
    half = length / 2
    body, front = Material("plain", color, 0.6), Material("cabinet", color, fit=True)
    stone = Material("stone", (0.42, 0.41, 0.40), 0.5)
    shapes = [box((-half, -0.25, 0.08), (half, 0.3, 0.86), body)]
    shapes.append(box((-half, -0.2, 0), (half, 0.28, 0.08), DARK))
    shapes.append(box((-half, -0.3, 0.86), (half, 0.3, 0.90), stone))
    n = max(2, round(length / 0.55))
    for i in range(n):
        x0, x1 = -half + length * i / n + 0.006, -half + length * (i + 1) / n - 0.006
        shapes.append(box((x0, -0.27, 0.09), (x1, -0.25, 0.66), front))
        shapes.append(box((x0, -0.27, 0.675), (x1, -0.25, 0.845), front))
        middle = (x0 + x1) / 2
        for z in (0.62, 0.76):
            shapes.append(rod((middle - 0.06, -0.285, z), (middle + 0.06, -0.285, z), 0.007, STEEL))
    return [*shapes, *_sink(-half * 0.45), *_hob(half * 0.5)]


def _sink(x: float) -> list[Shape]:
    basin = Material("metal", (0.42, 0.43, 0.44), 0.5)
    return [
        box((x - 0.25, -0.2, 0.895), (x + 0.25, 0.2, 0.904), STEEL),
        box((x - 0.22, -0.17, 0.9), (x + 0.22, 0.17, 0.906), basin),
        rod((x, 0.24, 0.9), (x, 0.24, 1.14), 0.014, STEEL),
        rod((x, 0.245, 1.14), (x, 0.08, 1.12), 0.011, STEEL),
    ]


def _hob(x: float) -> list[Shape]:
    glass, ring = Material("plain", (0.09, 0.09, 0.1), 0.4), Material("plain", (0.28, 0.26, 0.26))
    plates = [
        cylinder((x + dx, dy, 0.903), radius, 0.004, ring)
        for dx, dy, radius in (
            (-0.14, -0.1, 0.08),
            (0.14, -0.1, 0.1),
            (-0.14, 0.12, 0.1),
            (0.14, 0.12, 0.07),
        )
    ]
    return [box((x - 0.29, -0.24, 0.9), (x + 0.29, 0.24, 0.905), glass), *plates]


def wall_cabinet(rng: Random, length: float, color: Color) -> list[Shape]:
    """Cabinets to hang above the counter; the origin is in the middle of their lower side."""
    half, n = length / 2, max(2, round(length / 0.5))
    body, front = Material("plain", color, 0.6), Material("cabinet", color, fit=True)
    shapes = [box((-half, -0.16, 0), (half, 0.17, 0.62), body)]
    for i in range(n):
        x0, x1 = -half + length * i / n + 0.005, -half + length * (i + 1) / n - 0.005
        shapes.append(box((x0, -0.18, 0.005), (x1, -0.16, 0.615), front))
        x = x1 - 0.05 if i % 2 == 0 else x0 + 0.05
        shapes.append(rod((x, -0.195, 0.05), (x, -0.195, 0.16), 0.006, STEEL))
    return shapes


def microwave(rng: Random) -> list[Shape]:
    return [
        box((-0.24, -0.17, 0.01), (0.24, 0.18, 0.28), STEEL),
        box((-0.23, -0.185, 0.02), (0.12, -0.17, 0.27), Material("screen", fit=True)),
        box((0.13, -0.18, 0.02), (0.23, -0.17, 0.27), DARK),
        rod((0.1, -0.2, 0.05), (0.1, -0.2, 0.24), 0.008, STEEL),
    ]


def trash_bin(rng: Random) -> list[Shape]:
    return [
        cylinder((0, 0, 0), 0.125, 0.42, Material("plain", (0.33, 0.36, 0.39), 0.4), top=1.15),
        cylinder((0, 0, 0.42), 0.148, 0.03, DARK),
        ellipsoid((0, 0, 0.45), (0.13, 0.13, 0.045), DARK),
    ]


def mug(rng: Random) -> list[Shape]:
    """A red, blue or yellow mug with coffee in it."""
    glaze = Material("plain", pick(rng, ((0.78, 0.16, 0.14), (0.17, 0.33, 0.6), (0.9, 0.7, 0.2))))
    coffee = Material("plain", (0.18, 0.11, 0.07))
    return [
        cylinder((0, 0, 0), 0.042, 0.10, glaze),
        cylinder((0, 0, 0.1), 0.036, 0.0015, coffee),
        box((0.04, -0.006, 0.075), (0.072, 0.006, 0.087), glaze),
        box((0.04, -0.006, 0.018), (0.072, 0.006, 0.03), glaze),
        box((0.062, -0.006, 0.02), (0.074, 0.006, 0.085), glaze),
    ]


def bowl(rng: Random) -> list[Shape]:
    """A bowl of fruit."""
    glaze = Material("plain", (0.30, 0.50, 0.55))
    fruit = (
        (0.85, 0.25, 0.15, 0.0, 0.045),
        (0.95, 0.6, 0.1, -0.06, -0.02),
        (0.6, 0.7, 0.2, 0.06, -0.03),
    )
    shapes = [cylinder((0, 0, 0), 0.06, 0.075, glaze, top=2.1)]
    for r, g, b, x, y in fruit:
        shapes.append(ellipsoid((x, y, 0.09), (0.042, 0.042, 0.04), Material(color=(r, g, b))))
    return shapes


def vase(rng: Random) -> list[Shape]:
    glaze = Material("plain", pick(rng, ACCENT_COLORS))
    return [
        ellipsoid((0, 0, 0.09), (0.075, 0.075, 0.09), glaze),
        cylinder((0, 0, 0.15), 0.04, 0.10, glaze, top=1.3),
    ]


def picture(rng: Random, width: float, height: float) -> list[Shape]:
    """A framed picture; the origin is in its middle, its back at y = 0."""
    frame = Material("wood", (0.35, 0.24, 0.16), 0.5)
    canvas = Material(f"painting{rng.integers(2)}", (1.0, 1.0, 1.0), fit=True)
    x, z, bar = width / 2, height / 2, 0.025
    return [
        box((-x + bar, -0.015, -z + bar), (x - bar, 0, z - bar), canvas),
        *_border(x, z, bar, -0.03, 0.0, frame),
    ]


def _border(
    x: float, z: float, bar: float, y0: float, y1: float, material: Material
) -> list[Shape]:
    """Four bars around an opening, outer edges at +-x, +-z."""
    return [
        box((-x, y0, -z), (-x + bar, y1, z), material),
        box((x - bar, y0, -z), (x, y1, z), material),
        box((-x + bar, y0, -z), (x - bar, y1, -z + bar), material),
        box((-x + bar, y0, z - bar), (x - bar, y1, z), material),
    ]


def window(rng: Random, width: float, height: float) -> list[Shape]:
    """A window with two wings, a sill and the garden behind it; the origin is in its middle."""
    pane = Material("garden", (1.0, 1.0, 1.0), fit=True, emission=1.5)
    x, z = width / 2, height / 2
    return [
        box((-x + 0.05, -0.012, -z + 0.05), (x - 0.05, 0, z - 0.05), pane),
        *_border(x, z, 0.06, -0.05, 0.0, GLAZE),
        box((-0.035, -0.045, -z + 0.06), (0.035, 0, z - 0.06), GLAZE),
        box((-x - 0.04, -0.13, -z - 0.03), (x + 0.04, 0, -z), GLAZE),
    ]


def curtain(rng: Random, width: float, height: float, color: Color) -> list[Shape]:
    """A gathered curtain: folds side by side; hangs from z = height down to 0."""
    cloth, n = Material("fabric", color, 0.4), max(4, round(width / 0.075))
    folds = []
    for i in range(n):
        x = -width / 2 + width * (i + 0.5) / n
        y = -0.09 + (0.016 if i % 2 else -0.012)
        folds.append(cylinder((x, y, 0), 0.6 * width / n, height, cloth))
    return folds


def door(rng: Random) -> list[Shape]:
    """A door with panels, a frame and a handle, 0.85 x 2.05 m; the origin is on the floor."""
    leaf, frame = Material("door", (0.90, 0.87, 0.82), fit=True), Material("plain", WHITE)
    return [
        box((-0.425, -0.03, 0.005), (0.425, 0, 2.05), leaf),
        box((-0.50, -0.045, 0), (-0.425, 0, 2.125), frame),
        box((0.425, -0.045, 0), (0.50, 0, 2.125), frame),
        box((-0.425, -0.045, 2.05), (0.425, 0, 2.125), frame),
        rod((0.36, -0.03, 1.03), (0.36, -0.075, 1.03), 0.011, STEEL),
        rod((0.365, -0.075, 1.03), (0.25, -0.075, 1.03), 0.010, STEEL),
    ]


def clock(rng: Random) -> list[Shape]:
    """A round wall clock, 0.34 m across; the origin is in its middle."""
    face = Material("clock", (1.0, 1.0, 1.0), fit=True)
    return [rod((0, 0, 0), (0, -0.035, 0), 0.17, face)]


def pendant_lamp(rng: Random, drop: float) -> list[Shape]:
    """A lamp that hangs ``drop`` metres below the ceiling, which is at z = 0."""
    shade = Material("plain", (1.0, 0.93, 0.78), emission=1.0)
    metal = Material("plain", pick(rng, ((0.2, 0.22, 0.24), (0.62, 0.3, 0.22), (0.8, 0.78, 0.7))))
    return [
        rod((0, 0, -drop + 0.2), (0, 0, 0), 0.006, DARK),
        cylinder((0, 0, -drop + 0.02), 0.20, 0.20, metal, top=0.25),
        ellipsoid((0, 0, -drop + 0.03), (0.14, 0.14, 0.05), shade),
    ]


def ceiling_lamp(rng: Random) -> list[Shape]:
    """A flat round lamp under the ceiling, which is at z = 0."""
    shade = Material("plain", (1.0, 0.97, 0.9), emission=1.4)
    return [cylinder((0, 0, -0.07), 0.24, 0.07, shade)]


def rug(rng: Random, width: float, depth: float) -> list[Shape]:
    tint = 1.0 - 0.15 * rng.random(3)
    material = Material("rug", tuple(np.asarray(tint).tolist()), fit=True)
    return [box((-width / 2, -depth / 2, 0), (width / 2, depth / 2, 0.012), material)]

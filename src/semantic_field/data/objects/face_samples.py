"""Points spread evenly over the faces of boxes, truncated cones and ellipsoids."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semantic_field.data.room.shapes import BOX, CONE, ELLIPSOID

Random = np.random.Generator
Array = NDArray[np.float64]


def face_areas(shapes: Array, kinds: NDArray[np.int64]) -> tuple[Array, NDArray[np.int64]]:
    """Return the areas (F,) of all faces, square metres, and the solid and face number (F, 2).

    Args:
        shapes, kinds: tables of the solids, as in ``ray_caster``; faces are numbered as there.
    """
    areas, faces = [], []
    for i, (row, kind) in enumerate(zip(shapes, kinds)):
        own = _solid_areas(int(kind), row[3:6], row[15])
        areas += own
        faces += [(i, face) for face in range(len(own))]
    return np.array(areas), np.array(faces, np.int64)


def _solid_areas(kind: int, half: Array, top: float) -> list[float]:
    hx, hy, hz = (float(value) for value in half)
    if kind == BOX:
        return [4 * hy * hz] * 2 + [4 * hx * hz] * 2 + [4 * hx * hy] * 2
    if kind == CONE:
        slant = np.hypot(2 * hz, hx * (1 - top))
        return [np.pi * hx * (1 + top) * slant, np.pi * hx**2, np.pi * (hx * top) ** 2]
    # The mean stretch of the unit sphere's surface, over directions spread evenly (a lattice).
    k = np.arange(400) + 0.5
    z, angle = 1 - 2 * k / 400, k * np.pi * (3 - np.sqrt(5))
    ring = np.sqrt(1 - z * z)
    unit = np.stack([ring * np.cos(angle), ring * np.sin(angle), z], axis=1)
    return [4 * np.pi * float(_stretch(unit, half[None]).mean())]


def _stretch(unit: Array, half: Array) -> Array:
    """Return by how much an ellipsoid's surface is larger than the unit sphere's there, (N,)."""
    return np.prod(half, axis=1) * np.linalg.norm(unit / half, axis=1)


def points_on_faces(
    kinds: NDArray[np.int64], faces: NDArray[np.int64], halves: Array, tops: Array, rng: Random
) -> Array:
    """Return one random point (N, 3) on each face, in its solid's own frame.

    Args:
        kinds, faces: (N,) kind of the solid and number of the face.
        halves, tops: (N, 3) and (N,) of the solids.
    """
    points = np.empty((len(kinds), 3))
    for kind, draw in ((BOX, _on_boxes), (CONE, _on_cones), (ELLIPSOID, _on_ellipsoids)):
        chosen = kinds == kind
        points[chosen] = draw(faces[chosen], halves[chosen], tops[chosen], rng)
    return points


def _on_boxes(faces: NDArray[np.int64], halves: Array, tops: Array, rng: Random) -> Array:
    points = rng.uniform(-1, 1, (len(faces), 3))
    points[np.arange(len(faces)), faces // 2] = np.where(faces % 2 == 1, 1.0, -1.0)
    return points * halves


def _on_cones(faces: NDArray[np.int64], halves: Array, tops: Array, rng: Random) -> Array:
    """Side (face 0): the share of area below a height grows with the square of the radius."""
    u, angle = rng.random(len(faces)), rng.uniform(-np.pi, np.pi, len(faces))
    side, upper = faces == 0, faces == 2
    ratio = np.sqrt(1 + u * (tops**2 - 1))  # radius over the lower one
    taper = np.where(np.abs(tops - 1) < 1e-6, 1.0, tops - 1)
    along = np.where(np.abs(tops - 1) < 1e-6, u, (ratio - 1) / taper)
    rim = np.where(upper, tops, 1.0) * np.sqrt(u)
    radius = halves[:, 0] * np.where(side, 1 + along * (tops - 1), rim)
    height = np.where(side, 2 * along - 1, np.where(upper, 1.0, -1.0)) * halves[:, 2]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=1)


def _on_ellipsoids(faces: NDArray[np.int64], halves: Array, tops: Array, rng: Random) -> Array:
    """Directions at random on the unit sphere, kept in proportion to the surface's stretch."""
    points, left = np.empty_like(halves), np.arange(len(faces))
    while len(left):
        unit = rng.standard_normal((len(left), 3))
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        half = halves[left]
        most = np.prod(half, axis=1) / half.min(axis=1)
        kept = rng.random(len(left)) * most < _stretch(unit, half)
        points[left[kept]] = unit[kept] * half[kept]
        left = left[~kept]
    return points

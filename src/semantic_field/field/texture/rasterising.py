"""Texels of charts: the surface point and the normal that each of them shows."""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

import numpy as np
from numba import njit

GUTTER = 2  # texels around a chart that continue its surface, so that interpolation finds them
_jit = njit(nogil=True, cache=True, error_model="numpy")


@_jit
def texels_of(charts, corners, faces, first, normals_at, points_at, place, box, page_width):
    """Return the texels of some charts.

    Args:
        charts: int64 (n,), the charts.
        corners: float32 (M, 3, 2), column and row of each face's corners in its chart, texels,
            without the gutter; texel (i, j) has its centre at (i + 0.5, j + 0.5).
        faces, first: faces by chart; those of chart c are ``faces[first[c] : first[c + 1]]``.
        normals_at, points_at: float32 (M, 3, 3), normals and points at the corners.
        place, box: int32 (C, 2), column and row of a chart on its page, and its size, both with
            the gutter.
        page_width: pixels.
    Returns:
        numbers of the pixels on the page int64 (T,), points (T, 3) and normals (T, 3).
    """
    room = 0
    for c in charts:
        room += box[c, 0] * box[c, 1]
    pixels = np.empty(room, np.int64)
    points, normals = np.empty((room, 3), np.float32), np.empty((room, 3), np.float32)
    count = 0
    for c in charts:
        width, height = box[c]
        owner, inside = _owners(corners, faces[first[c] : first[c + 1]], width, height)
        for row in range(height):
            for column in range(width):
                if inside[row, column] >= -GUTTER:
                    face = owner[row, column]
                    x, y = _centre(column, row)
                    _interpolate(
                        corners[face], points_at[face], normals_at[face], x, y,
                        points[count], normals[count],
                    )  # fmt: skip
                    pixels[count] = (place[c, 1] + row) * page_width + place[c, 0] + column
                    count += 1
    return pixels[:count], points[:count], normals[:count]


@_jit
def _centre(column, row):
    return column + np.float32(0.5 - GUTTER), row + np.float32(0.5 - GUTTER)


@_jit
def _owners(corners, faces, width, height):
    """The face into which each texel falls deepest, and how deep; negative outside, texels."""
    owner = np.full((height, width), -1, np.int64)
    deepest = np.full((height, width), -np.inf, np.float32)
    for face in faces:
        t = corners[face]
        left, right = int(t[:, 0].min()), int(t[:, 0].max()) + 2 * GUTTER + 1
        top, bottom = int(t[:, 1].min()), int(t[:, 1].max()) + 2 * GUTTER + 1
        for row in range(max(top, 0), min(bottom + 1, height)):
            for column in range(max(left, 0), min(right + 1, width)):
                x, y = _centre(column, row)
                depth = _depth(t, x, y)
                if depth > deepest[row, column]:
                    deepest[row, column], owner[row, column] = depth, face
    return owner, deepest


@_jit
def _depth(t, x, y):
    """Distance of a point from the nearest edge's line, positive inside."""
    turn = (t[1, 0] - t[0, 0]) * (t[2, 1] - t[0, 1]) - (t[1, 1] - t[0, 1]) * (t[2, 0] - t[0, 0])
    sign = np.float32(1) if turn > 0 else np.float32(-1)
    least = np.float32(np.inf)
    for side in range(3):
        a, b = t[side], t[(side + 1) % 3]
        dx, dy = b[0] - a[0], b[1] - a[1]
        across = dx * (y - a[1]) - dy * (x - a[0])
        least = min(least, sign * across / max(np.sqrt(dx * dx + dy * dy), np.float32(1e-9)))
    return least


@_jit
def _interpolate(t, points, normals, x, y, point, normal):
    """Fill the point on a face's plane at (x, y), and the normal at the nearest place inside."""
    turn = (t[1, 0] - t[0, 0]) * (t[2, 1] - t[0, 1]) - (t[1, 1] - t[0, 1]) * (t[2, 0] - t[0, 0])
    if abs(turn) < np.float32(1e-9):
        point[:], normal[:] = points[0], normals[0]
        return
    b = ((x - t[0, 0]) * (t[2, 1] - t[0, 1]) - (y - t[0, 1]) * (t[2, 0] - t[0, 0])) / turn
    c = ((t[1, 0] - t[0, 0]) * (y - t[0, 1]) - (t[1, 1] - t[0, 1]) * (x - t[0, 0])) / turn
    a = np.float32(1) - b - c
    point[:] = a * points[0] + b * points[1] + c * points[2]
    zero = np.float32(0)
    normal[:] = max(a, zero) * normals[0] + max(b, zero) * normals[1] + max(c, zero) * normals[2]
    length = np.sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2)
    normal /= max(length, np.float32(1e-9))

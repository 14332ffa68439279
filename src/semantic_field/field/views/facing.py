"""What keyframes say about points of a surface that are looked at along their normals.

A surface has no viewing direction. The target direction of a point is its normal, so that weights,
and with them colours, change continuously over a surface: neighbours never disagree at a seam.
"""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

import numpy as np
from numba import njit

from semantic_field.field.views.asking import (
    COLOR,
    COSINE,
    FAR,
    HALF,
    LABEL,
    ONE,
    PER_BORDER,
    PER_COSINE,
    TINY,
    ZERO,
    U,
    V,
    asked,
)
from semantic_field.field.views.seeing import NEAREST_M, projected, reading, tolerance

FACING_SINE2 = np.float32(0.1)  # sin^2 of the angle to the normal at which weights are halved
COARSER = 4  # the map's depth is rendered at this fraction of a keyframe's resolution
HIDDEN = np.float32(3)  # tolerances by which the map's surface hides what is behind it
EDGE = np.float32(0.05)  # weight of colours beside something nearer, which are mixed with its own
_jit = njit(nogil=True, cache=True, error_model="numpy")


@_jit
def facing(points, normals, detail_m, lenses, k, found):
    """Fill ``found`` (6, N) as ``asking.look`` does, for N points seen along their normals.

    Args:
        points, normals: float32 (N, 3), in the frame of the lenses.
        detail_m: size of the details that shall be shown, metres; keyframes that show no more
            than this weigh less.
    """
    position = lenses.position[k]
    last_u, last_v, trust = lenses.last[k, 0], lenses.last[k, 1], lenses.trust[k]
    scale, nearest = lenses.focal[k] * detail_m, np.float32(NEAREST_M)
    per_pixel = PER_BORDER / (last_u + ONE)
    for j in range(len(points)):
        x, y, z = points[j, 0], points[j, 1], points[j, 2]
        u, v, far = projected(lenses.matrix, k, x, y, z)
        ax, ay, az = x - position[0], y - position[1], z - position[2]
        apart = ax * ax + ay * ay + az * az + TINY
        cosine = -(normals[j, 0] * ax + normals[j, 1] * ay + normals[j, 2] * az) / np.sqrt(apart)
        sine2 = max(ONE - cosine * cosine, ZERO)
        border = min(min(u, v), min(last_u - u, last_v - v)) + HALF
        inside = min(max(border * per_pixel, ZERO), ONE)
        detail = min(scale / max(far, nearest), ONE)
        weight = trust * inside * detail * min(cosine * PER_COSINE, ONE)
        weight *= FACING_SINE2 / (FACING_SINE2 + sine2)
        weight = weight if cosine > ZERO and far > nearest else ZERO
        found[U, j], found[V, j], found[FAR, j] = u, v, far
        found[COLOR, j], found[LABEL, j], found[COSINE, j] = weight * detail, weight, cosine


@_jit
def ask_facing(points, normals, detail_m, lenses, images, hiding, found, shown, votes, past, off):
    """Ask K keyframes about N points; the results are those of ``asking.ask_all``.

    Args:
        hiding: float32 (K, h, w), the map's z-depth, ``COARSER`` than the keyframe, 0 = nothing;
            it decides whether a point is hidden where a keyframe has no depth reading.
    """
    _, depths, labels = images
    for k in range(len(lenses.width)):
        if _beside(points, lenses, k):
            shown[k], votes[k], past[k], off[k] = ZERO, ZERO, ZERO, ZERO
            continue
        facing(points, normals, detail_m, lenses, k, found[k])
        for j in range(len(points)):
            color, label, through, apart = asked(found, k, j, depths, labels, lenses.width, ZERO)
            if label > ZERO and apart == ZERO and _hidden(found, k, j, hiding):
                color, label = ZERO, ZERO
            if color > ZERO and _at_edge(found, k, j, depths, labels, lenses):
                color *= EDGE
            shown[k, j], votes[k, j], past[k, j], off[k, j] = color, label, through, apart


@_jit
def _beside(points, lenses, k):
    """Whether the sphere around N points lies outside the view of keyframe k."""
    low, high = points[0].copy(), points[0].copy()
    for j in range(len(points)):
        for axis in range(3):
            low[axis] = min(low[axis], points[j, axis])
            high[axis] = max(high[axis], points[j, axis])
    centre, radius = (low + high) * HALF, np.sqrt(((high - low) ** 2).sum()) * HALF
    m = lenses.matrix[k]
    far = m[2, 0] * centre[0] + m[2, 1] * centre[1] + m[2, 2] * centre[2] + m[2, 3]
    if far < -radius:
        return True
    for row in range(2):
        # The border u = 0 is the plane m[row] p = 0, and u = last is (m[row] - last m[2]) p = 0.
        for side in range(2):
            last = lenses.last[k, row] * np.float32(side)
            a, b, c = (
                m[row, 0] - last * m[2, 0],
                m[row, 1] - last * m[2, 1],
                m[row, 2] - last * m[2, 2],
            )
            off = a * centre[0] + b * centre[1] + c * centre[2] + m[row, 3] - last * m[2, 3]
            outwards = off if side else -off
            if outwards > radius * np.sqrt(a * a + b * b + c * c):
                return True
    return False


@_jit
def _hidden(found, k, j, hiding):
    """Whether the map's own surface is clearly nearer to keyframe k than point j."""
    row, column = int(found[k, V, j] + HALF) // COARSER, int(found[k, U, j] + HALF) // COARSER
    surface = hiding[k, min(row, hiding.shape[1] - 1), min(column, hiding.shape[2] - 1)]
    far = found[k, FAR, j]
    return surface > ZERO and far - surface > HIDDEN * tolerance(far, found[k, COSINE, j])


@_jit
def _at_edge(found, k, j, depths, labels, lenses):
    """Whether a pixel beside point j in keyframe k shows something clearly nearer."""
    far, width = found[k, FAR, j], lenses.width[k]
    nearest = far - HIDDEN * tolerance(far, found[k, COSINE, j])
    left, top = max(int(found[k, U, j]), 0), max(int(found[k, V, j]), 0)
    right = min(left + 1, int(lenses.last[k, 0]))
    bottom = min(top + 1, int(lenses.last[k, 1]))
    for row in (top, bottom):
        for column in (left, right):
            read = reading(depths, labels, k, row * width + column)
            if read > ZERO and read < nearest:
                return True
    return False

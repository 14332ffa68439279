"""Exact distances of points to boxes, truncated cones and ellipsoids, compiled."""

# Numba's decorators have no stubs.
# pyright: basic, reportCallIssue=false
from __future__ import annotations

import math

import numpy as np
from numba import njit

from semantic_field.data.room.ray_caster import local_point
from semantic_field.data.room.shapes import BOX, CONE

NEWTON_STEPS = 40
_jit = njit(cache=True, nogil=True)


@_jit
def box_distance(hx, hy, hz, p):
    """Return the signed distance of a point to a box of half extents, negative inside."""
    x, y, z = abs(p[0]) - hx, abs(p[1]) - hy, abs(p[2]) - hz
    outside = math.sqrt(max(x, 0.0) ** 2 + max(y, 0.0) ** 2 + max(z, 0.0) ** 2)
    return outside + min(max(x, max(y, z)), 0.0)


@_jit
def _segment_square(ax, ay, bx, by, x, y):
    """Return the squared distance of a point in the plane to a segment."""
    dx, dy = bx - ax, by - ay
    length = dx * dx + dy * dy
    t = ((x - ax) * dx + (y - ay) * dy) / length if length > 0.0 else 0.0
    t = min(max(t, 0.0), 1.0)
    return (ax + t * dx - x) ** 2 + (ay + t * dy - y) ** 2


@_jit
def cone_distance(radius, half, top, p):
    """Return the signed distance of a point to a cone of lower ``radius``, negative inside.

    A cone is a trapezium turned about its axis: the distance in the half plane of the point.
    """
    rho, upper = math.sqrt(p[0] * p[0] + p[1] * p[1]), radius * top
    square = _segment_square(radius, -half, upper, half, rho, p[2])
    square = min(square, _segment_square(0.0, half, upper, half, rho, p[2]))
    square = min(square, _segment_square(0.0, -half, radius, -half, rho, p[2]))
    side = radius + (upper - radius) * (p[2] + half) / (2.0 * half)
    return -math.sqrt(square) if abs(p[2]) < half and rho < side else math.sqrt(square)


@_jit
def ellipsoid_distance(hx, hy, hz, p):
    """Return the signed distance of a point to an ellipsoid of half axes, negative inside.

    The nearest point q has p - q along the normal: q_i = h_i^2 p_i / (t + h_i^2), with t so that
    q lies on the surface (Eberly, "Distance from a point to an ellipsoid"). Newton's steps from
    the left of the root of that convex, falling function never pass it.
    """
    a, b, c = hx * hx, hy * hy, hz * hz
    x, y, z = max(abs(p[0]), 1e-9 * hx), max(abs(p[1]), 1e-9 * hy), max(abs(p[2]), 1e-9 * hz)
    t = max(hx * x - a, max(hy * y - b, hz * z - c))
    for _ in range(NEWTON_STEPS):
        u, v, w = hx * x / (t + a), hy * y / (t + b), hz * z / (t + c)
        value = u * u + v * v + w * w - 1.0
        slope = -2.0 * (u * u / (t + a) + v * v / (t + b) + w * w / (t + c))
        step = value / slope
        t -= step
        if abs(step) < 1e-12 * a:
            break
    dx, dy, dz = x * t / (t + a), y * t / (t + b), z * t / (t + c)
    distance = math.sqrt(dx * dx + dy * dy + dz * dz)
    return distance if t > 0.0 else -distance


@_jit
def solid_distance(shapes, kind, i, x, y, z):
    """Return the signed distance of a point to the solid ``i`` of the table ``shapes``."""
    p = local_point(shapes, i, x, y, z)
    if kind == BOX:
        return box_distance(shapes[i, 3], shapes[i, 4], shapes[i, 5], p)
    if kind == CONE:
        return cone_distance(shapes[i, 3], shapes[i, 5], shapes[i, 15], p)
    return ellipsoid_distance(shapes[i, 3], shapes[i, 4], shapes[i, 5], p)


@_jit
def nearest_solids(shapes, kinds, points, distances, nearest):
    """Fill the least signed distance of points (N, 3) to any solid, and which solid that is."""
    for n in range(points.shape[0]):
        best, which = np.inf, -1
        for i in range(kinds.shape[0]):
            d = solid_distance(shapes, kinds[i], i, points[n, 0], points[n, 1], points[n, 2])
            if d < best:
                best, which = d, i
        distances[n], nearest[n] = best, which


@_jit
def buried_in_others(shapes, kinds, points, owners, margin, buried):
    """Fill whether points (N, 3) lie inside, or less than ``margin`` outside, another solid."""
    for n in range(points.shape[0]):
        buried[n] = False
        for i in range(kinds.shape[0]):
            if i != owners[n]:
                d = solid_distance(shapes, kinds[i], i, points[n, 0], points[n, 1], points[n, 2])
                if d <= margin:
                    buried[n] = True
                    break


@_jit
def nearest_place_buried(shapes, kinds, points, distances, nearest, margin, buried):
    """Fill whether the place on the nearest solid's surface nearest to a point is in another solid.

    Args:
        distances, nearest: (N,) of the points (N, 3), as ``nearest_solids`` fills them.
    """
    step = 0.1 * margin
    for n in range(points.shape[0]):
        i, x, y, z = nearest[n], points[n, 0], points[n, 1], points[n, 2]
        kind, span = kinds[i], distances[n] / (2.0 * step)
        gx = solid_distance(shapes, kind, i, x + step, y, z)
        gx -= solid_distance(shapes, kind, i, x - step, y, z)
        gy = solid_distance(shapes, kind, i, x, y + step, z)
        gy -= solid_distance(shapes, kind, i, x, y - step, z)
        gz = solid_distance(shapes, kind, i, x, y, z + step)
        gz -= solid_distance(shapes, kind, i, x, y, z - step)
        x, y, z = x - span * gx, y - span * gy, z - span * gz
        buried[n] = False
        for k in range(kinds.shape[0]):
            if k != i and solid_distance(shapes, kinds[k], k, x, y, z) <= margin:
                buried[n] = True
                break

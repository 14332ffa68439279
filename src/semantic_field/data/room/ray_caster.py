"""Compiled ray casting against solids grouped in bounding boxes.

The scene is passed as three tables so that Numba can compile and cache the functions:

- ``shapes`` (N, 16): centre, half extents, rotation to the world row by row, top ratio of a cone
- ``kinds`` (N,): ``BOX``, ``CONE`` or ``ELLIPSOID``
- ``groups`` (G, 6): lower and upper corner of the bounding box of a group of shapes, and ``spans``
  (G, 2): range of its shapes
"""

# Numba's decorators have no stubs.
# pyright: basic, reportCallIssue=false
from __future__ import annotations

import math

import numpy as np
from numba import njit

from semantic_field.data.room.shapes import BOX, CONE

FAR = 1e9


@njit(cache=True, nogil=True)
def inverse(component):
    """Return 1 / component, large but finite for 0, as infinity times 0 would be NaN."""
    return 1.0 / component if abs(component) > 1e-15 else 1e15


@njit(inline="always")
def ray_box(groups, g, ox, oy, oz, ix, iy, iz):
    """Return the parameter at which a ray (origin, inverse direction) enters a box, or FAR."""
    t0, t1 = (groups[g, 0] - ox) * ix, (groups[g, 3] - ox) * ix
    near, far = min(t0, t1), max(t0, t1)
    t0, t1 = (groups[g, 1] - oy) * iy, (groups[g, 4] - oy) * iy
    near, far = max(near, min(t0, t1)), min(far, max(t0, t1))
    t0, t1 = (groups[g, 2] - oz) * iz, (groups[g, 5] - oz) * iz
    near, far = max(near, min(t0, t1)), min(far, max(t0, t1))
    if near > far or far < 0:
        return FAR
    return max(near, 0.0)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "arcp", "nsz"})
def _hit_box(hx, hy, hz, o, d):
    ix, iy, iz = inverse(d[0]), inverse(d[1]), inverse(d[2])
    mx, my, mz = o[0] * ix, o[1] * iy, o[2] * iz
    wx, wy, wz = abs(ix) * hx, abs(iy) * hy, abs(iz) * hz
    nx, ny, nz = -mx - wx, -my - wy, -mz - wz
    far = min(min(wx - mx, wy - my), wz - mz)
    near = max(max(nx, ny), nz)
    if not (near <= far and far > 0.0):
        return FAR, 0
    if near == nx:
        face = 0 if d[0] > 0 else 1
    elif near == ny:
        face = 2 if d[1] > 0 else 3
    else:
        face = 4 if d[2] > 0 else 5
    return max(near, 0.0), face


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "arcp", "nsz"})
def _hit_ellipsoid(hx, hy, hz, o, d):
    ox, oy, oz = o[0] / hx, o[1] / hy, o[2] / hz
    dx, dy, dz = d[0] / hx, d[1] / hy, d[2] / hz
    a = dx * dx + dy * dy + dz * dz
    b = ox * dx + oy * dy + oz * dz
    c = ox * ox + oy * oy + oz * oz - 1.0
    root = b * b - a * c
    if root < 0.0:
        return FAR, 0
    root = math.sqrt(root)
    if -b + root <= 0.0:
        return FAR, 0
    return max((-b - root) / a, 0.0), 0


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "arcp", "nsz"})
def _hit_cone(radius, half, top, o, d):
    """Side (face 0), lower cap (1) and upper cap (2) of a cone; radius = middle + slope z."""
    slope = radius * (top - 1.0) / (2.0 * half)
    middle = 0.5 * radius * (1.0 + top)
    best, face = FAR, 0
    r0, r1 = middle + slope * o[2], slope * d[2]
    if abs(o[2]) < half and o[0] * o[0] + o[1] * o[1] < r0 * r0:
        return 0.0, 0  # inside
    a = d[0] * d[0] + d[1] * d[1] - r1 * r1
    b = o[0] * d[0] + o[1] * d[1] - r0 * r1
    c = o[0] * o[0] + o[1] * o[1] - r0 * r0
    root = b * b - a * c
    if root >= 0.0 and abs(a) > 1e-12:
        root = math.sqrt(root)
        for sign in (-1.0, 1.0):
            t = (-b + sign * root) / a
            z = o[2] + t * d[2]
            if 0.0 < t < best and abs(z) <= half and middle + slope * z >= 0.0:
                best, face = t, 0
    if d[2] != 0.0:
        for cap in range(2):
            z = half if cap == 1 else -half
            t = (z - o[2]) / d[2]
            if 0.0 < t < best:
                x, y, r = o[0] + t * d[0], o[1] + t * d[1], middle + slope * z
                if x * x + y * y <= r * r:
                    best, face = t, 1 + cap
    return best, face


@njit(inline="always")
def hit_shape(shapes, kind, i, ox, oy, oz, dx, dy, dz):
    """Return ray parameter (in lengths of the direction) and face, FAR if the ray misses.

    A ray that starts inside a solid hits it at 0.
    """
    x, y, z = ox - shapes[i, 0], oy - shapes[i, 1], oz - shapes[i, 2]
    o = (
        shapes[i, 6] * x + shapes[i, 9] * y + shapes[i, 12] * z,
        shapes[i, 7] * x + shapes[i, 10] * y + shapes[i, 13] * z,
        shapes[i, 8] * x + shapes[i, 11] * y + shapes[i, 14] * z,
    )
    d = (
        shapes[i, 6] * dx + shapes[i, 9] * dy + shapes[i, 12] * dz,
        shapes[i, 7] * dx + shapes[i, 10] * dy + shapes[i, 13] * dz,
        shapes[i, 8] * dx + shapes[i, 11] * dy + shapes[i, 14] * dz,
    )
    if kind == BOX:
        return _hit_box(shapes[i, 3], shapes[i, 4], shapes[i, 5], o, d)
    if kind == CONE:
        return _hit_cone(shapes[i, 3], shapes[i, 5], shapes[i, 15], o, d)
    return _hit_ellipsoid(shapes[i, 3], shapes[i, 4], shapes[i, 5], o, d)


@njit(inline="always")
def trace(
    shapes,
    kinds,
    groups,
    spans,
    order,
    n_order,
    nears,
    ox,
    oy,
    oz,
    dx,
    dy,
    dz,
    reach,
    any_hit,
):
    """Return the nearest hit within ``reach`` among the first ``n_order`` groups of ``order``.

    ``nears`` (G,) are lower bounds of the distances of hits in each group, ascending along
    ``order``. Returns distance, shape (-1: none) and face; with ``any_hit`` the first hit found.
    """
    best, shape, face = reach, -1, 0
    ix, iy, iz = inverse(dx), inverse(dy), inverse(dz)
    for k in range(n_order):
        group = order[k]
        if nears[group] >= best:
            break
        if ray_box(groups, group, ox, oy, oz, ix, iy, iz) >= best:
            continue
        for i in range(spans[group, 0], spans[group, 1]):
            t, f = hit_shape(shapes, kinds[i], i, ox, oy, oz, dx, dy, dz)
            if t < best:
                best, shape, face = t, i, f
                if any_hit:
                    return best, shape, face
    return best, shape, face


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "arcp", "nsz"})
def local_point(shapes, i, x, y, z):
    """Transform a world point to the shape's own frame."""
    x, y, z = x - shapes[i, 0], y - shapes[i, 1], z - shapes[i, 2]
    return (
        shapes[i, 6] * x + shapes[i, 9] * y + shapes[i, 12] * z,
        shapes[i, 7] * x + shapes[i, 10] * y + shapes[i, 13] * z,
        shapes[i, 8] * x + shapes[i, 11] * y + shapes[i, 14] * z,
    )


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "arcp", "nsz"})
def face_normal(shapes, i, kind, face, p):
    """Return the outward unit normal in the world at a point ``p`` in the shape's own frame."""
    nx, ny, nz = 0.0, 0.0, 0.0
    if kind == BOX:
        sign = 1.0 if face % 2 == 1 else -1.0
        if face < 2:
            nx = sign
        elif face < 4:
            ny = sign
        else:
            nz = sign
    elif kind == CONE:
        if face == 0:
            slope = shapes[i, 3] * (shapes[i, 15] - 1.0) / (2.0 * shapes[i, 5])
            radius = math.sqrt(p[0] * p[0] + p[1] * p[1]) + 1e-12
            scale = 1.0 / math.sqrt(1.0 + slope * slope)
            nx, ny, nz = p[0] / radius * scale, p[1] / radius * scale, -slope * scale
        else:
            nz = 1.0 if face == 2 else -1.0
    else:
        nx, ny, nz = p[0] / shapes[i, 3] ** 2, p[1] / shapes[i, 4] ** 2, p[2] / shapes[i, 5] ** 2
        scale = 1.0 / math.sqrt(nx * nx + ny * ny + nz * nz + 1e-30)
        nx, ny, nz = nx * scale, ny * scale, nz * scale
    return (
        shapes[i, 6] * nx + shapes[i, 7] * ny + shapes[i, 8] * nz,
        shapes[i, 9] * nx + shapes[i, 10] * ny + shapes[i, 11] * nz,
        shapes[i, 12] * nx + shapes[i, 13] * ny + shapes[i, 14] * nz,
    )


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "arcp", "nsz"})
def face_uv(shapes, i, kind, face, p):
    """Return the position (u, v) in 0..1 on a face, and the face's width and height in metres.

    Seen from outside, u is to the right and v upwards."""
    hx, hy, hz = shapes[i, 3], shapes[i, 4], shapes[i, 5]
    if kind == BOX:
        if face < 2:
            u, v, w, h = p[1] / hy, p[2] / hz, 2 * hy, 2 * hz
            u = u if face == 1 else -u
        elif face < 4:
            u, v, w, h = p[0] / hx, p[2] / hz, 2 * hx, 2 * hz
            u = u if face == 2 else -u
        else:
            u, v, w, h = p[0] / hx, p[1] / hy, 2 * hx, 2 * hy
            u = u if face == 5 else -u
        return 0.5 * (u + 1.0), 0.5 * (v + 1.0), w, h
    if kind == CONE:
        if face == 0:
            mean = 0.5 * hx * (1.0 + shapes[i, 15])
            angle = math.atan2(p[1], p[0]) / (2.0 * math.pi) + 0.5
            return angle, 0.5 * (p[2] / hz + 1.0), 2.0 * math.pi * mean, 2.0 * hz
        r = hx * (shapes[i, 15] if face == 2 else 1.0) + 1e-12
        u = p[0] / r if face == 2 else -p[0] / r
        return 0.5 * (u + 1.0), 0.5 * (p[1] / r + 1.0), 2.0 * r, 2.0 * r
    # A leaf is long along x and flat along z: map it like a disc from above, both sides alike.
    return 0.5 * (p[0] / hx + 1.0), 0.5 * (p[1] / hy + 1.0), 2.0 * hx, 2.0 * hy


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "arcp", "nsz"})
def group_bounds_in_image(groups, T_camera_world, fx, fy, cx, cy, bounds):
    """Fill ``bounds`` (G, 5): first and last column and row of a group in the image, least depth.

    A group that extends behind the camera gets the whole image."""
    for g in range(groups.shape[0]):
        x0 = y0 = near = FAR
        x1 = y1 = -FAR
        for corner in range(8):
            px = groups[g, 3 * (corner & 1)]
            py = groups[g, 1 + 3 * ((corner >> 1) & 1)]
            pz = groups[g, 2 + 3 * ((corner >> 2) & 1)]
            c = T_camera_world
            z = c[2, 0] * px + c[2, 1] * py + c[2, 2] * pz + c[2, 3]
            near = min(near, z)
            if z > 0.05:
                u = (c[0, 0] * px + c[0, 1] * py + c[0, 2] * pz + c[0, 3]) / z * fx + cx
                v = (c[1, 0] * px + c[1, 1] * py + c[1, 2] * pz + c[1, 3]) / z * fy + cy
                x0, x1, y0, y1 = min(x0, u), max(x1, u), min(y0, v), max(y1, v)
        if near <= 0.05 and x1 > -FAR:
            x0 = y0 = -FAR
            x1 = y1 = FAR
        bounds[g, 0], bounds[g, 1], bounds[g, 2], bounds[g, 3] = x0, x1, y0, y1
        bounds[g, 4] = near


def scene_order(bounds: np.ndarray) -> np.ndarray:
    """Return the group numbers, nearest first."""
    return np.argsort(bounds[:, 4], kind="stable")

"""Where rays meet the zero of the distances that a lattice holds."""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

import numpy as np
from numba import njit

from semantic_field.field.voxels.traversal import NUDGE, inverse_of, leave_cell, walk

DIP = 0.25  # of a voxel: what a ray passes as near as that may be a thin thing between the nodes
DIPS = 4  # of a ray that are looked into
LEAST_STEP = 0.2  # of a voxel, inside a voxel that holds a surface
SHARE = 0.9  # distances are learnt along rays: the nearest surface may be nearer
_jit = njit(nogil=True, cache=True, error_model="numpy")


@njit(inline="always")
def _between(nodes, px, py, pz):
    """Trilinear interpolation in a brick's nodes at a place in nodes from its corner."""
    x, y, z = min(int(px), 15), min(int(py), 15), min(int(pz), 15)
    u, v, w = np.float32(px - x), np.float32(py - y), np.float32(pz - z)
    a, b = np.float32(nodes[z, y, x]), np.float32(nodes[z, y + 1, x])
    c, d = np.float32(nodes[z + 1, y, x]), np.float32(nodes[z + 1, y + 1, x])
    a += u * (nodes[z, y, x + 1] - a)
    b += u * (nodes[z, y + 1, x + 1] - b)
    c += u * (nodes[z + 1, y, x + 1] - c)
    d += u * (nodes[z + 1, y + 1, x + 1] - d)
    a += v * (b - a)
    c += v * (d - c)
    return a + w * (c - a)


@_jit
def _search(nodes, place, direction, corner, begin, end, speed, to_voxels, lowest):
    """The first zero of a ray between two parameters within one voxel; NaN where there is none.

    ``speed`` in voxels per unit of the parameter, ``to_voxels``: stored distances to voxels.
    ``lowest`` becomes the parameter and the distance where the surface was nearest.
    """
    t, last_t, last_s = begin, begin, np.float32(-1)
    lowest[0], lowest[1] = begin, np.inf
    while True:
        s = _between(
            nodes,
            min(max(2 * (place[0] + t * direction[0] - corner[0]), 0.0), 16.0),
            min(max(2 * (place[1] + t * direction[1] - corner[1]), 0.0), 16.0),
            min(max(2 * (place[2] + t * direction[2] - corner[2]), 0.0), 16.0),
        )
        if s < 0:
            if t == begin:  # entered from behind, or from where nothing is known
                return t + s * to_voxels / speed
            return last_t + (t - last_t) * last_s / (last_s - s)
        if s < lowest[1]:
            lowest[0], lowest[1] = t, s
        if t >= end:
            return np.nan
        last_t, last_s = t, s
        t = min(t + max(LEAST_STEP, SHARE * s * to_voxels) / speed, end)


@_jit
def cast(
    origin, directions, near, far, voxel, low, jumps, octants, flags, stored, unit, current,
    start, rays, hit, dips, wanted, unsure, a, b,
):  # fmt: skip
    """Fill ``hit`` (N,) of rays ``a`` to ``b`` of those listed: where they meet the surface.

    Rays are ``origin`` (3,) metres plus t times ``directions`` (N, 3); all depths are such t, inf =
    nowhere. Ray n begins at ``start[n]``, or at ``near`` where that is later, and ends at ``far``.
    Its ``dips`` (N, ``DIPS``), at least a voxel apart, are where it came nearer to a surface than
    ``DIP``; only those before the first inf count.

    The grid: ``voxel`` metres, ``low`` (3,) the first brick's place, ``jumps`` and ``octants`` of
    ``Strides``, ``flags`` (B, 512) of ``flag_voxels``, ``stored`` int8 (B, 17, 17, 17) in ``unit``
    metres. Bricks met that are not ``current`` (B,) become ``wanted`` (B,), and rays that met one
    ``unsure`` (one for each of ``rays``).
    """
    place, corner, lowest = np.empty(3), np.empty(3), np.empty(2)
    direction, inverse = np.empty(3), np.empty(3)
    for axis in range(3):
        place[axis] = origin[axis] / voxel - low[axis] * 8
    for i in range(a, b):
        n, speed, dip, depth = rays[i], 0.0, -1, np.inf
        dips[n] = np.inf
        for axis in range(3):
            direction[axis] = directions[n, axis] / voxel
            inverse[axis] = inverse_of(direction[axis])
            speed += direction[axis] ** 2
        speed = np.sqrt(speed)
        t, hit[n] = max(near, start[n]), np.inf
        while True:
            t = walk(place, direction, inverse, t, far, jumps, octants, flags)
            if not t < far:
                break
            leave, slot = leave_cell(place, direction, inverse, t, jumps, corner)
            if not current[slot]:
                wanted[slot] = unsure[i] = 1
            found = _search(
                stored[slot], place, direction, corner, t, t + leave, speed, unit / voxel, lowest
            )
            if not np.isnan(found):
                hit[n] = found
                break
            if lowest[1] * unit < DIP * voxel:
                if dip < 0 or (lowest[0] - dips[n, dip]) * speed > 1:
                    dip, depth = min(dip + 1, DIPS - 1), np.inf
                if lowest[1] < depth:
                    dips[n, dip], depth = lowest[0], lowest[1]
            t += leave + NUDGE / speed

"""What a depth image shows around the pixel of a ray: the slope of its surface, and silhouettes.

A silhouette is a jump of the depth between two neighbouring readings. Its pixels on the far side
look past a nearer surface; those on the near side hit this surface close to its end. Both tell
more about signed distances than a pixel's own depth does, see ``draw_rays``.
"""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

import numpy as np
from numba import njit

from semantic_field.field.rays.keyframe_arrays import DEPTH_UNIT_M, GUESSED

REACH = 3  # pixels searched for a silhouette, left, right, above and below
JUMP_M = 0.05  # least jump of the depth, metres
JUMP_SHARE = 0.05  # and as a share of the nearer depth
FLATTEST_COSINE = 0.2  # flatter angles between ray and surface count as this one
_INFINITE = np.float32(np.inf)


@njit(inline="always", error_model="numpy")
def _rise(depths, p, step, before, after, d):
    """Return the smaller depth difference to the two neighbouring readings on one axis, metres.

    At a silhouette, that is the neighbour on the same surface. 0 if neither is a reading.
    """
    least = _INFINITE
    for side in range(-1, 2, 2):
        if (before if side < 0 else after) and depths[p + side * step] & GUESSED == 0:
            other = np.float32(depths[p + side * step]) * np.float32(DEPTH_UNIT_M)
            least = min(least, abs(other - d))
    return least if least < _INFINITE else np.float32(0)


@njit(inline="always", error_model="numpy")
def steepness_at(depths, p, width, height, fx, fy, d):
    """Return 1 / cosine of the angle between a pixel's ray and the surface normal.

    ``depths`` (P,) are stored depths of one keyframe, ``p`` is the pixel, ``d`` its depth, metres.
    """
    column, row = p % width, p // width
    across = _rise(depths, p, 1, column > 0, column < width - 1, d) * fx / d
    down = _rise(depths, p, width, row > 0, row < height - 1, d) * fy / d
    return np.sqrt(np.float32(1) + across * across + down * down)


@njit(inline="always", error_model="numpy")
def _first_jump(depths, p, step, room, d):
    """Return the number of pixels to the first jump in one direction, and the depth beyond it.

    The number is ``REACH + 1`` if there is none, or a pixel without a reading comes first.
    """
    for i in range(1, min(room, REACH) + 1):
        stored = depths[p + i * step]
        if stored == 0 or stored & GUESSED:
            break
        other = np.float32(stored) * np.float32(DEPTH_UNIT_M)
        jump = max(np.float32(JUMP_M), np.float32(JUMP_SHARE) * min(other, d))
        if abs(other - d) > jump:
            return i, other
    return REACH + 1, d


@njit(inline="always", error_model="numpy")
def silhouettes_at(depths, p, width, height, fx, fy, d):
    """Return where silhouettes pass near a pixel: ``to_front``, ``front`` and ``to_end``.

    ``to_front`` is the distance of the ray from a nearer surface beside it, in metres per metre
    of z-depth, and ``front`` the z-depth of that surface, 0 = none; ``to_end`` is the distance of
    the ray from the end of its own surface. Distances are inf if there is none. A line that
    crosses the axes at a and b passes at 1 / sqrt(1 / a**2 + 1 / b**2).
    """
    column, row = p % width, p // width
    nearest, front = _INFINITE, np.float32(0)
    to_front, to_end = np.float32(0), np.float32(0)  # sums of 1 / distance**2 at first
    for axis in range(2):
        step, focal = (1, fx) if axis == 0 else (width, fy)
        place, size = (column, width) if axis == 0 else (row, height)
        least_front = least_end = _INFINITE
        for side in range(-1, 2, 2):
            room = place if side < 0 else size - 1 - place
            i, other = _first_jump(depths, p, side * step, room, d)
            if i > REACH:
                continue
            aside = (np.float32(i) - np.float32(0.5)) / focal
            if other > d:
                least_end = min(least_end, aside)
                continue
            least_front = min(least_front, aside)
            if aside < nearest or (aside == nearest and other < front):
                nearest, front = aside, other
        to_front += np.float32(1) / (least_front * least_front)
        to_end += np.float32(1) / (least_end * least_end)
    return np.float32(1) / np.sqrt(to_front), front, np.float32(1) / np.sqrt(to_end)

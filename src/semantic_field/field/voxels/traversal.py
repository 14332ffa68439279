"""Ray traversal of a sparse voxel grid, with empty-space skipping.

Rays cross empty space in long steps: a chessboard distance transform gives for each missing brick
the distance to the nearest stored one, and each stored brick knows which of its eight octants
(4 x 4 x 4 voxels) are empty.
"""

# Compiled functions carry no annotations: Numba infers their types.
from __future__ import annotations

from functools import partial

import numpy as np
from numba import njit
from numpy.typing import NDArray

from semantic_field.kernels.threads import run_chunks

RAYS_PER_TASK = 1 << 13
NEVER = 1e30
NUDGE = 1e-3  # of a voxel's edge, added so that a ray is past the border that it has reached
_jit = njit(nogil=True, cache=True, error_model="numpy")


@njit(inline="always")
def _exit(position, direction, size, cell):
    """Ray parameter until the ray leaves cell number ``cell`` of edge ``size`` on one axis."""
    if direction > 0:
        return ((cell + 1) * size - position) / direction
    if direction < 0:
        return (cell * size - position) / direction
    return np.inf


@njit(inline="always")
def _visit(px, py, pz, dx, dy, dz, voxel, index, low, counts):
    """Whether the voxel at a point is in use, and the ray parameter until the ray leaves it.

    In a brick that does not exist the ray leaves the whole brick at once.
    """
    x, y, z = int(np.floor(px / voxel)), int(np.floor(py / voxel)), int(np.floor(pz / voxel))
    gx, gy, gz = x >> 3, y >> 3, z >> 3
    bx, by, bz = gx - low[0], gy - low[1], gz - low[2]
    slot = -1
    if 0 <= bx < index.shape[0] and 0 <= by < index.shape[1] and 0 <= bz < index.shape[2]:
        slot = index[bx, by, bz]
    size = voxel
    used = False
    if slot < 0:
        size, x, y, z = voxel * 8, gx, gy, gz
    else:
        used = counts[slot, ((z & 7) << 6) | ((y & 7) << 3) | (x & 7)] > 0
    leave = min(_exit(px, dx, size, x), _exit(py, dy, size, y), _exit(pz, dz, size, z))
    return used, leave + voxel * NUDGE


@njit(nogil=True, error_model="numpy")
def used_spans(origin, direction, near, far, voxel, index, low, counts, spans):
    """Find the intervals of a ray between ``near`` and ``far`` that lie in voxels in use.

    Fills their begin and end parameters into ``spans`` (K, 2), with touching intervals joined.
    Returns their number (at most K) and total length (in units of the ray parameter).
    """
    t, number, total = near, 0, 0.0
    dx, dy, dz = direction[0], direction[1], direction[2]
    while t < far:
        px, py, pz = origin[0] + t * dx, origin[1] + t * dy, origin[2] + t * dz
        used, leave = _visit(px, py, pz, dx, dy, dz, voxel, index, low, counts)
        end = min(t + leave, far)
        if used:
            if number and t - spans[number - 1, 1] < voxel * 1e-2:
                spans[number - 1, 1] = end
            elif number < len(spans):
                spans[number, 0], spans[number, 1] = t, end
                number += 1
            else:
                break
            total += end - t
        t = end if end > t else t + voxel * NUDGE
    return number, total


@njit(inline="always")
def _border(cell, shift, reach, inverse):
    """Return where a ray leaves, on one axis, ``2 reach - 1`` cells of edge ``1 << shift``."""
    cell >>= shift
    return (cell + reach if inverse > 0 else cell - reach + 1) << shift


@njit(inline="always")
def inverse_of(direction):
    """Return 1 / direction, or NEVER if it is 0 (the ray never crosses that axis)."""
    return 1.0 / direction if direction != 0 else NEVER


@njit(inline="always")
def _clip(position, inverse, size, near, far):
    """Clip ``near`` to ``far`` to the part in which a ray is between 0 and ``size`` on one axis."""
    one, other = -position * inverse, (size - position) * inverse
    return max(near, min(one, other)), min(far, max(one, other))


@_jit
def walk(place, direction, inverse, t, far, jumps, octants, counts):
    """Return the parameter of a ray's next voxel in use from ``t`` on, inf if none before ``far``.

    ``place`` and ``direction`` are in voxels, relative to the lowest corner of the index.
    """
    x_end, y_end, z_end = jumps.shape[0] * 8, jumps.shape[1] * 8, jumps.shape[2] * 8
    begin, end = _clip(place[0], inverse[0], x_end, t, far)
    begin, end = _clip(place[1], inverse[1], y_end, begin, end)
    begin, end = _clip(place[2], inverse[2], z_end, begin, end)
    if begin > t:
        t = begin + NUDGE * min(abs(inverse[0]), abs(inverse[1]), abs(inverse[2]))
    nudge = NUDGE * min(abs(inverse[0]), abs(inverse[1]), abs(inverse[2]))
    while t < end:
        px = place[0] + t * direction[0]
        py = place[1] + t * direction[1]
        pz = place[2] + t * direction[2]
        x = min(max(int(np.floor(px)), 0), x_end - 1)
        y = min(max(int(np.floor(py)), 0), y_end - 1)
        z = min(max(int(np.floor(pz)), 0), z_end - 1)
        slot = jumps[x >> 3, y >> 3, z >> 3]
        shift, reach = 3, -slot
        if slot >= 0:
            shift, reach = 2, 1
            octant = (z & 4) | (y & 4) >> 1 | (x & 4) >> 2
            if octants[slot] >> octant & 1:
                if counts[slot, ((z & 7) << 6) | ((y & 7) << 3) | (x & 7)] > 0:
                    return t
                shift = 0
        leave = min(
            (_border(x, shift, reach, inverse[0]) - px) * inverse[0],
            (_border(y, shift, reach, inverse[1]) - py) * inverse[1],
            (_border(z, shift, reach, inverse[2]) - pz) * inverse[2],
        )
        t += max(leave, 0.0) + nudge
    return np.inf


@njit(inline="always")
def leave_cell(place, direction, inverse, t, jumps, corner):
    """Return the ray parameter left in the stored voxel at ``t``, and the slot of its brick.

    Fills ``corner``, the lowest corner of that brick, in voxels.
    """
    x = min(max(int(np.floor(place[0] + t * direction[0])), 0), jumps.shape[0] * 8 - 1)
    y = min(max(int(np.floor(place[1] + t * direction[1])), 0), jumps.shape[1] * 8 - 1)
    z = min(max(int(np.floor(place[2] + t * direction[2])), 0), jumps.shape[2] * 8 - 1)
    corner[0], corner[1], corner[2] = x & ~7, y & ~7, z & ~7
    leave = min(
        (_border(x, 0, 1, inverse[0]) - place[0]) * inverse[0],
        (_border(y, 0, 1, inverse[1]) - place[1]) * inverse[1],
        (_border(z, 0, 1, inverse[2]) - place[2]) * inverse[2],
    )
    return max(leave - t, 0.0), jumps[x >> 3, y >> 3, z >> 3]


@_jit
def _advance(origin, directions, start, far, voxel, low, jumps, octants, counts, rays, a, b):
    """Move ``start`` of rays ``a`` to ``b`` of the list to their next voxel in use."""
    place = np.empty(3)
    direction, inverse = np.empty(3), np.empty(3)
    for axis in range(3):
        place[axis] = origin[axis] / voxel - low[axis] * 8
    for i in range(a, b):
        n = rays[i]
        for axis in range(3):
            direction[axis] = directions[n, axis] / voxel
            inverse[axis] = inverse_of(direction[axis])
        start[n] = walk(place, direction, inverse, start[n], far, jumps, octants, counts)


@njit(inline="always")
def octant_of(cell):
    """Return the octant (0..7) of a voxel in its brick; x is the lowest bit."""
    return (cell >> 6 & 4) | (cell >> 4 & 2) | (cell >> 2 & 1)


@_jit
def _octants_in_use(counts, octants):
    """Set bit o of each brick if a voxel of its octant o (x is the lowest bit) is in use."""
    for slot in range(len(counts)):
        bits = 0
        for cell in range(512):
            if counts[slot, cell] > 0:
                bits |= 1 << octant_of(cell)
        octants[slot] = bits


@_jit
def _spread(jumps, first, step):
    """One pass of a chessboard distance transform: bricks that are not stored get -distance."""
    sizes = jumps.shape
    for i in range(sizes[0]):
        x = first[0] + step * i
        for j in range(sizes[1]):
            y = first[1] + step * j
            for k in range(sizes[2]):
                z = first[2] + step * k
                if jumps[x, y, z] >= 0:
                    continue
                nearest = -jumps[x, y, z]
                for near in range(13):  # the neighbours that this pass has visited before
                    dx, dy, dz = near // 9 - 1, near // 3 % 3 - 1, near % 3 - 1
                    u, v, w = x + step * dx, y + step * dy, z + step * dz
                    if 0 <= u < sizes[0] and 0 <= v < sizes[1] and 0 <= w < sizes[2]:
                        nearest = min(nearest, max(-jumps[u, v, w], 0) + 1)
                jumps[x, y, z] = -nearest


class Strides:
    """Empty-space skipping data of one grid.

    Attributes:
        jumps: int32, like the grid's index; where no brick is stored, minus the distance in
            bricks to the nearest stored one (chessboard metric).
        octants: uint8 (B,), one bit for each octant of a brick that has a voxel in use.
    """

    def __init__(self, index: NDArray[np.int32], counts: NDArray[np.integer]) -> None:
        self.octants = np.zeros(len(counts), np.uint8)
        _octants_in_use(counts, self.octants)
        farthest = max(max(index.shape), 1)
        self.jumps = np.where(index < 0, np.int32(-farthest), index)
        _spread(self.jumps, (0, 0, 0), 1)
        _spread(self.jumps, tuple(size - 1 for size in index.shape), -1)

    def advance(
        self,
        origin: NDArray[np.float64],
        directions: NDArray[np.float32],
        start: NDArray[np.float32],
        far: float,
        rays: NDArray[np.int64],
        grid: tuple[float, NDArray[np.int64], NDArray[np.uint16]],
        threads: int,
    ) -> None:
        """See ``VoxelGrid.advance``; ``grid`` is voxel edge, lowest brick and counts."""
        voxel_m, low, counts = grid
        arrays = (origin, directions, start, far, voxel_m, low)
        arrays = (*arrays, self.jumps, self.octants, counts, rays)
        run_chunks(partial(_advance, *arrays), len(rays), threads, RAYS_PER_TASK)

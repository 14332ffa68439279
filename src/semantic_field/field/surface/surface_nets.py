"""Surface nets isosurface extraction: one vertex per lattice cell with a sign change, and quads.

After Gibson 1998, "Constrained elastic surface nets": a vertex is the mean of the zero crossings
on the cell's edges, and each lattice edge with a sign change gives a quad between the vertices of
the four cells around it. Neighbouring bricks share the nodes on their border, so the mesh has no
cracks; every vertex belongs to exactly one cell, so there are no duplicates.
"""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

from typing import Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from semantic_field.field.surface.lattice_baking import UNKNOWN

CELLS = 16  # on one axis of a brick
_jit = njit(nogil=True, cache=True, error_model="numpy")


class BrickIndex(Protocol):
    """Where bricks of nodes are; see ``VoxelGrid``.

    Attributes:
        voxel_m: two spacings of the nodes.
        bricks: int32 (B, 3), coordinates of the bricks.
        low: int64 (3,), coordinates of the brick at ``index[0, 0, 0]``.
        index: int32 (X, Y, Z), number of each brick; -1 = none.
    """

    @property
    def voxel_m(self) -> float: ...
    @property
    def bricks(self) -> NDArray[np.int32]: ...
    @property
    def low(self) -> NDArray[np.int64]: ...
    @property
    def index(self) -> NDArray[np.int32]: ...


class NodeBricks(Protocol):
    """Distances at the nodes of bricks, such as a ``Lattice``.

    Attributes:
        stored: int8 (B, 17, 17, 17), z first; their sign is that of the distance.
        reach: where the bricks are.
    """

    @property
    def stored(self) -> NDArray[np.int8]: ...
    @property
    def reach(self) -> BrickIndex: ...


@_jit
def _vertex(nodes, x, y, z, place):
    """Fill ``place`` (in nodes of the brick); return whether the cell is known and has a vertex."""
    negative = 0
    for corner in range(8):
        value = nodes[z + (corner >> 2), y + (corner >> 1 & 1), x + (corner & 1)]
        if value == UNKNOWN:
            return False
        negative += value < 0
    if negative == 0 or negative == 8:
        return False
    place[:] = 0.0
    crossings = 0
    for corner in range(8):
        i, j, k = corner & 1, corner >> 1 & 1, corner >> 2
        a = np.float32(nodes[z + k, y + j, x + i])
        for axis in range(3):
            if corner >> axis & 1:
                continue
            di, dj, dk = axis == 0, axis == 1, axis == 2
            b = np.float32(nodes[z + k + dk, y + j + dj, x + i + di])
            if (a < 0) != (b < 0):
                share = a / (a - b)
                place[0] += i + di * share
                place[1] += j + dj * share
                place[2] += k + dk * share
                crossings += 1
    place /= crossings
    place[0] += x
    place[1] += y
    place[2] += z
    return True


@_jit
def _brick_vertices(nodes, parts, cells, places, best, chosen):
    """Fill cells and positions of a brick's vertices; returns their number.

    With ``parts`` > 0 only the vertex closest to the centre of each of ``parts`` ** 3 pieces.
    """
    count = 0
    place = np.empty(3, np.float32)
    best[:] = np.inf
    for z in range(CELLS):
        for y in range(CELLS):
            for x in range(CELLS):
                if not _vertex(nodes, x, y, z, place):
                    continue
                slot = count
                if parts > 0:
                    off, piece = np.float32(0), 0
                    for axis in range(2, -1, -1):
                        along = place[axis] * parts / CELLS
                        inside = min(int(along), parts - 1)
                        piece = piece * parts + inside
                        off += (along - inside - np.float32(0.5)) ** 2
                    if off >= best[piece]:
                        continue
                    if best[piece] < np.inf:
                        slot = chosen[piece]
                    best[piece], chosen[piece] = off, slot
                count += slot == count
                cells[slot] = (z * CELLS + y) * CELLS + x
                places[slot] = place
    return count


@_jit
def _all_vertices(stored, bricks, slots, spacing, parts):
    """Return positions (N, 3), cells (N,) and the number of vertices of each brick in ``slots``."""
    counts = np.zeros(len(slots), np.int64)
    room = CELLS**3
    cells, places = np.empty(room, np.int16), np.empty((room, 3), np.float32)
    pieces = max(parts, 1) ** 3
    best, chosen = np.empty(pieces, np.float32), np.empty(pieces, np.int64)
    where, which = np.empty((1024, 3), np.float32), np.empty(1024, np.int16)
    total = 0
    for n in range(len(slots)):
        slot = slots[n]
        count = _brick_vertices(stored[slot], parts, cells, places, best, chosen)
        if total + count > len(where):
            longer = max(2 * len(where), total + count)
            more, ids = np.empty((longer, 3), np.float32), np.empty(longer, np.int16)
            more[:total], ids[:total] = where[:total], which[:total]
            where, which = more, ids
        for i in range(count):
            for axis in range(3):
                where[total + i, axis] = (bricks[slot, axis] * CELLS + places[i, axis]) * spacing
            which[total + i] = cells[i]
        counts[n] = count
        total += count
    return where[:total], which[:total], counts


@_jit
def _vertex_at(index, first, cells, bx, by, bz, x, y, z):
    """Return the index of a cell's vertex, -1 = none; the cell may lie in a neighbour brick."""
    bx, by, bz = bx + (x >> 4), by + (y >> 4), bz + (z >> 4)
    if bx < 0 or by < 0 or bz < 0:
        return -1
    if bx >= index.shape[0] or by >= index.shape[1] or bz >= index.shape[2]:
        return -1
    slot = index[bx, by, bz]
    if slot < 0:
        return -1
    cell = ((z & 15) * CELLS + (y & 15)) * CELLS + (x & 15)
    low, high = first[slot], first[slot + 1]
    at = low + np.searchsorted(cells[low:high], cell)
    return at if at < high and cells[at] == cell else -1


@_jit
def _brick_quads(stored, index, low, bricks, first, cells, slot, quads):
    """Fill the quads around lattice edges that begin in a brick; returns their number."""
    nodes, count = stored[slot], 0
    b = bricks[slot] - low
    for n in range(first[slot], first[slot + 1]):
        cell = int(cells[n])
        x, y, z = cell & 15, cell >> 4 & 15, cell >> 8
        here = nodes[z, y, x] < 0
        for axis in range(3):
            dx, dy, dz = int(axis == 0), int(axis == 1), int(axis == 2)
            if here == (nodes[z + dz, y + dy, x + dx] < 0):
                continue
            # the cells around the edge, right-handed about its axis
            ux, uy, uz = int(axis == 2), int(axis == 0), int(axis == 1)
            vx, vy, vz = int(axis == 1), int(axis == 2), int(axis == 0)
            p = _vertex_at(index, first, cells, b[0], b[1], b[2], x - ux, y - uy, z - uz)
            q = _vertex_at(
                index, first, cells, b[0], b[1], b[2], x - ux - vx, y - uy - vy, z - uz - vz
            )
            r = _vertex_at(index, first, cells, b[0], b[1], b[2], x - vx, y - vy, z - vz)
            if p < 0 or q < 0 or r < 0:
                continue
            quads[count, 0], quads[count, 2] = n, q
            quads[count, 1] = p if here else r
            quads[count, 3] = r if here else p
            count += 1
    return count


@_jit
def _all_quads(stored, index, low, bricks, first, cells):
    quads = np.empty((3 * len(cells), 4), np.int32)
    count = 0
    for slot in range(len(bricks)):
        count += _brick_quads(stored, index, low, bricks, first, cells, slot, quads[count:])
    return quads[:count]


def net_vertices(
    lattice: NodeBricks, slots: NDArray[np.int64], parts: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int16], NDArray[np.int64]]:
    """Compute the surface nets vertices of some bricks, brick by brick.

    Args:
        parts: at most one vertex in each of ``parts`` ** 3 pieces of a brick; 0 = all.
    Returns:
        Positions float32 (N, 3) in metres, flat cell index within the brick int16 (N,), and the
        number of vertices of each brick int64 (len(slots),).
    """
    reach = lattice.reach
    spacing = np.float32(0.5 * reach.voxel_m)
    return _all_vertices(lattice.stored, reach.bricks, slots, spacing, parts)


def net_quads(
    lattice: NodeBricks, cells: NDArray[np.int16], counts: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Return quads int32 (M, 4) of vertex indices, counter-clockwise seen from free space.

    Args:
        cells, counts: as ``net_vertices`` returned them for all bricks, with ``parts`` 0.
    """
    reach, bricks = lattice.reach, len(lattice.stored)
    first = np.concatenate([[0], np.cumsum(counts)])
    return _all_quads(lattice.stored, reach.index, reach.low, reach.bricks[:bricks], first, cells)

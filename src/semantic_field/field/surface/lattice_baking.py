"""Signed distances at the nodes of bricks: asked of the field near surfaces, else interpolated.

``stored`` is int8 (B, 17, 17, 17) throughout: the nodes of bricks of 8 x 8 x 8 voxels, z first, in
steps of the lattice's unit, or ``UNKNOWN``. ``slots`` are int64 numbers of bricks in it, ``counts``
(B, 512) how often each voxel of a brick was seen (0 = not in use).
"""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from semantic_field.field.model import SemanticField
from semantic_field.field.voxels.traversal import octant_of
from semantic_field.field.voxels.voxel_grid import BRICK, VoxelGrid

NODES = 2 * BRICK + 1  # on one axis of a brick
UNKNOWN = -128
NEAR_SURFACE = 0.5  # of a truncation: between corners farther than this lies no surface
PROBED = 15  # steps of ``stored``: probes lie as near to the surface as that
PROBES = 8
_CORNER, _FILLED, _WANTED = 1, 2, 3
_jit = njit(nogil=True, cache=True, error_model="numpy")


@_jit
def _mark_corners(counts, slots, marks):
    """Mark the nodes at the corners of voxels in use."""
    marks[:] = 0
    for n in range(len(slots)):
        for cell in range(512):
            if counts[slots[n], cell] > 0:
                z, y, x = 2 * (cell >> 6), 2 * (cell >> 3 & 7), 2 * (cell & 7)
                for corner in range(8):
                    dz, dy, dx = corner >> 2, corner >> 1 & 1, corner & 1
                    marks[n, z + 2 * dz, y + 2 * dy, x + 2 * dx] = _CORNER


@_jit
def _nodes_marked(marks, kind, bricks, spacing):
    """Positions (M, 3) of the nodes with a mark, and their numbers in the flat ``marks``."""
    flat = marks.reshape(-1)
    count = 0
    for i in range(len(flat)):
        count += flat[i] == kind
    points, nodes = np.empty((count, 3), np.float32), np.empty(count, np.int64)
    m = 0
    for n in range(len(marks)):
        for z in range(NODES):
            for y in range(NODES):
                for x in range(NODES):
                    if marks[n, z, y, x] == kind:
                        points[m, 0] = (bricks[n, 0] * 16 + x) * spacing
                        points[m, 1] = (bricks[n, 1] * 16 + y) * spacing
                        points[m, 2] = (bricks[n, 2] * 16 + z) * spacing
                        nodes[m] = ((n * NODES + z) * NODES + y) * NODES + x
                        m += 1
    return points, nodes


@_jit
def _fill_or_want(counts, slots, values, marks, near):
    """Between the corners of each voxel: interpolate where no surface is near, else ask."""
    for n in range(len(slots)):
        for cell in range(512):
            if counts[slots[n], cell] == 0:
                continue
            z, y, x = 2 * (cell >> 6), 2 * (cell >> 3 & 7), 2 * (cell & 7)
            nearest, negative = np.float32(np.inf), 0
            for corner in range(8):
                s = values[n, z + 2 * (corner >> 2), y + (corner & 2), x + 2 * (corner & 1)]
                nearest = min(nearest, abs(s))
                negative += s < 0
            wanted = nearest < near or 0 < negative < 8
            for node in range(27):
                dz, dy, dx = node // 9, node // 3 % 3, node % 3
                mark = marks[n, z + dz, y + dy, x + dx]
                if wanted and mark != _CORNER:
                    marks[n, z + dz, y + dy, x + dx] = _WANTED
                elif mark == 0:
                    total, number = np.float32(0), 0
                    for corner in range(8):
                        ez, ey, ex = 2 * (corner >> 2), corner & 2, 2 * (corner & 1)
                        if abs(ez - dz) < 2 and abs(ey - dy) < 2 and abs(ex - dx) < 2:
                            total += values[n, z + ez, y + ey, x + ex]
                            number += 1
                    values[n, z + dz, y + dy, x + dx] = total / number
                    marks[n, z + dz, y + dy, x + dx] = _FILLED


@_jit
def _store(values, marks, slots, step, stored):
    """Round distances to ``step``; nodes without a mark are unknown."""
    for n in range(len(slots)):
        for z in range(NODES):
            for y in range(NODES):
                for x in range(NODES):
                    q = np.rint(values[n, z, y, x] / step)
                    q = min(max(q, -127.0), 127.0) if marks[n, z, y, x] else UNKNOWN
                    stored[slots[n], z, y, x] = np.int8(q)


@_jit
def copy_borders(index, low, bricks, stored):
    """Give nodes on the far borders of bricks the value of the brick in which they are first.

    ``index`` (X, Y, Z) is the brick at each place counted from ``low`` (3,), -1 = none; ``bricks``
    (B, 3) are their places. ``stored`` changes in place, where both nodes are known.
    """
    for slot in range(len(stored)):
        for axes in range(1, 8):
            ax, ay, az = axes & 1, axes >> 1 & 1, axes >> 2
            x, y, z = bricks[slot, 0] - low[0] + ax, bricks[slot, 1] - low[1] + ay, 0
            z = bricks[slot, 2] - low[2] + az
            if x >= index.shape[0] or y >= index.shape[1] or z >= index.shape[2]:
                continue
            other = index[x, y, z]
            if other < 0:
                continue
            for k in range(16 if az else 0, 17 if az else 16):
                for j in range(16 if ay else 0, 17 if ay else 16):
                    for i in range(16 if ax else 0, 17 if ax else 16):
                        theirs = stored[other, k - 16 * az, j - 16 * ay, i - 16 * ax]
                        if theirs != UNKNOWN and stored[slot, k, j, i] != UNKNOWN:
                            stored[slot, k, j, i] = theirs


@_jit
def flag_voxels(counts, stored, slots, near, flags, octants):
    """Fill ``flags`` and ``octants`` of some bricks, by which rays skip what is empty.

    A voxel's flag (B, 512) is 1 where it is in use and a node is nearer than ``near`` (in steps of
    ``stored``) to a surface, behind it, or unknown; else 0. An octant's bit (B,) is set where a
    voxel of it has a flag.
    """
    for slot in slots:
        octants[slot] = 0
        for cell in range(512):
            flag = 0
            if counts[slot, cell] > 0:
                z, y, x = 2 * (cell >> 6), 2 * (cell >> 3 & 7), 2 * (cell & 7)
                for node in range(27):
                    value = stored[slot, z + node // 9, y + node // 3 % 3, x + node % 3]
                    flag |= value < near
            flags[slot, cell] = flag
            octants[slot] |= flag << octant_of(cell)


@_jit
def choose_probes(stored, slots, probes):
    """Fill ``probes`` (B, ``PROBES``) of some bricks: known nodes near the surface, spread over it.

    Numbers in the brick's flat nodes; -1 where there are fewer.
    """
    for slot in slots:
        flat = stored[slot].reshape(-1)
        count = 0
        for node in range(len(flat)):
            count += -PROBED < flat[node] < PROBED
        probes[slot] = -1
        passed, taken = 0, 0
        for node in range(len(flat)):
            if -PROBED < flat[node] < PROBED:
                if passed * PROBES >= taken * count and taken < PROBES:
                    probes[slot, taken] = node
                    taken += 1
                passed += 1


@torch.no_grad()
def bake(
    field: SemanticField,
    reach: VoxelGrid,
    slots: NDArray[np.int64],
    unit: float,
    stored: NDArray[np.int8],
    start: int,
    stop: int,
) -> None:
    """Fill ``stored`` of some bricks: corners of voxels first, more where surfaces are near.

    Args:
        slots: the bricks, of which this call fills ``start`` to ``stop``.
        unit: metres of one step of ``stored``; what lies outside +-127 steps is held there.
    """
    slots = slots[start:stop]
    bricks, spacing = reach.bricks[slots], np.float32(0.5 * reach.voxel_m)
    marks = np.empty((len(slots), NODES, NODES, NODES), np.uint8)
    values = np.zeros(marks.shape, np.float32)
    _mark_corners(reach.counts, slots, marks)
    for kind in (_CORNER, _WANTED):
        points, nodes = _nodes_marked(marks, kind, bricks, spacing)
        values.reshape(-1)[nodes] = field.distance(torch.from_numpy(points)).numpy()
        if kind == _CORNER:
            near = np.float32(NEAR_SURFACE * field.config.truncation_m)
            _fill_or_want(reach.counts, slots, values, marks, near)
    _store(values, marks, slots, unit, stored)

"""Signed distances of the field on a lattice through the voxels in which surfaces were seen.

It is what tells readers where a surface is: rays walk through it, surface points and meshes
start from its changes of sign. The spacing is half a voxel, which is the field's finest cell; a
brick of 8 x 8 x 8 voxels holds its 17 x 17 x 17 nodes as 8-bit numbers, borders included, so that
no neighbour is needed to interpolate.

Bricks are brought up to date when somebody looks at them. What an earlier map's lattice knows is
taken over where a few probes say that the surface has not moved.
"""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

from functools import partial

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from semantic_field.field.model import SemanticField
from semantic_field.field.tiles import View, first_depths
from semantic_field.field.traversal import (
    NUDGE,
    Strides,
    inverse_of,
    leave_cell,
    octant_of,
    walk,
)
from semantic_field.field.voxels import BRICK, VoxelGrid
from semantic_field.kernels.threads import run_chunks

NODES = 2 * BRICK + 1  # on one axis of a brick
UNKNOWN = -128
LEVELS = 120  # of 127 on either side of zero make one truncation
NEAR_SURFACE = 0.5  # of a truncation: between corners farther than this lies no surface
DIP = 0.25  # of a voxel: what a ray passes as near as that may be a thin thing between the nodes
DIPS = 4  # of a ray that are looked into
DIP_SAMPLES = np.linspace(-0.25, 0.25, 5, dtype=np.float32)  # of the field at a dip, in voxels
PROBED = 15  # steps of ``stored``: probes lie as near to the surface as that
BRICKS_PER_TASK = 16
PROBES = 8
TOLERANCE_M = 0.004  # a brick whose probes have moved more is baked again
OLDEST = 16  # lattices after which a brick is baked again in any case
NEVER = -(1 << 40)
RAYS_PER_TASK = 1 << 12
SCOUTS = 19  # one ray of so many goes ahead; odd, so that it is not always the same column
LEAST_STEP = 0.2  # of a voxel, inside a voxel that holds a surface
SHARE = 0.9  # distances are learnt along rays: the nearest surface may be nearer
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
def _copy_borders(index, low, bricks, stored):
    """Give nodes on the far borders of bricks the value of the brick in which they are first."""
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
def _flag(counts, stored, slots, near, flags, octants):
    """1 for each voxel in use with a node nearer than ``near`` to a surface, behind it, or unknown;
    bits for octants.
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
def _cast(
    origin, directions, near, far, voxel, low, jumps, octants, flags, stored, unit, current,
    start, rays, hit, dips, wanted, unsure, a, b,
):  # fmt: skip
    """Fill ``hit`` of the listed rays ``a`` to ``b``: where they meet the surface; inf = nowhere.

    Ray n begins at ``start[n]``, or at ``near`` where that is later. Its ``dips`` (at least a
    voxel apart, inf = none) are where it came nearer to a surface than ``DIP``.

    Bricks met that are not ``current`` are ``wanted``, and rays that met one are ``unsure``.
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


@_jit
def _choose_probes(stored, slots, probes):
    """Up to ``PROBES`` known nodes of each brick near the surface, spread over it; -1 = none."""
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


class Lattice:
    """Distances at the nodes of all bricks of ``reach``, of one state of the map.

    Not for several threads at a time, see ``SurfaceCache``.

    Args:
        before: an earlier one, which gives its memory away and is of no use from then on. Readers
            see one surface, up to ``TOLERANCE_M``.
    Attributes:
        stored: int8 (B, 17, 17, 17), z first: distances in ``unit_m``, or ``UNKNOWN``.
        unit_m: metres of one step of ``stored``.
        baked: int64 (B,), number of the lattice (counted from the first one) whose field the
            brick's distances are of.
        number: of this lattice.
    """

    def __init__(self, field: SemanticField, reach: VoxelGrid, before: Lattice | None) -> None:
        self.field, self.reach = field, reach
        self.unit_m = field.config.truncation_m / LEVELS
        size = len(reach)
        self._room = _room_for(size, before)
        self.stored = self._room[:size]
        self._used = (reach.counts[:size] > 0).view(np.uint8)
        self._flags = self._used.copy()
        self._probes = np.full((size, PROBES), -1, np.int16)
        self.baked = np.full(size, NEVER, np.int64)
        self._current = np.zeros(size, np.uint8)
        self.number = 0
        if before is not None:
            self._take_over(before)
        strides = Strides(reach.index, self._flags)
        self._jumps, self._octants = strides.jumps, strides.octants

    def _take_over(self, before: Lattice) -> None:
        """Start from the bricks of an earlier state of the same map in which no voxel is new."""
        self.number, old = before.number + 1, len(before.baked)
        if old > len(self.baked) or self.unit_m != before.unit_m:
            return
        same = (self.reach.bricks[:old] == before.reach.bricks[:old]).all(1)
        slots = np.flatnonzero(same & (self._used[:old] == before._used).all(1))
        for name in ("_flags", "_probes", "baked"):  # ``stored`` is in its place already
            getattr(self, name)[slots] = getattr(before, name)[slots]

    def refresh(self, slots: NDArray[np.int64] | None = None, exact: bool = False) -> None:
        """Bring bricks (all by default) up to date.

        Args:
            exact: bake every brick that is not of this very field, whatever the probes say;
                neighbours then agree on their common borders to the bit.
        """
        slots = np.arange(len(self.baked)) if slots is None else slots
        if exact:
            self._bake(slots[self.baked[slots] < self.number])
            _copy_borders(self.reach.index, self.reach.low, self.reach.bricks, self.stored)
        else:
            slots = slots[self._current[slots] == 0]
            self._bake(slots[self._has_moved(slots)])
        self._current[slots] = 1

    def _has_moved(self, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether the field has left a brick's distances behind, or they are too old to trust."""
        slot, probe = np.nonzero(self._probes[slots] >= 0)
        node = self._probes[slots[slot], probe].astype(np.int64)
        index = np.stack([node % NODES, node // NODES % NODES, node // NODES**2], 1)
        points = (self.reach.bricks[slots[slot]] * (NODES - 1) + index) * (0.5 * self.reach.voxel_m)
        found = self.field.distance(torch.from_numpy(points.astype(np.float32))).numpy()
        error = np.abs(found - self.unit_m * self.stored.reshape(-1, NODES**3)[slots[slot], node])
        moved = self.number - self.baked[slots] > OLDEST
        moved[slot[error > TOLERANCE_M]] = True
        return moved

    def _bake(self, slots: NDArray[np.int64]) -> None:
        work = partial(_bake, self.field.on_one_thread(), self.reach, slots, self.unit_m)
        threads = self.field.kernels.threads
        run_chunks(partial(work, self.stored), len(slots), threads, BRICKS_PER_TASK)
        near = DIP * self.reach.voxel_m / self.unit_m
        _flag(self.reach.counts, self.stored, slots, near, self._flags, self._octants)
        _choose_probes(self.stored, slots, self._probes)
        self.baked[slots] = self.number

    def cast(
        self,
        origin: NDArray[np.float64],
        directions: NDArray[np.float32],
        near: float,
        far: float,
        view: View | None = None,
    ) -> NDArray[np.float32]:
        """Ray parameter (N,) of the first surface along ``origin + t * directions``; inf = none.

        A ray that enters a voxel behind its surface has met it, at the distance it is behind.

        Args:
            view: where the rays are all those of a camera, which makes them faster.
        """
        hit = np.empty(len(directions), np.float32)
        dips = np.empty((len(directions), DIPS), np.float32)
        everyone = np.arange(len(directions))
        arrays = (np.ascontiguousarray(origin, np.float64), directions, float(near), float(far))
        # A few rays first: they bring most of the bricks up to date that the others will meet.
        self._settle(arrays, everyone[::SCOUTS], None, hit, dips)
        self._settle(arrays, everyone, view, hit, dips)
        self._look_into(origin, directions, hit, dips)
        return hit

    def _look_into(
        self,
        origin: NDArray[np.float64],
        directions: NDArray[np.float32],
        hit: NDArray[np.float32],
        dips: NDArray[np.float32],
    ) -> None:
        """Move hits to thin things that lie between the nodes: the field itself is asked there."""
        some = np.flatnonzero(dips[:, 0] < hit)
        voxel = np.float32(self.reach.voxel_m) / np.linalg.norm(directions[some], axis=1)
        ray, dip = np.nonzero(dips[some] < (hit[some] - voxel)[:, None])
        t = dips[some[ray], dip, None] + voxel[ray, None] * DIP_SAMPLES
        ray = some[ray]
        points = origin.astype(np.float32) + t[..., None] * directions[ray, None]
        found = self.field.distance(torch.from_numpy(points.reshape(-1, 3))).numpy()
        t[found.reshape(t.shape) >= 0] = np.inf
        np.minimum.at(hit, ray, t.min(1))

    def _settle(
        self,
        arrays: tuple,
        rays: NDArray[np.int64],
        view: View | None,
        hit: NDArray[np.float32],
        dips: NDArray[np.float32],
    ) -> None:
        """Cast rays, and again those that have met bricks which are only now up to date."""
        reach, count = self.reach, len(hit)
        grid = (reach.voxel_m, reach.low, self._jumps, self._octants, self._flags)
        arrays = (*arrays, *grid, self.stored, self.unit_m, self._current)
        while len(rays):
            start = np.zeros(count, np.float32)
            if view is not None:
                start = first_depths(view, reach.bricks[: len(self.baked)], self._flags, reach)
            wanted, unsure = np.zeros(len(self.baked), np.uint8), np.zeros(len(rays), np.uint8)
            work = partial(_cast, *arrays, start, rays, hit, dips, wanted, unsure)
            run_chunks(work, len(rays), self.field.kernels.threads, RAYS_PER_TASK)
            self.refresh(np.flatnonzero(wanted))
            rays = rays[unsure > 0]

    def memory_bytes(self) -> int:
        """Bytes of the stored distances and what belongs to them."""
        arrays = (self.stored, self._flags, self._used, self._probes, self.baked, self._jumps)
        return sum(a.nbytes for a in arrays)


def _room_for(bricks: int, before: Lattice | None) -> NDArray[np.int8]:
    """Memory for the distances of so many bricks, those of ``before`` in their places.

    The operating system provides it only where it is written.
    """
    if before is not None and len(before._room) >= bricks:
        return before._room
    room = np.zeros((2 * bricks, NODES, NODES, NODES), np.int8)
    if before is not None:
        room[: len(before.stored)] = before.stored
    return room


@torch.no_grad()
def _bake(
    field: SemanticField,
    reach: VoxelGrid,
    slots: NDArray[np.int64],
    unit: float,
    stored: NDArray[np.int8],
    start: int,
    stop: int,
) -> None:
    """Fill ``stored`` of some bricks: corners of voxels first, more where surfaces are near."""
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

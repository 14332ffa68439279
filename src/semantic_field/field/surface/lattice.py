"""Signed distances of the field on a lattice through the voxels in which surfaces were seen.

It is what tells readers where a surface is: rays walk through it, surface points and meshes
start from its changes of sign. The spacing is half a voxel, which is the field's finest cell; a
brick of 8 x 8 x 8 voxels holds its 17 x 17 x 17 nodes as 8-bit numbers, borders included, so that
no neighbour is needed to interpolate.

Bricks are brought up to date when somebody looks at them. What an earlier map's lattice knows is
taken over where a few probes say that the surface has not moved.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from semantic_field.field.model import SemanticField
from semantic_field.field.surface.lattice_baking import (
    NODES,
    PROBES,
    bake,
    choose_probes,
    copy_borders,
    flag_voxels,
)
from semantic_field.field.surface.lattice_casting import DIP, DIPS, cast
from semantic_field.field.surface.tiles import View, first_depths
from semantic_field.field.voxels.traversal import Strides
from semantic_field.field.voxels.voxel_grid import VoxelGrid
from semantic_field.kernels.threads import run_chunks

LEVELS = 120  # of 127 on either side of zero make one truncation
DIP_SAMPLES = np.linspace(-0.25, 0.25, 5, dtype=np.float32)  # of the field at a dip, in voxels
BRICKS_PER_TASK = 16
TOLERANCE_M = 0.004  # a brick whose probes have moved more is baked again
OLDEST = 16  # lattices after which a brick is baked again in any case
NEVER = -(1 << 40)
RAYS_PER_TASK = 1 << 12
SCOUTS = 19  # one ray of so many goes ahead; odd, so that it is not always the same column


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
            copy_borders(self.reach.index, self.reach.low, self.reach.bricks, self.stored)
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
        work = partial(bake, self.field.on_one_thread(), self.reach, slots, self.unit_m)
        threads = self.field.kernels.threads
        run_chunks(partial(work, self.stored), len(slots), threads, BRICKS_PER_TASK)
        near = DIP * self.reach.voxel_m / self.unit_m
        flag_voxels(self.reach.counts, self.stored, slots, near, self._flags, self._octants)
        choose_probes(self.stored, slots, self._probes)
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
            work = partial(cast, *arrays, start, rays, hit, dips, wanted, unsure)
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
